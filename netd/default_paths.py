"""Where netd's files are when nothing names another place: its config, its control socket, its pid file.

A control socket may be anywhere, so a netd that runs has a symbolic link to it in its runtime directory, whose name
follows from the path of the config that it was started with.
"""

import glob
import os
from pathlib import Path

CONFIG_FILE = Path("/etc/netd/netd.yaml")
_SYSTEM = "/run/netd"


def config_exists() -> bool:
    """Whether the config is in its usual place, or may be: where that cannot be seen, reading it says why."""
    try:
        CONFIG_FILE.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def directory() -> str | None:
    """Where a netd of this user keeps what is there only while it runs; None where there is no such place."""
    if path := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return path
    if os.geteuid() == 0:
        return _SYSTEM
    if path := os.environ.get("XDG_RUNTIME_DIR", ""):
        return os.path.join(path, "netd")
    return None


def control_socket() -> str | None:
    """The control socket of a netd whose config names none; None where there is no place for it."""
    return os.environ.get("NETD_CONTROL") or _in_directory("control.sock")


def control_sockets() -> list[str]:
    """Where to look for a netd when nothing says where it is: one's own, then the system's."""
    found = [control_socket(), None if "NETD_CONTROL" in os.environ else os.path.join(_SYSTEM, "control.sock")]
    return list(dict.fromkeys(path for path in found if path))


def control_links(file: str | os.PathLike[str], directory: str) -> list[str]:
    """The links in a directory that lead to the control socket of the netd that was started with this config.

    One is of its path, in the real directory: it stays when the file is a link that is exchanged for another one. The
    other is of its real path, where that differs.
    """
    import hashlib  # only here, since it takes long

    above, name = os.path.split(file)
    found = (os.path.join(os.path.realpath(above), name), os.path.realpath(file))
    digests = (hashlib.sha256(os.fsencode(path)).hexdigest()[:16] for path in dict.fromkeys(found))
    return [os.path.join(directory, f"config-{digest}.sock") for digest in digests]


def link_directories() -> list[str]:
    """Where to look for such links: in one's own directory, in the system's, and in those of the units netd@NAME."""
    found = [directory(), _SYSTEM, *sorted(glob.glob(f"{_SYSTEM}-*"))]
    return list(dict.fromkeys(path for path in found if path))


def pid_file() -> str | None:
    """The pid file of a daemon whose config names none; None where there is no place for it."""
    return _in_directory("netd.pid")


def _in_directory(name: str) -> str | None:
    path = directory()
    return path and os.path.join(path, name)
