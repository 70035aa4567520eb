"""What a stream is received from and sent to: a socket that does not block, or what is put before one."""

from socket import socket
from typing import Protocol, TypeAlias

CHUNK = 65536
"""Octets taken from a stream, and given to the kernel, at once."""


class StreamSocket(Protocol):
    """What a connection needs of a socket that does not block. A bare one is one, and what a preamble puts before it.

    `recv` gives as many octets as it is asked for, if there are so many: less means that nothing is left, neither here
    nor in the kernel. `recv` and `send` raise BlockingIOError where they would have to wait, and another OSError where
    the connection is broken.
    """

    def recv(self, size: int, /) -> bytes: ...

    def send(self, data: bytes | memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


BareSocket: TypeAlias = socket
"""A `StreamSocket` that nothing is put before."""


class WrappedSocket(StreamSocket, Protocol):
    """One that is put before another, and may hold octets that came."""

    def pending(self) -> int:
        """How many octets `recv` gives without asking the kernel, which does not tell of them."""
