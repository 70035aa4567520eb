"""Errors by owner: the operator's, the peer's, ours.

An error has exactly one owner, and the owner decides what happens to it:

* **the operator's** (`OperatorError`): a config that says nonsense, a port that is taken. One clear line each on
  standard error, no traceback, the exit code of the class.
* **the peer's** (`PeerError`): a line that never ends. It gets one line, the conversation closes, a counter moves.
* **ours**: every other exception is a bug: one event with the traceback, one conversation lost at most.

Exit codes are those of sysexits(3), plus 1 for "the answer is no".
"""

import os
from collections.abc import Iterable

EXIT_OK = os.EX_OK
EXIT_NO = 1
EXIT_USAGE = os.EX_USAGE
EXIT_UNAVAILABLE = os.EX_UNAVAILABLE
EXIT_SOFTWARE = os.EX_SOFTWARE
EXIT_OSERR = os.EX_OSERR
EXIT_CONFIG = os.EX_CONFIG


class OperatorError(Exception):
    """Something only the operator can mend: every problem that was found, a line each."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(OperatorError):
    """The config cannot be used; nothing was bound or changed (exit code 78, EX_CONFIG)."""

    def __init__(self, problems: Iterable[str], notices: Iterable[str] = ()) -> None:
        super().__init__(problems)
        self.notices = tuple(notices)
        """What the operator should know besides."""


class OpenError(OperatorError):
    """The system refused a socket; everything opened before it is closed again (exit code 71, EX_OSERR)."""

    exit_code = EXIT_OSERR


class NotRunningError(OperatorError):
    """There is no netd to talk to, or it may not be talked to (exit code 69, EX_UNAVAILABLE)."""

    exit_code = EXIT_UNAVAILABLE


class UnreachableError(OperatorError):
    """Nobody is at the other end, or there is no way to it (exit code 69, EX_UNAVAILABLE)."""

    exit_code = EXIT_UNAVAILABLE


class HungUpError(OperatorError):
    """The other end closed a conversation before this one had finished (exit code 1)."""

    exit_code = EXIT_NO


class UsageError(OperatorError):
    """A command was given something it cannot mean (exit code 64, EX_USAGE)."""

    exit_code = EXIT_USAGE


class PeerError(Exception):
    """The peer broke the rules of the protocol.

    The transport sends the peer ``error: MESSAGE`` as its last line and closes the conversation.
    """

    @property
    def answer(self) -> bytes:
        """The line the peer gets."""
        return b"error: " + str(self).encode("ascii", "replace") + b"\r\n"
