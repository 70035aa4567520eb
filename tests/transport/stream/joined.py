"""A connection for tests that joins two sockets with two pumps."""

import select
import socket
from collections.abc import Callable

import pytest

from netd.contract import Conversation
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream import connections
from netd.transport.stream.connection import Connection, Owner
from netd.transport.stream.pump import Pump
from netd.transport.stream.stream_socket import BareSocket, StreamSocket

_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_TURN = 16  # pieces in each direction in one turn


class Joined:
    """A service: each connection is joined to a non-blocking socket that ``connect`` returns."""

    def __init__(self, connect: Callable[[], BareSocket]) -> None:
        self.connect = connect

    def stream(self, peer: Peer) -> Conversation:
        yield b"its connections do not ask it"


class JoinedConnection(Connection):
    """Sends the input of each socket to the other, until both directions have ended."""

    __slots__ = ("_input", "_upstream")

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer, upstream: BareSocket) -> None:
        super().__init__(owner, request, peer)
        self._upstream = upstream
        self._input = Pump()
        self._mask = _EDGES

    def start(self) -> None:
        super().start()
        self._owner.loop.watch(self._upstream.fileno(), _EDGES, self._receive)
        self._receive(0)  # a wrapped socket may hold input

    def _receive(self, mask: int) -> None:
        if mask & select.EPOLLERR:
            return self.close("reset")
        for _ in range(_TURN):
            came = self._move(self._input, self.socket, self._upstream)
            went = self._move(self._output, self._upstream, self.socket)
            if self.descriptor < 0 or came is went is None:
                return
            self.active = self._owner.loop.now
            if not self._count(came[0] if came else 0, went[1] if went else 0):
                return self.close("bytes")
            if self._input.ended and self._output.ended:
                return self.close("done")
        self._owner.loop.call(self._go_on)

    def _move(self, pump: Pump, source: StreamSocket, sink: StreamSocket) -> tuple[int, int] | None:
        """The octets received and sent; None if nothing can be moved, or the connection has ended."""
        if pump.ended or self.descriptor < 0:
            return None
        try:
            return pump.move(source, sink)
        except BlockingIOError:
            return None
        except OSError:
            self.close("reset")
            return None

    def _go_on(self) -> None:
        if self.descriptor >= 0:
            self._receive(0)

    def close(self, outcome: Outcome) -> None:
        self._owner.loop.unwatch_closing(self._upstream.fileno())
        self._upstream.close()
        super().close(outcome)


def serve_joined(patch: pytest.MonkeyPatch) -> None:
    """Serve each conversation as a `Joined` during this test."""

    def join(owner: connections.Connections, stream: StreamSocket, peer: Peer, _: object) -> Connection:
        return JoinedConnection(owner, stream, peer, owner.service.connect())

    patch.setitem(connections.CONSTRUCTORS, "conversation", join)


def connect_to(address: object) -> BareSocket:
    """A non-blocking socket that is connected to this address of IPv4 or of a UNIX socket."""
    upstream = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    upstream.connect(address)  # type: ignore[arg-type]
    upstream.setblocking(False)
    return upstream
