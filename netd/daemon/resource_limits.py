"""The limits that the kernel sets for this process: descriptors (getrlimit(2)), memory, and errors at a limit."""

import contextlib
import errno
import fcntl
import os
import resource
from collections.abc import Callable, Iterator

_REPLACEABLE, _MOST_OOM_SCORE = 500, 1000
_SELECT = 1024  # FD_SETSIZE


_initial = resource.getrlimit(resource.RLIMIT_NOFILE)
_oom_scores: dict[int, int] = {}  # the descriptor of its own score, by the process that has opened it


def raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors, which is low for programs that use select(2), to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _of_programs() -> tuple[int, int]:
    soft, hard = _initial
    return (_SELECT if soft == resource.RLIM_INFINITY else min(soft, _SELECT)), hard


def restore_descriptor_limit() -> None:
    """Set the soft limit that netd was started with, for the programs that this process starts, and at most 1024.

    select(2) takes no number above, and some programs close each number up to the limit before they begin.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, _of_programs())


def open_above_limit(opened: Callable[[], int]) -> int:
    """Open a descriptor that is kept for long, above the soft limit, so that those below it stay free.

    Without room there it takes the upper half of those below. Raises OSError where there is none.
    """
    soft, hard = _of_programs()
    raise_descriptor_limit()
    try:
        low = opened()
        try:
            return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, soft if 0 <= soft < hard else hard // 2)
        finally:
            os.close(low)
    finally:
        restore_descriptor_limit()


def open_oom_score() -> None:
    """Open the score that decides which process ends when memory runs out, for `ends_before_this_at_oom`.

    A process without PR_SET_DUMPABLE that is not root cannot open its own files in /proc, so this comes before.
    """
    with contextlib.suppress(OSError):
        _oom_scores[os.getpid()] = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)


@contextlib.contextmanager
def ends_before_this_at_oom() -> Iterator[None]:
    """Have the kernel end processes that are forked within before this one, when memory runs out (proc(5)).

    For processes that this one replaces. They inherit a score that this one has meanwhile.
    """
    this = os.getpid()
    if this not in _oom_scores:
        open_oom_score()
    descriptor = _oom_scores.get(this, -1)
    before = b""
    with contextlib.suppress(OSError):
        before = os.pread(descriptor, 16, 0)
        os.pwrite(descriptor, b"%d" % min(int(before) + _REPLACEABLE, _MOST_OOM_SCORE), 0)
    try:
        yield
    finally:
        if before and os.getpid() == this:
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, before, 0)


def described(error: OSError) -> str:
    """The text of an error for lack of resources, with the limit or the place to look for it."""
    if error.errno == errno.EMFILE:
        return f"{error.strerror}: {_allowed()}; {_ADVICE}"
    return f"{error.strerror}; see the limits of this process (ulimit -a)"


def too_few_descriptors(missing: int) -> str:
    """An error where this process needs so many more descriptors to serve one connection."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"Too many open files: {_allowed()}, and one connection to these services needs {limit + missing}; {_ADVICE}"


_ADVICE = "raise the limit (ulimit -n, or LimitNOFILE= of the unit)"


def _allowed() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"{limit} are allowed"
