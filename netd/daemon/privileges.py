"""Dropping privileges: a worker becomes an unprivileged user for good (credentials(7), capabilities(7))."""

import contextlib
import ctypes
import os
import pwd
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netd import accounts
from netd.config.model import DaemonSection
from netd.errors import EXIT_OSERR, OpenError, OperatorError
from netd.transport.advice import PROGRAMS_DROP_IN

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 38, 47, 4  # linux/prctl.h
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 3, 4, 36
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class RunAs:
    """The user, groups and root directory of a process. Without ``user`` the process keeps its own."""

    name: str
    user: int | None = None
    group: int = -1
    groups: tuple[int, ...] = ()
    """The supplementary groups."""
    chroot: str | None = None
    no_new_privileges: bool = True
    """Whether execve(2) gives no privileges any more (PR_SET_NO_NEW_PRIVS), such as those of a set-uid program."""
    nice: int = 0
    """What is added to the priority (nice(2)). Below 0 only root may, so it belongs to the identity."""


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


class _StillPrivilegedError(RuntimeError):
    """The process still has a privilege that it has dropped."""


def drop_to(identity: RunAs, parent: int) -> None:
    """Drop all privileges for good. The kernel kills this process when the process ``parent`` ends.

    A process that is closed to others (`close_to_others`) stays so.
    Raises OSError where a system call fails, and RuntimeError where the process could become root again.
    """
    is_closed = not _LIBC.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    if identity.chroot is not None:
        os.chroot(identity.chroot)
        os.chdir("/")
    if identity.nice:
        os.nice(identity.nice)
    if identity.user is not None:
        os.setgroups(identity.groups)
        os.setresgid(identity.group, identity.group, identity.group)
        os.setresuid(identity.user, identity.user, identity.user)
        if os.getresuid() != (identity.user,) * 3 or os.getresgid() != (identity.group,) * 3:
            raise _StillPrivilegedError(f"the process has the uids {os.getresuid()} and the gids {os.getresgid()}")
        if set(os.getgroups()) != set(identity.groups):
            raise _StillPrivilegedError(f"the process is in the groups {os.getgroups()}")
        if identity.user != 0:
            _require_no_way_back()
    if identity.no_new_privileges:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if identity.user != 0:
        _drop_capabilities()
    if is_closed:
        close_to_others()  # setresuid(2) has set what fs.suid_dumpable says
    end_with(parent)  # last, since setresuid(2) clears the signal


def _require_no_way_back() -> None:
    """Raise RuntimeError if this process can become root again."""
    attempts: tuple[Callable[[], None], ...] = (
        lambda: os.setresuid(0, 0, 0),
        lambda: os.setresgid(0, 0, 0),
        lambda: os.setgroups([0]),
    )
    for attempt in attempts:
        with contextlib.suppress(PermissionError):
            attempt()
            raise _StillPrivilegedError("the process can become root again")


def explained(identity: RunAs, error: OSError | RuntimeError) -> str:
    """Why `drop_to` failed, and what to do about it."""
    text = f"cannot become {identity.name}"
    if isinstance(error, OSError) and error.filename:
        text = f"cannot change the root directory to {error.filename}"
    text += f": {error.strerror if isinstance(error, OSError) else error}"
    if isinstance(error, PermissionError):
        needs = ["CAP_SETUID", "CAP_SETGID", *["CAP_SYS_CHROOT"] * bool(identity.chroot)]
        needs += ["CAP_SYS_NICE"] * bool(identity.nice)
        needed = f"{', '.join(needs[:-1])} and {needs[-1]}"
        text += f"; root needs {needed} for that: grant them, or start netd as another user than root"
        text += f"; {PROGRAMS_DROP_IN}"
    return text


def close_to_others() -> None:
    """Have processes of the same user neither read nor write this one, nor open its descriptors (PR_SET_DUMPABLE).

    Forks inherit it, programs do not (execve(2)). The kernel writes no core file.
    """
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_orphan(pid: int, parent: int) -> bool:
    """Whether a process is a child of ``parent``, and leads a process group, as no process of netd does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == parent and int(fields[2]) == pid


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its ``parent`` ends (PR_SET_PDEATHSIG). Exit if the parent has ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_OSERR)


def _drop_capabilities() -> None:
    """Drop the capabilities that a process which is not root has from AmbientCapabilities= (systemd.exec(5)).

    Errors are ignored: the system call filter of the shipped unit forbids capset(2). Workers under that unit keep
    CAP_NET_BIND_SERVICE, the only capability that it grants.
    """
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    nothing = ctypes.create_string_buffer(struct.pack("=6I", 0, 0, 0, 0, 0, 0), 24)
    _LIBC.capset(header, nothing)
