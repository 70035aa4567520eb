"""The outcomes of a question, and the mapping of system errors to them. Values only: no input, no output."""

import errno
from enum import IntEnum

from netd.tls.client import TlsError


class Outcome(IntEnum):
    """The outcome of a question without a right answer. Negative: a right answer is kept as its nanoseconds."""

    WAITING = -1
    TIMED_OUT = -2
    REFUSED = -3
    UNREACHABLE = -4
    UNRESOLVED = -5
    CLOSED = -6
    WRONG = -7
    UNSENT = -8
    ABANDONED = -9
    """The run ended before the time-out of the question, so it counts neither as sent nor as lost."""
    TLS_FAILED = -10

    @property
    def word(self) -> str:
        """The name in reports: ``timed_out``."""
        return self.name.lower()


LOSSES = tuple(outcome for outcome in Outcome if outcome not in (Outcome.WAITING, Outcome.ABANDONED))

MESSAGES = {
    Outcome.TIMED_OUT: "no right answer in time",
    Outcome.REFUSED: "refused: nothing listens there, or its queue is full",
    Outcome.UNREACHABLE: "cannot be reached",
    Outcome.UNRESOLVED: "the name cannot be resolved",
    Outcome.CLOSED: "the connection was closed before the answer was complete",
    Outcome.WRONG: "the answer was wrong",
    Outcome.TLS_FAILED: "TLS failed",
    Outcome.UNSENT: "this host could not send so fast; not a failure of the target",
}

_REFUSED = {errno.ECONNREFUSED, errno.EAGAIN}  # EAGAIN: the queue of a UNIX socket is full (connect(2))
_CLOSED = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}
_UNREACHABLE = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EMSGSIZE,  # the datagram is longer than the path allows
    errno.EACCES,  # a firewall here, or the permissions of a UNIX socket
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPROTOTYPE,  # a UNIX socket of the other type
    errno.EPROTO,  # these three come from messages of icmp(7)
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
}


def outcome_of(error: OSError) -> Outcome | None:
    """The outcome that an error of a socket means; None for an error of this host, such as EMFILE."""
    if isinstance(error, TlsError):
        return Outcome.TLS_FAILED
    if isinstance(error, TimeoutError):  # ETIMEDOUT
        return Outcome.TIMED_OUT
    if error.errno in _REFUSED:
        return Outcome.REFUSED
    if error.errno in _CLOSED:
        return Outcome.CLOSED
    return Outcome.UNREACHABLE if error.errno in _UNREACHABLE else None
