"""Connected UDP sockets of this host, as the kernel lists them."""

import os
import socket
from contextlib import ExitStack

import pytest

from netd.peer import Peer
from netd.transport.datagram import connected
from netd.transport.datagram.connected import ConnectedSockets
from tests.support.namespaces import in_namespace
from tests.support.sockets import has_ipv6


def bound(host: str, family: int | None = None) -> socket.socket:
    sock = socket.socket(family or (socket.AF_INET6 if ":" in host else socket.AF_INET), socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def peer_of(client: socket.socket, server: socket.socket) -> Peer:
    host, port = client.getsockname()[:2]
    local, local_port = server.getsockname()[:2]
    return Peer("udp", host.removeprefix("::ffff:"), port, local, local_port)


@pytest.fixture
def whole_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are read to their end, however many sockets other programs have open."""
    monkeypatch.setattr(connected, "_MOST", 2**26)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that are read."""
    read, names = connected._read, list[str]()

    def counted(table: str) -> set[tuple[bytes, bytes]]:
        names.append(table)
        return read(table)

    monkeypatch.setattr(connected, "_read", counted)
    return names


@pytest.mark.usefixtures("whole_tables")
@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", None), ("::1", None), ("::ffff:127.0.0.1", socket.AF_INET6)]
)
def test_connected_socket_is_found_by_both_of_its_ends(host: str, family: int | None) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    with bound(host.removeprefix("::ffff:")) as server, bound(host, family) as client:
        peer = peer_of(client, server)
        assert not ConnectedSockets().has(peer, 0)
        client.connect((host, peer.local_port))
        assert ConnectedSockets().has(peer, 0)
        turned = peer._replace(host=peer.local_host, port=peer.local_port, local_port=peer.port)
        assert not ConnectedSockets().has(turned, 0)


@pytest.mark.usefixtures("whole_tables")
def test_socket_with_other_addresses_and_the_same_ports_is_not_found(tables: list[str]) -> None:
    with bound("127.0.0.1") as server, bound("127.0.0.1") as client:
        client.connect(server.getsockname())
        peer = peer_of(client, server)
        assert ConnectedSockets().has(peer, 0)
        assert not ConnectedSockets().has(peer._replace(host="127.0.0.2"), 0)
        assert not ConnectedSockets().has(peer._replace(local_host="127.0.0.2"), 0)
        tables.clear()
        assert not ConnectedSockets().has(peer._replace(host="192.0.2.1"), 0)
        assert tables == [], "a peer on another host costs no read"


@pytest.mark.usefixtures("whole_tables")
def test_tables_are_read_once_a_second(tables: list[str]) -> None:
    sockets = ConnectedSockets()
    with bound("127.0.0.1") as server, bound("127.0.0.1") as client:
        peer = peer_of(client, server)
        assert not sockets.has(peer, 10.0)
        client.connect(server.getsockname())
        assert not any(sockets.has(peer, 10.0 + number / 1000) for number in range(1000))
        assert len(tables) == 2
        assert sockets.has(peer, 11.0)
        assert len(tables) == 4


def test_no_more_of_a_long_table_is_read() -> None:
    def run() -> None:
        with ExitStack() as opened:
            server = opened.enter_context(bound("127.0.0.1"))
            for number in range(700):
                client = opened.enter_context(bound(f"127.0.1.{number % 200 + 1}"))
                client.connect(server.getsockname())
            table = connected._TABLES[0]
            assert os.path.exists(table)
            assert 450 < len(connected._read(table)) < 550

    in_namespace(run)
