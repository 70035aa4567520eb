"""The connections of a worker, and its sessions of datagrams: list them, list their peers, close some of them."""

from collections.abc import Callable, Iterable
from functools import cache
from heapq import nlargest
from time import monotonic

from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import LeaveTarget, Selection
from netd.daemon.messages.from_worker import (
    LONGEST_TARGET,
    LONGEST_UNANSWERED,
    MOST_HANGING,
    MOST_ROW_OCTETS,
    MOST_ROWS,
    ConnectionList,
    ConnectionRow,
    HangingRow,
    PeerList,
)
from netd.peer_filter import PeerFilter
from netd.services.forward.target import Target
from netd.text import escaped, printable
from netd.transport.datagram.session import Session
from netd.transport.handler_watch import watch_of
from netd.transport.loop import Loop
from netd.transport.stream.connection import Connection

Listed = Connection | Session


def list_connections(worker: int, connections: Iterable[Listed], selection: Selection) -> ConnectionList:
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


def list_peers(worker: int, connections: Iterable[Listed], selection: Selection) -> PeerList:
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


def kick(worker: int, connections: Iterable[Listed], selection: Selection) -> int:
    """Close the selected connections. Returns their number."""
    selected = connection_filter(worker, selection)
    found = [connection for connection in connections if selected(connection)]
    for connection in found:
        connection.close("kicked")
    return len(found)


def leave_target(connections: Iterable[Listed], order: LeaveTarget) -> None:
    """Close the connections of a service with a target that was disabled.

    Older ones may have it as a config before wrote it.
    """
    wanted, parse = Target.parse(order.target), cache(Target.parse)
    for connection in [one for one in connections if one.service_name == order.service and one.target]:
        if parse(connection.target) == wanted:
            connection.close("stopped")


def fail(connections: Iterable[Listed], descriptor: int, error: MemoryError) -> bool:
    """Close the connection with this descriptor, in which there was no memory left. False: there is none."""
    for connection in connections:
        if connection.descriptor == descriptor:
            connection.fail(error)
            return True
    return False


def connection_filter(worker: int, selection: Selection) -> Callable[[Listed], bool]:
    """A test for connections: all fields of ``selection`` that are not empty have to match.

    A peer is what `PeerFilter` takes: also a network such as 192.0.2.0/24, or the name of a UNIX peer in the list.
    """
    tests: list[Callable[[Listed], bool]] = []
    if name := selection.id:
        tests.append(lambda connection: identifier(worker, connection) == name)
    if service := selection.service:
        tests.append(lambda connection: connection.service_name == service)
    if peer := selection.peer:
        peer_filter = PeerFilter(peer)
        tests.append(lambda connection: peer_filter.matches(connection.peer))
    return lambda connection: all(test(connection) for test in tests)


def identifier(worker: int, connection: Listed) -> str:
    """A name that no other connection has. It contains the time, since the kernel reuses descriptors."""
    return f"{worker}-{connection.pid or connection.descriptor}-{int(connection.opened * 1e6) & 0xFFFFFFFF:x}"


def _row(worker: int, connection: Listed) -> ConnectionRow:
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


def list_hanging(loop: Loop) -> list[HangingRow]:
    """The handlers that hang, those first that do so for longest."""
    longest = nlargest(MOST_HANGING, watch_of(loop).hanging, key=lambda one: one.seconds)
    return [HangingRow(one.events.service, one.at, one.peer, one.seconds, one.cpu_seconds) for one in longest]
