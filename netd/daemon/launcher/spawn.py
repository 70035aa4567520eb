"""Starts the process of a program, with all that it inherits: descriptors, environment, session, signals, limits."""

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from netd import scheduling
from netd.accounts import user_name
from netd.daemon.messages.to_launcher import Program

UMASK = 0o022
"""The umask of this process, which most programs have too. Its directory is /."""
_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_NOT_STARTED = 127
# All that have a disposition. Of a signal that is not to be reset, posix_spawn(3) asks in the new process whether it is
# handled: to reset it costs one system call, to ask another one.
_SIGNALS = tuple(int(one) for one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_SHORTAGE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC}


class StartError(Exception):
    """A program cannot be started. The message says why.

    ``is_shortage``: the system lacks memory, processes or descriptors, so that a later start may succeed.
    """

    def __init__(self, message: str, *, is_shortage: bool = False) -> None:
        super().__init__(message)
        self.is_shortage = is_shortage


def start(
    program: Program,
    facts: Mapping[str, str],
    descriptors: Sequence[int],
    listener: int | None = None,
    forked: Callable[[int], object] = lambda pid: None,
) -> int:
    """Start a program with these descriptors as 0, 1 and 2. Returns its process id.

    The process leads a session of its own. Its environment is that of the program, and ``facts``. A ``listener`` is
    descriptor 3, which the environment says (LISTEN_FDS, sd_listen_fds(3)); with one, ``forked`` is called with the
    process id before the program runs, and it never does if this process is killed before the call returns. Raises
    `StartError`.
    """
    environment = {**program.environment, **facts}
    try:
        if listener is not None or program.limits or program.nice:
            return _fork(program, environment, descriptors, listener, forked)
        return _spawn(program, environment, descriptors)
    except OSError as error:
        raise _start_error(program, error) from None


@cache
def _ignored() -> tuple[int, ...]:
    """The signals that this process ignores, and a program would: what is ignored stays so over execve(2).

    Python ignores SIGPIPE and SIGXFSZ, netd SIGTERM and others, nohup(1) SIGHUP. They do not change while it runs.
    """
    return tuple(int(one) for one in signal.valid_signals() if signal.getsignal(one) is signal.SIG_IGN)


def _spawn(program: Program, environment: Mapping[str, str], descriptors: Sequence[int]) -> int:
    """With posix_spawn(3), which copies no memory. It sets neither umask nor directory: this process, with one thread,
    does so for itself.
    """
    is_usual = program.umask == UMASK and program.directory == "/"
    policy = scheduling.policy_of_programs()
    more: dict[str, Any] = {"scheduler": policy} if policy else {}
    try:
        if not is_usual:
            os.umask(program.umask)
            os.chdir(program.directory)
        return os.posix_spawn(
            program.command[0],
            [program.argv0, *program.command[1:]],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, given, number) for number, given in enumerate(descriptors)],
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
            **more,
        )
    finally:
        if not is_usual:
            os.umask(UMASK)
            os.chdir("/")


def _fork(
    program: Program,
    environment: dict[str, str],
    descriptors: Sequence[int],
    listener: int | None,
    forked: Callable[[int], object],
) -> int:
    """With fork(2), for what only the process itself can set. An error of it comes through a socket.

    With a listener, the process waits for an octet from here first.
    """
    ours, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        number, what = errno.EINVAL, ""
        writing = theirs.fileno()
        try:
            ours.close()
            # Above all descriptors that the program gets.
            writing = fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, 10)
            if listener is not None and not os.read(writing, 1):
                os._exit(_NOT_STARTED)
            _execute(program, environment, descriptors, listener)
        except OSError as error:
            number, what = error.errno or errno.EINVAL, str(error.filename or "")
        except MemoryError:
            number, what = errno.ENOMEM, "limits.memory"
        except ValueError as error:  # a limit above the hard one
            number, what = errno.EPERM, str(error)
        finally:
            os.write(writing, f"{number} {what}".encode(errors="replace"))
            os._exit(_NOT_STARTED)
    theirs.close()
    with ours, ours.makefile("rb") as errors:
        if listener is not None:
            forked(pid)
            with contextlib.suppress(ConnectionError):  # it was killed
                ours.send(b"!")
        failure = errors.read(4096).decode(errors="replace")
    if failure:
        os.waitpid(pid, 0)
        number_text, _, what = failure.partition(" ")
        raise OSError(int(number_text), os.strerror(int(number_text)), what or None)
    return pid


def _execute(program: Program, environment: dict[str, str], descriptors: Sequence[int], listener: int | None) -> None:
    """Become the program. In the new process."""
    os.setsid()
    for one in _ignored():
        signal.signal(one, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(program.umask)
    os.chdir(program.directory)
    if policy := scheduling.policy_of_programs():
        os.sched_setscheduler(0, *policy)
    if program.nice:
        os.nice(program.nice)
    if listener is not None:
        listener = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10)
    for number, given in enumerate(descriptors):
        os.dup2(given, number)
    if listener is not None:
        os.dup2(listener, _LISTEN_FDS_START)
        names = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": program.service}
        environment = {**environment, **names}
    arguments = [program.argv0, *program.command[1:]]
    for name, limits in sorted(program.limits.items(), reverse=True):  # AS last: this process may have more already
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), limits)
    os.execve(program.command[0], arguments, environment)  # noqa: S606


def _start_error(program: Program, error: OSError) -> StartError:
    """Why a program cannot be started, and what to look at."""
    path = program.command[0]
    reason = os.strerror(error.errno or 0)
    if error.errno in _SHORTAGE and error.filename in (None, "", path):
        return StartError(f"cannot start {path}: {reason}", is_shortage=True)
    if error.filename not in (None, "", path):
        return StartError(f"cannot start {path}: {error.filename}: {reason}")
    hint = ""
    if error.errno == errno.ENOENT and os.path.exists(path):
        hint = ": its interpreter (the line #!) does not exist, or a library that it needs"
    elif error.errno == errno.ENOEXEC:
        hint = ": it has no line #!, and is no program of this machine"
    elif error.errno == errno.EACCES:
        hint = f" to user {user_name(os.geteuid())}: it has to be executable, and its directories too"
    return StartError(f"cannot start {path}: {reason}{hint}")
