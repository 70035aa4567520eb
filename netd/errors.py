"""Errors by their cause: the operator, the peer, or netd itself.

* **The operator** (`OperatorError`): an invalid config, a port in use. Each problem is one line on standard error,
  without a traceback. The class has the exit code.
* **The peer** (`PeerError`): a line that never ends. The peer receives one line, the conversation closes, and the error
  is counted.
* **netd or a service**: any other exception is a bug. It is logged as one event with the traceback, and costs one
  conversation at most.

Exit codes are those of sysexits(3), and 1 if a command did not succeed or its result is negative.
"""

import os
from collections.abc import Iterable

EXIT_OK = os.EX_OK
"""The command has done what it was asked for."""
EXIT_NO = 1
"""The answer is no: nothing was found or changed, the other end has ended before, a part of the result is missing."""
EXIT_USAGE = os.EX_USAGE
"""The command line is wrong (EX_USAGE)."""
EXIT_UNAVAILABLE = os.EX_UNAVAILABLE
"""netd is not running, or this user may not ask it; of a client, the other end cannot be reached (EX_UNAVAILABLE)."""
EXIT_SOFTWARE = os.EX_SOFTWARE
"""A bug in netd (EX_SOFTWARE)."""
EXIT_OSERR = os.EX_OSERR
"""The system has refused something, as a port that is in use, or a right that is missing (EX_OSERR)."""
EXIT_CONFIG = os.EX_CONFIG
"""The config is wrong (EX_CONFIG)."""


class OperatorError(Exception):
    """An error that the operator has to correct, with every problem that was found, a line each."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Iterable[str], exit_code: int | None = None) -> None:
        self.problems = tuple(problems)
        if exit_code is not None:
            self.exit_code = exit_code
        super().__init__("\n".join(self.problems))


class ConfigError(OperatorError):
    """The config is invalid; nothing was bound or changed (exit code 78, EX_CONFIG)."""


class OpenError(OperatorError):
    """A socket cannot be opened; the ones opened before it are closed again (exit code 71, EX_OSERR)."""

    exit_code = EXIT_OSERR


class ControlTakenError(OpenError):
    """Another process listens at the ``path`` that the control socket is to have (exit code 71)."""

    def __init__(self, problems: Iterable[str], path: str) -> None:
        super().__init__(problems)
        self.path = path


class PidFileTakenError(OpenError):
    """Another netd, which runs, holds the lock of the pid file (exit code 71)."""


class NotRunningError(OperatorError):
    """No netd answers at the control socket, or access to it is denied (exit code 69, EX_UNAVAILABLE)."""

    exit_code = EXIT_UNAVAILABLE


class UnreachableError(OperatorError):
    """The remote host or port cannot be reached (exit code 69, EX_UNAVAILABLE)."""

    exit_code = EXIT_UNAVAILABLE


class HungUpError(OperatorError):
    """The remote end closed the connection before the local one had finished (exit code 1)."""

    exit_code = EXIT_NO


class NoAnswerError(OperatorError):
    """The remote end was sent something, and has answered nothing (exit code 1)."""

    exit_code = EXIT_NO


class UsageError(OperatorError):
    """The arguments of a command are invalid (exit code 64, EX_USAGE)."""

    exit_code = EXIT_USAGE


class PeerError(Exception):
    """The peer violated the protocol.

    The transport sends the peer ``error: MESSAGE`` as its last line and closes the conversation.
    """

    @property
    def answer(self) -> bytes:
        """The line that the peer receives."""
        return b"error: " + str(self).encode("ascii", "replace") + b"\r\n"


class InvalidValueError(ValueError):
    """A value that cannot be used: why, and what may be meant. A value may have several such faults (``others``)."""

    def __init__(self, message: str, hint: str = "", others: "Iterable[InvalidValueError]" = ()) -> None:
        self.message = message
        self.hint = hint
        """What may be meant, or what to do; empty if that is not known."""
        self.faults = (self, *others)
        texts = (f"{one.message}; {one.hint}" if one.hint else one.message for one in self.faults)
        super().__init__("; ".join(texts))


def faults_of(error: ValueError) -> tuple[InvalidValueError, ...]:
    """The faults of a value: those that the error has, or the error itself, without a hint."""
    return error.faults if isinstance(error, InvalidValueError) else (InvalidValueError(str(error)),)


def origin_of(error: BaseException) -> str:
    """The type of an error, and the line that raised it: a bounded number of texts, and none that a peer can choose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"
