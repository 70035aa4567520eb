"""What can become of a question, and which of it an error of the system means. Only values."""

import errno
from enum import IntEnum


class Outcome(IntEnum):
    """How a question ended without a right answer. Negative, since a right answer is kept as its nanoseconds."""

    WAITING = -1
    TIMED_OUT = -2
    REFUSED = -3
    UNREACHABLE = -4
    UNRESOLVED = -5
    CLOSED = -6
    WRONG = -7
    UNSENT = -8
    ABANDONED = -9
    """The run ended before the question's time was over, so there is nothing to say of it."""

    @property
    def word(self) -> str:
        """As reports call it: ``timed_out``."""
        return self.name.lower()


LOSSES = tuple(outcome for outcome in Outcome if outcome not in (Outcome.WAITING, Outcome.ABANDONED))

MESSAGES = {
    Outcome.TIMED_OUT: "no right answer in time",
    Outcome.REFUSED: "refused: nothing listens there, or it has no room",
    Outcome.UNREACHABLE: "cannot be reached",
    Outcome.UNRESOLVED: "the name cannot be resolved",
    Outcome.CLOSED: "the connection was closed before the answer was complete",
    Outcome.WRONG: "the answer was wrong",
    Outcome.UNSENT: "this host could not ask so fast; the target is not to blame",
}

_REFUSED = {errno.ECONNREFUSED, errno.EAGAIN}  # a UNIX socket whose queue is full says EAGAIN (connect(2))
_CLOSED = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}
_UNREACHABLE = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EMSGSIZE,  # no path takes so long a datagram
    errno.EACCES,  # a firewall here, or the permissions of a UNIX socket
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPROTOTYPE,  # a UNIX socket of the other kind
    errno.EPROTO,  # these three are what icmp(7) messages become
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
}


def outcome_of(error: OSError) -> Outcome | None:
    """What an error of a socket says of the question; None where it says something of this host, as EMFILE does."""
    if isinstance(error, TimeoutError):  # ETIMEDOUT
        return Outcome.TIMED_OUT
    if error.errno in _REFUSED:
        return Outcome.REFUSED
    if error.errno in _CLOSED:
        return Outcome.CLOSED
    return Outcome.UNREACHABLE if error.errno in _UNREACHABLE else None
