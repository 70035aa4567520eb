"""Taps on the servers of a test."""

from collections.abc import Callable

from netd.peer import Peer
from netd.transport.stream.server import StreamServer
from netd.transport.tap import Tap
from tests.support.server import Server


def tap(wanted: Callable[[Peer], bool] = lambda peer: True, flush: Callable[[Tap], None] = lambda tap: None) -> Tap:
    """A tap that records all peers and is never flushed, by default."""
    return Tap("test", wanted, flush)


def look(server: Server, taps: list[Tap]) -> None:
    """Attach these taps, and no others, to all servers and connections."""
    for one in server.servers:
        observed = one.connections if isinstance(one, StreamServer) else one
        server.loop.call(lambda observed=observed: observed.trace(taps))  # type: ignore[misc]
    server.settle()
