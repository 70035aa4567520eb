"""Preambles, with the two of `toy_preambles.py`: one names the peer, one wraps the stream."""

import contextlib
import socket
import threading
from functools import partial
from typing import Any

import pytest

from netd.addresses import parse_address
from netd.admission.banner import Banners
from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonBounds
from netd.contract import Conversation
from netd.daemon.messages.from_supervisor import Selection
from netd.daemon.worker import connections
from netd.errors import PeerError
from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.upper import Upper
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream import preamble
from netd.transport.stream.connections import Connections
from netd.transport.stream.preamble import Preambles
from netd.transport.stream.server import StreamServer
from netd.transport.tap import Tap
from tests.support.descriptors import pipes
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.sample_services import Finger, PlainEcho, Quiet
from tests.transport.stream.peers import connect, ended, failed
from tests.transport.stream.toy_preambles import BOTH, NAMED, PEER, TRANSFORMED, begun, name, xor


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


def read_until_reset(connection: socket.socket) -> bytes:
    """All that the server sends. A connection that it closes with unread input is reset."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1000):
            said += piece
    return said


def outcomes(events: ServiceEvents) -> dict[str, int]:
    return dict(events.counters.closed)


def kept(server: Server) -> Connections:
    [one] = server.servers
    assert isinstance(one, StreamServer)
    return one.connections


URLS = ["tcp://127.0.0.1:0", "unix://{tmp}/s"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_header_is_received_to_its_end_and_no_further(
    server: Server, tmp_path: Any, url: str, kind: type[Echo], size: int
) -> None:
    address, events = server.add(kind(), url.format(tmp=tmp_path), preambles=NAMED)
    with connect(address) as connection:
        said = PEER + b"hello"
        for start in range(0, len(said), size):
            connection.sendall(said[start : start + size])
            server.settle()
        assert read_exactly(connection, 5) == b"hello"
        big = b"x" * 2**20
        sender = threading.Thread(target=connection.sendall, args=(big,))
        sender.start()
        assert read_exactly(connection, len(big)) == big
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    until(partial(ended, events, 1))
    assert (events.counters.accepted, events.counters.bytes_in) == (1, 5 + len(big)), "without the header"
    assert outcomes(events) == {"done": 1}


@pytest.mark.parametrize("url", URLS)
def test_services_logs_and_listings_have_the_named_peer(
    server: Server, log: list[dict[str, Any]], tmp_path: Any, url: str
) -> None:
    address, events = server.add(service("whoami"), url.format(tmp=tmp_path), preambles=NAMED)
    with connect(address) as connection:
        connection.sendall(PEER)
        assert read_exactly(connection, 20) == b"peer=192.0.2.7:4711 "
        connection.sendall(b"x" * 9)
        [row] = connections.list_connections(0, kept(server), Selection(peer="192.0.2.0/24")).connections
        assert row.peer == "192.0.2.7:4711"
        assert read_all(connection)
    until(partial(ended, events, 1))
    [line] = [line for line in log if line["event"] == "connection_closed"]
    assert line["peer"] == "192.0.2.7:4711"


def test_rules_apply_to_the_named_peer_and_not_to_its_proxy(server: Server, log: list[dict[str, Any]]) -> None:
    server.shared.apply(DaemonBounds(), BanRules(exempt=()))
    policy: dict[str, object] = {"access": {"deny": ["192.0.2.0/24"], "allow": ["198.51.100.0/24"]}}
    limits = {"per_source": 1, "exempt": [], "rate": "tcp 1/h burst 3"}
    address, events = server.add(Upper(), "tcp://127.0.0.1:0", policy={**policy, "limits": limits}, preambles=NAMED)
    control = kept(server)._control

    def ask(host: str) -> bytes:
        with connect(address) as connection:
            connection.sendall(b"PEER %s 1\nhello" % host.encode())
            with contextlib.suppress(OSError):  # it is refused already
                connection.shutdown(socket.SHUT_WR)
            return read_until_reset(connection)

    def refuses(host: str) -> list[str]:
        checks = control.explain(parse_address(host), 1, server.loop.now, datagram=False)
        return [check.name for check in checks if not check.passes]

    assert ask("192.0.2.7") == b""
    assert events.counters.refused == {"access": 1}
    with connect(address) as first:
        first.sendall(b"PEER 198.51.100.1 1\nx")
        assert first.recv(1) == b"X"
        assert (refuses("198.51.100.1"), refuses("198.51.100.2")) == (["limits.per_source"], [])
        assert ask("198.51.100.1") == b""
        assert events.counters.refused == {"access": 1, "per_source": 1}
        assert ask("198.51.100.2") == b"HELLO"
    until(lambda: events.counters.active == 0)
    assert [ask("198.51.100.1") for _ in range(2)] == [b"HELLO", b""], "the rate is of each"
    server.shared.ban(parse_address("198.51.100.3"), server.loop.now + 1000)
    server.shared.ban(parse_address("127.0.0.1"), server.loop.now + 1000)
    assert [ask("198.51.100.3"), ask("198.51.100.4")] == [b"", b"HELLO"]
    assert events.counters.refused == {"access": 1, "per_source": 1, "rate": 1, "banned": 1}
    refused = [line for line in log if line["event"] == "connection_refused"]
    assert {(line["reason"], line["source"]) for line in refused} == {
        ("access", "192.0.2.7"),
        ("per_source", "198.51.100.1"),
        ("rate", "198.51.100.1"),
        ("banned", "198.51.100.3"),
    }
    until(lambda: events.counters.active == 0)
    assert sum(server.shared.daemon_limits.active) == 0
    assert not any(events.table.sources), "127.0.0.1 was never counted"


def test_refused_peer_gets_the_refusal_and_no_handshake(server: Server) -> None:
    policy = {"access": {"deny": ["192.0.2.0/24"]}, "refuse": {"line": "no"}}
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", policy=policy, preambles=BOTH)
    with connect(address) as connection:
        connection.sendall(PEER)
        assert read_all(connection) == b"no\r\n"
    until(partial(ended, events, 1))
    assert begun == []
    with connect(address) as connection:
        connection.sendall(b"PEER 198.51.100.1 1\nXOR\n" + xor(b"hello"))
        assert read_exactly(connection, 8) == b"OK\n" + xor(b"hello")
    until(partial(ended, events, 2))
    assert [peer.host for peer in begun] == ["198.51.100.1"]
    assert (events.counters.refused, events.counters.active) == ({"access": 1}, 0)


def test_sender_that_may_not_name_a_peer_is_refused_at_once(server: Server, log: list[dict[str, Any]]) -> None:
    def from_one_proxy(data: bytes, peer: Peer) -> tuple[int, Peer] | None:
        if peer.host != "127.0.0.2":
            raise PeerError("from 127.0.0.2 alone")
        return name(data, peer)

    address, events = server.add(Echo(), "tcp://127.0.0.1:0", preambles=Preambles(from_one_proxy))
    with connect(address) as connection:
        assert connection.recv(1) == b"", "before it has said a word"
    assert (events.counters.refused, events.counters.accepted) == ({"access": 1}, 0)
    assert [line["source"] for line in log if line["event"] == "connection_refused"] == ["127.0.0.1"]
    with socket.create_connection(address, 20, ("127.0.0.2", 0)) as proxy:
        proxy.sendall(PEER + b"hello")
        assert read_exactly(proxy, 5) == b"hello"


@pytest.mark.parametrize("preambles", [TRANSFORMED, BOTH], ids=["transformed", "both"])
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("size", [1, 1000, 2**20])
def test_wrapped_stream_is_served_as_any_other(
    server: Server, tmp_path: Any, preambles: Preambles, url: str, size: int
) -> None:
    before = pipes()
    address, events = server.add(Echo(), url.format(tmp=tmp_path), preambles=preambles)
    assert pipes() == before, "nothing is spliced past the transformation"
    data = bytes(range(256)) * 400
    said = (PEER if preambles.naming else b"") + b"XOR\n" + xor(data)
    with connect(address) as connection:

        def say() -> None:
            for start in range(0, len(said), size):
                connection.sendall(said[start : start + size])
                if start < 100 * size:
                    server.settle()
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=say)
        sender.start()
        assert read_exactly(connection, 3) == b"OK\n"
        assert xor(read_all(connection)) == data
        sender.join()
    until(partial(ended, events, 1))
    assert (outcomes(events), events.counters.bytes_in) == ({"done": 1}, len(data))


def test_input_behind_the_handshake_reaches_the_service_whole(server: Server) -> None:
    address, _ = server.add(PlainEcho(), "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    held, go = threading.Event(), threading.Event()
    server.loop.call(held.set)
    server.loop.call(partial(go.wait, 20))
    assert held.wait(20)
    with connect(address) as connection:
        data = b"x" * 20_000  # several times the input of one turn, in one segment with the handshake
        connection.sendall(b"XOR\n" + xor(data))
        go.set()
        assert read_exactly(connection, 3 + len(data)) == b"OK\n" + xor(data)


@pytest.mark.parametrize(
    ("preambles", "said", "outcome"),
    [
        (NAMED, b"", "done"),
        (NAMED, b"GET / HTTP/1.0\r\n", "peer_error"),
        (NAMED, b"PEER 192.0.2.7", "peer_error"),
        (NAMED, b"PEER nonsense 1\n", "peer_error"),
        (NAMED, b"PEER " + b"x" * 10_000, "peer_error"),
        (TRANSFORMED, b"", "done"),
        (TRANSFORMED, b"XO", "reset"),
        (TRANSFORMED, b"hello", "peer_error"),
    ],
)
def test_peer_that_violates_the_preamble_gets_no_service(
    server: Server, preambles: Preambles, said: bytes, outcome: str
) -> None:
    address, events = server.add(service("qotd"), "tcp://127.0.0.1:0", preambles=preambles)
    with connect(address) as connection:
        connection.sendall(said)
        with contextlib.suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_WR)
        assert read_until_reset(connection) in (b"", b"error: expected XOR\r\n")
    until(partial(ended, events, 1))
    assert (outcomes(events), events.counters.checks) == ({outcome: 1}, int(not said))
    assert (events.counters.active, events.counters.refused) == (0, {})


@pytest.mark.parametrize("preambles", [NAMED, TRANSFORMED, BOTH], ids=["named", "transformed", "both"])
def test_peer_with_an_incomplete_preamble_has_ten_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch, preambles: Preambles
) -> None:
    monkeypatch.setattr(preamble, "TIMEOUT", 0.3)
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", connections=3, preambles=preambles)
    with connect(address) as silent, connect(address) as slow, connect(address) as well:
        slow.sendall(b"P" if preambles.naming else b"X")
        said = (PEER if preambles.naming else b"") + (b"XOR\n" if preambles.transforming else b"")
        well.sendall(said)
        with connect(address) as one_too_many:
            assert one_too_many.recv(1) == b"", "the others have their places already"
        for connection in (silent, slow):
            with contextlib.suppress(ConnectionResetError):  # a part of a header stays unread
                assert connection.recv(1) == b""
        until(partial(ended, events, 2))
        well.sendall(b"hello")
        wanted = b"OK\nhello" if preambles.transforming else b"hello"  # echo sends it back
        assert read_exactly(well, len(wanted)) == wanted, "it has the service's time"
    until(partial(ended, events, 3))
    assert outcomes(events) == {"lifetime": 2, "done": 1}
    assert (events.counters.active, events.counters.refused) == (0, {"connections": 1})


def test_client_that_does_not_read_the_banner_holds_nothing_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    banner = bytes(range(256)) * 4096  # more than the buffers hold
    address, events = server.add(
        PlainEcho(), "tcp://127.0.0.1:0?sndbuf=16KiB", preambles=Preambles(banners=Banners(banner))
    )
    with connect(address) as other:
        sender = threading.Thread(target=other.sendall, args=(b"hello",))
        sender.start()
        assert read_exactly(other, len(banner)) == banner
        assert read_exactly(other, 5) == b"hello", "it has waited in the kernel"
        sender.join()
        monkeypatch.setattr(preamble, "TIMEOUT", 0.3)
        with connect(address):
            until(partial(ended, events, 1))
            assert outcomes(events) == {"lifetime": 1}
            other.sendall(b"again")
            assert read_exactly(other, 5) == b"again"


def test_client_that_leaves_at_the_banner_has_no_conversation(server: Server) -> None:
    banner = bytes(2**20)
    preambles = Preambles(banners=Banners(banner))
    address, events = server.add(PlainEcho(), "tcp://127.0.0.1:0?sndbuf=16KiB", preambles=preambles)
    with connect(address):
        until(lambda: events.counters.active == 1)
    until(partial(ended, events, 1))
    assert (outcomes(events), events.counters.failed) == ({"reset": 1}, 0)


def test_connections_in_their_preamble_are_listed_kicked_and_stopped(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", preambles=BOTH)
    with connect(address) as one, connect(address) as other:
        until(lambda: events.counters.active == 2)
        port = one.getsockname()[1]
        [row] = connections.list_connections(0, kept(server), Selection(peer=f"127.0.0.1:{port}")).connections
        server.loop.call(lambda: connections.kick(0, kept(server), Selection(id=row.id)))
        assert one.recv(1) == b""
        server.loop.call(kept(server).close_all)
        assert other.recv(1) == b""
    until(partial(ended, events, 2))
    assert (outcomes(events), events.counters.active) == ({"kicked": 1, "stopped": 1}, 0)


def test_trace_shows_the_service_alone_and_the_named_peer(server: Server) -> None:
    address, events = server.add(Upper(), "tcp://127.0.0.1:0", preambles=BOTH)
    tap = Tap("test", lambda peer: peer.host == "192.0.2.7", lambda tap: None)
    server.loop.call(lambda: kept(server).trace([tap]))
    with connect(address) as connection:
        connection.sendall(PEER + b"XOR\n" + xor(b"hello"))
        assert read_exactly(connection, 8) == b"OK\n" + xor(b"HELLO")
    until(partial(ended, events, 1))
    lines, _ = tap.take()
    assert [(way, bytes.fromhex(data)) for _, way, _, _, data, _ in lines if way != "end"] == [
        ("opened", b""),
        ("in", b"hello"),
        ("out", b"HELLO"),
        ("closed", b""),
    ]


@pytest.mark.parametrize("preambles", [NAMED, TRANSFORMED, BOTH])
def test_thread_is_served_behind_preambles(server: Server, preambles: Preambles) -> None:
    for handler in (Finger, Quiet):
        address, _ = server.add(handler(), "tcp://127.0.0.1:0", preambles=preambles)
        with connect(address) as connection:
            connection.sendall(PEER if preambles.naming else b"")
            if not preambles.transforming:
                connection.sendall(b"hello\n")
                assert read_all(connection) == b"HELLO\n"
            else:
                connection.sendall(b"XOR\n" + xor(b"hello\n"))
                assert read_all(connection) == b"OK\n" + xor(b"HELLO\n")


class Unable:
    """A service that raises before its first turn."""

    def stream(self, peer: Peer) -> Conversation:
        raise ZeroDivisionError("oops")


def oops(*arguments: Any) -> Any:
    raise ZeroDivisionError("oops")


def name_nonsense(data: bytes, peer: Peer) -> tuple[int, Peer] | None:
    return (1, peer._replace(host="no address")) if data else None


def oops_later(data: bytes, peer: Peer) -> None:
    if data:
        oops()


@pytest.mark.parametrize(
    ("kind", "preambles"),
    [
        (Unable, NAMED),
        (Echo, Preambles(oops_later)),
        (Echo, Preambles(name_nonsense)),
        (Echo, Preambles(name, oops)),
        (Unable, BOTH),
    ],
)
def test_bug_in_a_preamble_or_after_it_costs_one_connection(
    server: Server, kind: type[Any], preambles: Preambles
) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0", preambles=preambles)
    for number in (1, 2):
        with connect(address) as connection:
            connection.sendall(PEER + b"XOR\n")
            read_until_reset(connection)
        until(partial(failed, events, number))
    until(partial(ended, events, 2))
    assert (outcomes(events), events.counters.accepted, events.counters.active) == ({"failed": 2}, 2, 0)


def test_bug_in_a_preamble_before_any_input_costs_one_connection(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", preambles=Preambles(oops))
    for number in (1, 2):
        with connect(address) as connection:
            assert connection.recv(1) == b""
        until(partial(failed, events, number))
    assert (events.counters.accepted, events.counters.active) == (0, 0)
