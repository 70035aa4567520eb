"""What a config asks of this host for its workers: a user, a group, a root directory."""

import os
import pwd
import stat
from collections.abc import Iterator

from netd import accounts
from netd.config.model import DaemonSection
from netd.endpoints import Endpoint
from netd.errors import OpenError, OperatorError
from netd.privileges import RunAs


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


def resolve(daemon: DaemonSection) -> RunAs:
    """Look up ``daemon.user``, ``daemon.group`` and ``daemon.chroot`` of a config.

    Raises `OperatorError` (exit code 78) for a name that does not exist, and for root. Raises `OpenError` (71) where
    this process lacks the privilege to change to the user, the group or the directory.
    """
    uid = os.geteuid()
    if uid != 0:
        return _unchanged(daemon, uid)
    user = _user(daemon.user) if daemon.user is not None else _default_user()
    if user.pw_uid == 0:
        raise OperatorError([f"daemon.user: '{daemon.user}' is root; workers must run as another user"])
    group = _group(daemon.group) if daemon.group is not None else user.pw_gid
    groups = tuple(os.getgrouplist(user.pw_name, group))
    if 0 in groups:
        raise OperatorError([f"daemon.group: '{user.pw_name}' would be in the group root (gid 0); workers must not be"])
    if daemon.chroot is not None and not os.path.isdir(daemon.chroot):
        raise OperatorError([f"daemon.chroot: there is no directory {daemon.chroot}"])
    return RunAs(user.pw_name, user.pw_uid, group, groups, daemon.chroot)


def _unchanged(daemon: DaemonSection, uid: int) -> RunAs:
    if daemon.chroot is not None:
        raise OpenError(
            [f"daemon.chroot: only root may chroot to {daemon.chroot}; leave it out, or start netd as root"]
        )
    if daemon.user is not None and _user(daemon.user).pw_uid != uid:
        raise OpenError([f"daemon.user: only root may become '{daemon.user}'; leave it out, or start netd as root"])
    if daemon.group is not None and _group(daemon.group) != os.getegid():
        raise OpenError(
            [f"daemon.group: only root may change to the group '{daemon.group}'; leave it out, or start netd as root"]
        )
    try:
        return RunAs(accounts.find_user(str(uid)).pw_name)
    except ValueError:
        return RunAs(str(uid))


def _user(name: str) -> pwd.struct_passwd:
    try:
        return accounts.find_user(name)
    except ValueError as error:
        raise OperatorError([f"daemon.user: {error}"]) from None


def _group(name: str) -> int:
    try:
        return accounts.find_id("gid", name)
    except ValueError as error:
        raise OperatorError([f"daemon.group: {error}"]) from None


def _default_user() -> pwd.struct_passwd:
    try:
        return accounts.find_user("netd")
    except ValueError:
        return _user("nobody")
