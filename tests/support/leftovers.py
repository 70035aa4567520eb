"""Processes, sockets and settings of signals that a test leaves behind."""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import until

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def is_gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_stopped(pid: int) -> bool:
    """Whether a process has stopped, for a SIGSTOP: that takes a moment (signal(7))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def adopt_orphans() -> None:
    """Let orphaned processes become children of this process (prctl(2)), so that `nothing_left` finds them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _children() -> set[int]:
    """The child processes, including those that have ended and have not been waited for."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found |= set(map(int, (thread / "children").read_text().split()))
    return found


def _sockets() -> set[str]:
    """The open sockets of this process, by inode number."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of listdir
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {target for target in found if target.startswith("socket:")}


@contextlib.contextmanager
def signals_as_before() -> Iterator[None]:
    """Assert that the signals are blocked and handled as before; the processes of later tests inherit both.

    They are restored in any case.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    # pytest-timeout handles SIGALRM, until a test fails.
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals() - {signal.SIGALRM}}
    yield
    left = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    changed = [number for number in handlers if signal.getsignal(number) != handlers[number]]
    for number in changed:
        signal.signal(number, handlers[number] or signal.SIG_DFL)  # None: not set by Python
    assert left == mask, f"left blocked: {left - mask}, unblocked: {mask - left}"
    assert not changed, f"left with another handler: {changed}"


@contextlib.contextmanager
def nothing_left(seconds: float = 10.0) -> Iterator[None]:
    """Assert that all processes that are started and sockets that are opened within it have ended and are closed.

    Others are ended and closed. A process has some ``seconds``, since a worker may need a moment to notice that its
    supervisor has exited; and so has a socket, since a thread may be about to close one, as a resolver does.
    """
    processes, sockets = _children(), _sockets()
    yield

    def ended() -> bool:
        for pid in _children() - processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not _children() - processes

    def closed() -> bool:
        return not _sockets() - sockets

    with contextlib.suppress(AssertionError):
        until(ended, seconds)
    left = [_end(pid) for pid in _children() - processes]
    if not closed():
        gc.collect()  # closes unreferenced sockets, with a warning in this test rather than in a later one
        with contextlib.suppress(AssertionError):
            until(closed, seconds)
    opened = [_name(number) for number in _sockets() - sockets]
    assert not left, f"left behind: the processes {left}"
    assert not opened, f"left open: the sockets {opened}"


def _end(pid: int) -> str:
    """Kill a process that was left behind, so that no later test fails for it. Returns its command."""
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    os.kill(pid, signal.SIGKILL)
    for one in gc.get_objects():
        if isinstance(one, subprocess.Popen) and one.pid == pid:
            one.wait()
            for pipe in (one.stdin, one.stdout, one.stderr):
                if pipe:
                    pipe.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return command


def _name(number: str) -> str:
    """Close a socket of this process. Returns its local address."""
    for one in gc.get_objects():
        descriptor = one.fileno() if isinstance(one, socket.socket) else -1
        if descriptor >= 0 and os.readlink(f"/proc/self/fd/{descriptor}") == number:
            name = f"{one.getsockname()}"
            one.close()
            return name
    return number
