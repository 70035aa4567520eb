"""Default paths of netd's files: the config, the control socket, the pid file.

A config may put the control socket elsewhere, so a running netd keeps a symbolic link to it in its runtime directory.
The name of the link is computed from the path of the config that netd was started with.
"""

import glob
import os
from pathlib import Path

CONFIG_FILE = Path("/etc/netd/netd.yaml")
_SYSTEM = "/run/netd"


def config_exists() -> bool:
    """Whether `CONFIG_FILE` exists. True also if that cannot be determined: reading it then raises the reason."""
    try:
        CONFIG_FILE.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def directory() -> str | None:
    """The runtime directory of a netd of this user; None if there is none."""
    if path := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return path
    if os.geteuid() == 0:
        return _SYSTEM
    if path := os.environ.get("XDG_RUNTIME_DIR", ""):
        return os.path.join(path, "netd")
    return None


def control_socket() -> str | None:
    """The default path of the control socket; None if there is no runtime directory."""
    return os.environ.get("NETD_CONTROL") or _in_directory("control.sock")


def control_sockets() -> list[str]:
    """Control sockets to try if neither a socket nor a config is given: that of this user, then that of the system."""
    found = [control_socket(), None if "NETD_CONTROL" in os.environ else os.path.join(_SYSTEM, "control.sock")]
    return list(dict.fromkeys(path for path in found if path))


def control_links(file: str | os.PathLike[str], directory: str) -> list[str]:
    """The links in a directory to the control socket of the netd that was started with this config.

    The first is for the path of the file in its real directory, which stays the same if the file is a link and is
    replaced. The second is for the real path of the file, if that differs.
    """
    import hashlib  # here, since the import takes long

    above, name = os.path.split(file)
    found = (os.path.join(os.path.realpath(above), name), os.path.realpath(file))
    digests = (hashlib.sha256(os.fsencode(path)).hexdigest()[:16] for path in dict.fromkeys(found))
    return [os.path.join(directory, f"config-{digest}.sock") for digest in digests]


def link_directories() -> list[str]:
    """Directories to search for such links: of this user, of the system, and of the units netd@NAME."""
    found = [directory(), _SYSTEM, *sorted(glob.glob(f"{_SYSTEM}-*"))]
    return list(dict.fromkeys(path for path in found if path))


def pid_file() -> str | None:
    """The default path of the pid file of a daemon; None if there is no runtime directory."""
    return _in_directory("netd.pid")


def _in_directory(name: str) -> str | None:
    path = directory()
    return path and os.path.join(path, name)
