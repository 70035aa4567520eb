"""Who the workers are: a user without rights, and no way back (credentials(7), capabilities(7))."""

import contextlib
import ctypes
import os
import pwd
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass

from netd import accounts
from netd.config.model import DaemonSection
from netd.errors import EXIT_OSERR, OpenError, OperatorError

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 38, 47, 4  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class RunAs:
    """What a process becomes; without a user it stays who it is."""

    name: str
    user: int | None = None
    group: int = -1
    groups: tuple[int, ...] = ()
    """The supplementary groups."""
    chroot: str | None = None


def find(daemon: DaemonSection) -> RunAs:
    """The identity that ``daemon.user``, ``group`` and ``chroot`` mean for whoever runs this.

    `OperatorError` (exit code 78) for a name that does not exist, `OpenError` where the right to it is missing.
    """
    me = os.geteuid()
    if me != 0:
        return _stay(daemon, me)
    user = _user(daemon.user) if daemon.user is not None else _default_user()
    if user.pw_uid == 0:
        raise OperatorError([f"daemon.user: '{daemon.user}' is root, and workers may not be"])
    group = _group(daemon.group) if daemon.group is not None else user.pw_gid
    groups = tuple(os.getgrouplist(user.pw_name, group))
    if 0 in groups:
        raise OperatorError([f"daemon.group: '{user.pw_name}' would be in root's group, and workers may not be"])
    if daemon.chroot is not None and not os.path.isdir(daemon.chroot):
        raise OperatorError([f"daemon.chroot: there is no directory {daemon.chroot}"])
    return RunAs(user.pw_name, user.pw_uid, group, groups, daemon.chroot)


def _stay(daemon: DaemonSection, me: int) -> RunAs:
    if daemon.chroot is not None:
        raise OpenError([f"daemon.chroot: only root may change to {daemon.chroot}"])
    if daemon.user is not None and _user(daemon.user).pw_uid != me:
        raise OpenError([f"daemon.user: only root may become '{daemon.user}'; leave it out, or start netd as root"])
    if daemon.group is not None and _group(daemon.group) != os.getegid():
        raise OpenError([f"daemon.group: only root may take the group '{daemon.group}'"])
    try:
        return RunAs(accounts.find_user(str(me)).pw_name)
    except ValueError:
        return RunAs(str(me))


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


class _StillPrivilegedError(RuntimeError):
    """A right that was given up is still there."""


def become(identity: RunAs, parent: int) -> None:
    """Become it, for good, and end with the process ``parent``. RuntimeError or OSError where that does not hold."""
    if identity.chroot is not None:
        os.chroot(identity.chroot)
        os.chdir("/")
    if identity.user is not None:
        os.setgroups(identity.groups)
        os.setresgid(identity.group, identity.group, identity.group)
        os.setresuid(identity.user, identity.user, identity.user)
        if os.getresuid() != (identity.user,) * 3 or os.getresgid() != (identity.group,) * 3:
            raise _StillPrivilegedError(f"it is uid {os.getresuid()}, gid {os.getresgid()}")
        if set(os.getgroups()) != set(identity.groups):
            raise _StillPrivilegedError(f"it is in the groups {os.getgroups()}")
        ways_back: tuple[Callable[[], None], ...] = (
            lambda: os.setresuid(0, 0, 0),
            lambda: os.setresgid(0, 0, 0),
            lambda: os.setgroups([0]),
        )
        for way_back in ways_back:
            with contextlib.suppress(PermissionError):
                way_back()
                raise _StillPrivilegedError("it can become root again")
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _give_up_capabilities()
    end_with(parent)  # changing the user would have cleared it, so it comes last


def end_with(parent: int) -> None:
    """Have this process be killed when the process ``parent`` ends, which may be over by now (PR_SET_PDEATHSIG)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_OSERR)


def _give_up_capabilities() -> None:
    """Give up what systemd's AmbientCapabilities= left to a process that is not root.

    A system call filter may forbid it (the shipped unit's does, which allows no more than to bind a low port); to know
    that it may not be given up any more is not worth a failure.
    """
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    nothing = ctypes.create_string_buffer(struct.pack("=6I", 0, 0, 0, 0, 0, 0), 24)
    _LIBC.capset(header, nothing)
