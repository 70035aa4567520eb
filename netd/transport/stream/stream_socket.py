"""The socket interface of stream connections: a non-blocking socket, or an object that wraps one."""

from collections.abc import Callable
from socket import socket
from struct import pack
from typing import Protocol, TypeAlias

CHUNK = 65536
"""Octets received or sent with one system call, at most."""
RESET = pack("ii", 1, 0)
"""Of SO_LINGER (socket(7)): close(2) resets a TCP connection."""


class StreamSocket(Protocol):
    """The methods of a non-blocking socket that a connection uses. A bare socket has them, and each that wraps one.

    `recv` returns as many octets as requested, if so many are there: fewer mean that nothing is left, neither here nor
    in the kernel. `recv` and `send` raise BlockingIOError where they would block, and another OSError where the
    connection is broken. So does `shutdown`; where it would block, it is called again when there is room.
    """

    def recv(self, size: int, /) -> bytes: ...

    def send(self, data: bytes | memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


BareSocket: TypeAlias = socket
"""A `StreamSocket` that is not wrapped."""


class WrappedSocket(StreamSocket, Protocol):
    """A `StreamSocket` that wraps another, and may hold octets that it has received.

    Where input takes long to decode, `recv` does a part of the work, and returns less than there is, or raises
    BlockingIOError. It has then called ``on_more``, which is to have it called again later.
    """

    on_more: Callable[[], object] | None

    @property
    def is_truncated(self) -> bool:
        """Whether the peer has closed the connection in a way that does not show that nothing is missing."""

    def pending(self) -> int:
        """The octets that `recv` returns without a system call. epoll(7) does not report them."""

    def reset_on_close(self) -> None:
        """Have `close` reset the connection, so that the peer does not take a part for the whole."""
