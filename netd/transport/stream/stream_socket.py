"""The socket interface of stream connections: a non-blocking socket, or an object that wraps one."""

from socket import socket
from typing import Protocol, TypeAlias

CHUNK = 65536
"""Octets received or sent with one system call, at most."""


class StreamSocket(Protocol):
    """The methods of a non-blocking socket that a connection uses. A bare socket has them, and each that wraps one.

    `recv` returns as many octets as requested, if so many are there: fewer mean that nothing is left, neither here nor
    in the kernel. `recv` and `send` raise BlockingIOError where they would block, and another OSError where the
    connection is broken.
    """

    def recv(self, size: int, /) -> bytes: ...

    def send(self, data: bytes | memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


BareSocket: TypeAlias = socket
"""A `StreamSocket` that is not wrapped."""


class WrappedSocket(StreamSocket, Protocol):
    """A `StreamSocket` that wraps another, and may hold octets that it has received."""

    def pending(self) -> int:
        """The octets that `recv` returns without a system call. epoll(7) does not report them."""
