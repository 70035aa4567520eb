"""What a config needs of this host, as far as that is cheap to look up."""

import os
import stat

_LOG_DIRECTORY_HINT = "make it first; under systemd see the drop-in log-file.conf"


def log_file_fault(file: str) -> tuple[str, str] | None:
    """The message and the hint at a value of `log.file` that cannot be opened; None if this host shows no reason."""
    if directory := missing_directory(file):
        return f"there is no directory {directory}", _LOG_DIRECTORY_HINT
    if file.startswith("/") and os.path.isdir(file):
        return f"{file} is a directory", "name a file in it"
    return None


def missing_directory(file: str) -> str:
    """The directory of a file, if it does not exist; empty if it does, or if this user may not see that."""
    directory = os.path.dirname(file)
    try:
        return "" if stat.S_ISDIR(os.stat(directory).st_mode) else directory
    except (FileNotFoundError, NotADirectoryError):
        return directory
    except OSError:
        return ""
