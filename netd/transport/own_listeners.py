"""The listeners of this process, as a connection that was made finds out that it has reached one of them."""

import errno
import socket
from collections.abc import Iterable

OWN = errno.ELOOP
"""The error of a connection to one of them: the name of a target has led back to this netd."""


class OwnListeners:
    """The TCP and UDP listeners of this process."""

    def __init__(self) -> None:
        self._at: frozenset[tuple[int, str, int]] = frozenset()

    def set(self, listeners: Iterable[socket.socket]) -> None:
        """Replace those that are known."""
        self._at = frozenset(at for one in listeners for at in _places(one))

    def reached_by(self, connected: socket.socket) -> bool:
        """Whether a connected TCP or UDP socket leads to one of them.

        A connection within a host has the same address at both ends, or goes to a loopback address. So one to a
        wildcard address is recognised without the list of the addresses of the host. Raises OSError where it is
        connected no more.
        """
        (local, *_), (host, port, *_) = connected.getsockname(), connected.getpeername()
        if (connected.type, host, port) in self._at:
            return True
        anywhere = "::" if connected.family == socket.AF_INET6 else "0.0.0.0"
        is_within = local == host or host.startswith("127.")
        return is_within and (connected.type, anywhere, port) in self._at


def _places(listener: socket.socket) -> Iterable[tuple[int, str, int]]:
    """The kind, address and port of a listener: two of one with the wildcard address of both families."""
    if listener.family == socket.AF_UNIX:
        return
    host, port, *_ = listener.getsockname()
    yield listener.type, host, port
    if host == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        yield listener.type, "0.0.0.0", port
