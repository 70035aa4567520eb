"""What a config needs of this host, as far as that is cheap to look up."""

import os
import stat

LOG_DIRECTORY_HINT = "make it first; under systemd see the drop-in log-file.conf"
"""The remedy for a missing directory of `log.file`."""


def missing_directory(file: str) -> str:
    """The directory of a file, if it does not exist; empty if it does, or if this user may not see that."""
    directory = os.path.dirname(file)
    try:
        return "" if stat.S_ISDIR(os.stat(directory).st_mode) else directory
    except (FileNotFoundError, NotADirectoryError):
        return directory
    except OSError:
        return ""
