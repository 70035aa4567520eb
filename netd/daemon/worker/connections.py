"""In a worker: which connections there are, of which peers, and closing some of them."""

from collections.abc import Callable, Iterable
from time import monotonic

from netd.daemon.messages.from_supervisor import Selection
from netd.daemon.messages.from_worker import MOST_ROWS, ConnectionList, ConnectionRow, PeerList
from netd.peer_filter import PeerFilter
from netd.transport.stream.connection import Connection


def rows(worker: int, connections: Iterable[Connection], wanted: Selection) -> ConnectionList:
    """Those that ``wanted`` means (`selects`): how many, and the first ones of them in full."""
    chosen = selects(worker, wanted)
    found = [connection for connection in connections if chosen(connection)]
    return ConnectionList(len(found), [_row(worker, connection) for connection in found[:MOST_ROWS]])


def peers(worker: int, connections: Iterable[Connection], wanted: Selection) -> PeerList:
    """Who has the connections that ``wanted`` means (`selects`): how many these are, and whose, most first."""
    chosen = selects(worker, wanted)
    found: dict[str, list[int]] = {}
    total = 0
    for connection in connections:
        if chosen(connection):
            total += 1
            sums = found.setdefault(connection.peer.source, [0, 0, 0])
            sums[0] += 1
            sums[1] += connection.bytes_in
            sums[2] += connection.bytes_out
    return PeerList.of(total, found)


def kick(worker: int, connections: Iterable[Connection], wanted: Selection) -> int:
    """End those that ``wanted`` means; how many."""
    chosen = selects(worker, wanted)
    found = [connection for connection in connections if chosen(connection)]
    for connection in found:
        connection.close("kicked")
    return len(found)


def selects(worker: int, wanted: Selection) -> Callable[[Connection], bool]:
    """The test that a connection has to pass, for each field of ``wanted`` that is given.

    A peer is what `PeerFilter` takes: also a network such as 192.0.2.0/24, or what the list shows of a UNIX peer.
    """
    tests: list[Callable[[Connection], bool]] = []
    if name := wanted.id:
        tests.append(lambda connection: identifier(worker, connection) == name)
    if service := wanted.service:
        tests.append(lambda connection: connection.service_name == service)
    if peer := wanted.peer:
        meant = PeerFilter(peer)
        tests.append(lambda connection: meant.matches(connection.peer))
    return lambda connection: all(test(connection) for test in tests)


def identifier(worker: int, connection: Connection) -> str:
    """A name that no other connection has: descriptors are used again, but not at the same time."""
    return f"{worker}-{connection.descriptor}-{int(connection.opened * 1e6) & 0xFFFFFFFF:x}"


def _row(worker: int, connection: Connection) -> ConnectionRow:
    peer = connection.peer
    return ConnectionRow(
        id=identifier(worker, connection),
        service=connection.service_name,
        transport=peer.transport,
        peer=peer.remote,
        local=peer.local,
        seconds=round(max(0.0, monotonic() - connection.opened), 3),
        idle=round(max(0.0, monotonic() - connection.active), 3),
        bytes_in=connection.bytes_in,
        bytes_out=connection.bytes_out,
    )
