"""The connections of a worker: list them, list their peers, close some of them."""

from collections.abc import Callable, Iterable
from time import monotonic

from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import Selection
from netd.daemon.messages.from_worker import (
    LONGEST_TARGET,
    LONGEST_UNANSWERED,
    MOST_ROW_OCTETS,
    MOST_ROWS,
    ConnectionList,
    ConnectionRow,
    PeerList,
)
from netd.peer_filter import PeerFilter
from netd.text import escaped, printable
from netd.transport.stream.connection import Connection


def list_connections(worker: int, connections: Iterable[Connection], selection: Selection) -> ConnectionList:
    """The number of the selected connections, and the first of them that fit into a message, at most `MOST_ROWS`."""
    selected = connection_filter(worker, selection)
    found = [connection for connection in connections if selected(connection)]
    rows: list[ConnectionRow] = []
    left = MOST_ROW_OCTETS
    for connection in found[:MOST_ROWS]:
        row = _row(worker, connection)
        left -= len(encode(row))
        if left < 0:
            break
        rows.append(row)
    return ConnectionList(len(found), rows)


def list_peers(worker: int, connections: Iterable[Connection], selection: Selection) -> PeerList:
    """The number of the selected connections, and their peers, those with the most connections first."""
    selected = connection_filter(worker, selection)
    found: dict[str, list[int]] = {}
    total = 0
    for connection in connections:
        if selected(connection):
            total += 1
            sums = found.setdefault(connection.peer.source, [0, 0, 0])
            sums[0] += 1
            sums[1] += connection.bytes_in
            sums[2] += connection.bytes_out
    return PeerList.of(total, found)


def kick(worker: int, connections: Iterable[Connection], selection: Selection) -> int:
    """Close the selected connections. Returns their number."""
    selected = connection_filter(worker, selection)
    found = [connection for connection in connections if selected(connection)]
    for connection in found:
        connection.close("kicked")
    return len(found)


def fail(connections: Iterable[Connection], descriptor: int, error: MemoryError) -> bool:
    """Close the connection with this descriptor, in which there was no memory left. False: there is none."""
    for connection in connections:
        if connection.descriptor == descriptor:
            connection.fail(error)
            return True
    return False


def connection_filter(worker: int, selection: Selection) -> Callable[[Connection], bool]:
    """A test for connections: all fields of ``selection`` that are not empty have to match.

    A peer is what `PeerFilter` takes: also a network such as 192.0.2.0/24, or the name of a UNIX peer in the list.
    """
    tests: list[Callable[[Connection], bool]] = []
    if name := selection.id:
        tests.append(lambda connection: identifier(worker, connection) == name)
    if service := selection.service:
        tests.append(lambda connection: connection.service_name == service)
    if peer := selection.peer:
        peer_filter = PeerFilter(peer)
        tests.append(lambda connection: peer_filter.matches(connection.peer))
    return lambda connection: all(test(connection) for test in tests)


def identifier(worker: int, connection: Connection) -> str:
    """A name that no other connection has. It contains the time, since the kernel reuses descriptors."""
    return f"{worker}-{connection.pid or connection.descriptor}-{int(connection.opened * 1e6) & 0xFFFFFFFF:x}"


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
        unanswered=escaped(connection.unanswered)[:LONGEST_UNANSWERED],
        pid=connection.pid,
        handed_over=connection.is_unseen,
        via=peer.via,
        target=printable(connection.target)[:LONGEST_TARGET],
    )
