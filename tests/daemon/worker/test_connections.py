"""The connections of a worker: which of them a selection means, and the lists of them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from netd.daemon.channel import Channel, pair, wait
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import LeaveTarget, Selection
from netd.daemon.messages.from_worker import MOST_ROWS, ConnectionRow
from netd.daemon.worker import connections
from netd.daemon.worker.connections import (
    connection_filter,
    identifier,
    kick,
    leave_target,
    list_connections,
    list_peers,
)
from netd.text import escaped
from netd.transport.stream.connections import Connections
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_exactly
from tests.support.waiting import until


@pytest.fixture
def opened(server: Server) -> Iterator[tuple[Connections, list[socket.socket]]]:
    """Two connections from 127.0.0.1 and one from 127.0.0.2 to an echo service, each of which has sent an octet."""
    address, _ = server.add(service("echo"), "tcp://127.0.0.1:0")
    [listening] = server.servers
    assert isinstance(listening, StreamServer)
    with ExitStack() as stack:
        clients = []
        for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
            client = stack.enter_context(socket.create_connection(address, 10, source_address=(source, 0)))
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            clients.append(client)
        server.settle()
        yield listening.connections, clients


def name_of(client: socket.socket) -> str:
    return "{}:{}".format(*client.getsockname())


def test_list_shows_each_connection_with_its_addresses_and_octets(opened: Any) -> None:
    found, clients = opened
    listed = list_connections(3, found, Selection())
    assert listed.total == 3
    assert {row.peer for row in listed.connections} == {name_of(client) for client in clients}
    for row in listed.connections:
        assert (row.service, row.transport, row.bytes_in, row.bytes_out) == ("test", "tcp", 1, 1)
        assert row.local == "{}:{}".format(*clients[0].getpeername())
        assert 0 <= row.idle <= row.seconds < 60
        assert row.unanswered == ""
    assert len({row.id for row in listed.connections}) == 3
    assert all(row.id.startswith("3-") for row in listed.connections), "the worker's number"


def test_list_says_what_gets_no_answer(server: Server) -> None:
    address, _ = server.add(service("pingpong", pause="100ms"), "tcp://127.0.0.1:0")
    [listening] = server.servers
    assert isinstance(listening, StreamServer)
    with socket.create_connection(address, 10) as client:
        client.sendall(b"p")
        until(lambda: any(one.unanswered for one in listening.connections))
        [row] = list_connections(0, listening.connections, Selection()).connections
        assert row.unanswered.startswith("1 octet without a line end")


def test_connections_with_a_disabled_target_end_however_its_url_was_written() -> None:
    ended: list[str] = []

    class Held:
        def __init__(self, service_name: str, target: str) -> None:
            self.service_name = service_name
            self.target = target

        def close(self, outcome: str) -> None:
            assert outcome == "stopped"
            ended.append(self.target)

    held: Any = [
        Held("web", "tcp://[::1]:80"),
        Held("web", "tcp://[0::1]:080"),
        Held("web", "tcp://[::1]:81"),
        Held("web", ""),
        Held("other", "tcp://[::1]:80"),
    ]
    leave_target(held, LeaveTarget("web", "tcp://[0:0::1]:80"))
    assert ended == ["tcp://[::1]:80", "tcp://[0::1]:080"]


def test_long_list_shows_the_first_connections_and_counts_all(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_ROWS", 2)
    listed = list_connections(0, opened[0], Selection())
    assert (listed.total, len(listed.connections)) == (3, 2)


def test_list_of_connections_with_long_paths_fits_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    path = escaped("\udcff" * 108)  # a path with no octet that is text, both ends of a UNIX socket (unix(7))
    seconds, octets = 1e9 + 0.123, 2**63
    row = ConnectionRow(
        "63-1048576-ffffffff", "x" * 64, "unix", path, path, seconds, seconds, octets, octets, "\\" * 100
    )
    monkeypatch.setattr(connections, "_row", lambda worker, connection: row)
    opened: list[Any] = [object()] * 10_000
    listed = list_connections(63, opened, Selection())
    assert listed.total == 10_000
    assert 400 < len(listed.connections) < MOST_ROWS
    ours, theirs = pair()
    supervisor, worker = Channel(ours, takes_descriptors=False), Channel(theirs, takes_descriptors=True)
    sending = threading.Thread(target=worker.send_encoded, args=(encode(listed),), kwargs={"request": 10**6})
    sending.start()
    received = None
    while received is None and wait([supervisor.fileno()], 10):
        received = supervisor.receive()
    sending.join()
    assert received
    assert len(received[0]["connections"]) == len(listed.connections)
    supervisor.close()
    worker.close()


def test_selection_matches_all_its_fields(opened: Any) -> None:
    found, clients = opened
    [first, *_] = found

    def peers_of(**fields: str) -> set[str]:
        selected = connection_filter(0, Selection(**fields))
        return {one.peer.remote for one in found if selected(one)}

    every = {name_of(client) for client in clients}
    assert peers_of() == peers_of(service="test") == peers_of(peer="127.0.0.0/8") == every
    assert peers_of(peer="127.0.0.2") == {name_of(clients[2])}
    assert peers_of(peer=name_of(clients[1])) == {name_of(clients[1])}
    assert peers_of(id=identifier(0, first)) == {first.peer.remote}
    assert peers_of(id=identifier(1, first)) == peers_of(service="other") == set()
    assert peers_of(peer="127.0.0.2", service="other") == set()


def test_peers_are_listed_with_the_sums_of_their_connections(opened: Any) -> None:
    listed = list_peers(0, opened[0], Selection())
    assert listed.total == 3
    assert [(row.peer, row.connections, row.bytes_in, row.bytes_out) for row in listed.peers] == [
        ("127.0.0.1", 2, 2, 2),
        ("127.0.0.2", 1, 1, 1),
    ]
    assert list_peers(0, opened[0], Selection(peer="192.0.2.0/24")).total == 0


def test_kick_closes_the_selected_connections_alone(server: Server, opened: Any) -> None:
    found, clients = opened
    closed: list[int] = []
    server.loop.call(lambda: closed.append(kick(0, found, Selection(peer="127.0.0.1"))))
    until(lambda: closed == [2])
    assert clients[0].recv(1) == clients[1].recv(1) == b""
    clients[2].sendall(b"y")
    assert read_exactly(clients[2], 1) == b"y"
