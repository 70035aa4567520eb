"""A service for tests: each connection is relayed to a second socket."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from netd.contract import Conversation
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream import connections
from netd.transport.stream.connection import Connection
from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import StreamSocket


class Relayed:
    """A service: each connection is joined with a non-blocking socket that ``connect`` returns."""

    def __init__(self, connect: Callable[[], StreamSocket]) -> None:
        self.connect = connect
        self.outcomes: list[Outcome] = []

    def stream(self, peer: Peer) -> Conversation:
        yield b"its connections do not ask it"


@contextlib.contextmanager
def serving_relayed() -> Iterator[None]:
    """Serve each conversation as a `Relayed`."""
    pipe = SplicePipe()

    def relay(owner: connections.Connections, stream: StreamSocket, peer: Peer, _: object) -> Connection:
        service: Relayed = owner.service
        return RelayConnection(owner, stream, peer, service.connect(), pipe, service.outcomes.append)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections.CONSTRUCTORS, "conversation", relay)
        yield
    pipe.close()


def connect_to(address: object) -> socket.socket:
    """A non-blocking socket that is connected to this address of IPv4 or of a UNIX socket."""
    upstream = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    upstream.connect(address)  # type: ignore[arg-type]
    upstream.setblocking(False)
    return upstream
