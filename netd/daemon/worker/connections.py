"""Which connections there are, whose, and ending some of them.

What a worker answers to ``connections``, ``peers`` and ``kick``.
"""

from collections.abc import Callable, Iterable
from heapq import nlargest
from time import monotonic
from typing import Any

from netd.daemon.channel import Message
from netd.peer_filter import PeerFilter
from netd.transport.stream.connection import Connection

MOST_ROWS = 1000
"""Connections that are told one by one; of more, only the number."""

MOST_PEERS = 100
"""Peers that are told, those with the most connections: more than a screen shows, little enough to ask for often."""


def rows(worker: int, connections: Iterable[Connection], wanted: Message) -> Message:
    """Those that ``wanted`` means (`selects`): how many, and the first ones of them in full."""
    chosen = selects(worker, wanted)
    found = [connection for connection in connections if chosen(connection)]
    return {
        "total": len(found),
        "connections": [_row(worker, connection) for connection in found[:MOST_ROWS]],
    }


def peers(worker: int, connections: Iterable[Connection], wanted: Message) -> Message:
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
    return {"total": total, "peers": _largest(found)}


def _largest(found: dict[str, list[int]]) -> list[dict[str, Any]]:
    most = nlargest(MOST_PEERS, found.items(), key=lambda one: one[1])
    return [
        {"peer": peer, "connections": number, "bytes_in": bytes_in, "bytes_out": bytes_out}
        for peer, (number, bytes_in, bytes_out) in most
    ]


def kick(worker: int, connections: Iterable[Connection], wanted: Message) -> int:
    """End those that ``wanted`` means; how many."""
    chosen = selects(worker, wanted)
    found = [connection for connection in connections if chosen(connection)]
    for connection in found:
        connection.close("kicked")
    return len(found)


def selects(worker: int, wanted: Message) -> Callable[[Connection], bool]:
    """The test that a connection has to pass, for each of the keys ``id``, ``service`` and ``peer`` that is given.

    A peer is what `PeerFilter` takes: also a network such as 192.0.2.0/24, or what the list shows of a UNIX peer.
    """
    tests: list[Callable[[Connection], bool]] = []
    if name := wanted.get("id"):
        tests.append(lambda connection: identifier(worker, connection) == name)
    if service := wanted.get("service"):
        tests.append(lambda connection: connection.service_name == service)
    if peer := wanted.get("peer"):
        meant = PeerFilter(peer)
        tests.append(lambda connection: meant.matches(connection.peer))
    return lambda connection: all(test(connection) for test in tests)


def identifier(worker: int, connection: Connection) -> str:
    """A name that no other connection has: descriptors are used again, but not at the same time."""
    return f"{worker}-{connection.descriptor}-{int(connection.opened * 1e6) & 0xFFFFFFFF:x}"


def _row(worker: int, connection: Connection) -> dict[str, Any]:
    peer = connection.peer
    return {
        "id": identifier(worker, connection),
        "service": connection.service_name,
        "transport": peer.transport,
        "peer": peer.remote,
        "local": peer.local,
        "seconds": round(max(0.0, monotonic() - connection.opened), 3),
        "idle": round(max(0.0, monotonic() - connection.active), 3),
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.bytes_out,
    }
