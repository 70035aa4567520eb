"""What a config asks of this host for its workers: a user, a group, a root directory."""

import os
import stat
from collections.abc import Iterator

from netd import accounts
from netd.config.model import DaemonSection
from netd.endpoints import Endpoint


def faults(daemon: DaemonSection) -> Iterator[tuple[str, str]]:
    """The keys of a section that this host cannot fulfil, whichever user starts netd, and why."""
    if daemon.user is not None:
        try:
            if accounts.find_user(daemon.user).pw_uid == 0:
                yield "user", f"'{daemon.user}' is root; workers must run as another user"
        except ValueError as error:
            yield "user", str(error)
    if daemon.group is not None:
        try:
            if accounts.find_id("gid", daemon.group) == 0:
                yield "group", f"'{daemon.group}' is the group of root; workers must not be in it"
        except ValueError as error:
            yield "group", str(error)
    if daemon.chroot is not None and not _may_be_directory(daemon.chroot):
        yield "chroot", f"there is no directory {daemon.chroot}"


def _may_be_directory(path: str) -> bool:
    """Whether there is a directory at this path, or in one that this process may not enter."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def answers_astray(daemon: DaemonSection, endpoint: Endpoint) -> bool:
    """Whether answers here would miss the clients: workers look for the paths of their sockets in `daemon.chroot`."""
    return daemon.chroot is not None and endpoint.transport == "unixgram" and endpoint.path.startswith("/")
