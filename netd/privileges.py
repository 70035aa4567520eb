"""Dropping privileges: a process becomes an unprivileged user for good (credentials(7), capabilities(7))."""

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass

from netd.errors import EXIT_OSERR

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 38, 47, 4  # linux/prctl.h
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
# Before the first fork: to make the types of these buffers writes to memory that a process would share.
_OF_THIS_PROCESS = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
_NO_CAPABILITIES = ctypes.create_string_buffer(24)
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


def close_to_others() -> None:
    """Have processes of the same user neither read nor write this one, nor open its descriptors (PR_SET_DUMPABLE).

    Forks inherit it, programs do not (execve(2)). The kernel writes no core file.
    """
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its ``parent`` ends (PR_SET_PDEATHSIG). Exit if the parent has ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_OSERR)


def close_all_but(kept: set[int]) -> None:
    """Close all other descriptors, which the process has inherited."""
    end = os.sysconf("SC_OPEN_MAX")
    with contextlib.suppress(OSError):
        # Without close_range(2), which is new in Linux 5.9, each number up to the limit is tried, which may be 2**30.
        end = max(map(int, os.listdir("/proc/self/fd"))) + 1
    start = 0
    for descriptor in sorted(kept):
        if start < descriptor:  # an empty range would mean all
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, end)


def _drop_capabilities() -> None:
    """Drop the capabilities that a process which is not root has from AmbientCapabilities= (systemd.exec(5)).

    Errors are ignored: the system call filter of the shipped unit forbids capset(2). Workers under that unit keep
    CAP_NET_BIND_SERVICE, the only capability that it grants.
    """
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _LIBC.capset(_OF_THIS_PROCESS, _NO_CAPABILITIES)
