"""Services behind proxies: which senders are proxies, and the peers that their headers name."""

import contextlib
import json
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from netd.addresses import parse_address
from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonBounds
from netd.admission.proxies import ProxyProtocol
from netd.daemon.messages.from_supervisor import Selection
from netd.daemon.worker import connections
from netd.peer import Peer
from netd.services.upper import Upper
from netd.transport.stream.connections import Connections
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.proxy_header import SIGNATURE, proxy_header
from netd.transport.stream.proxy_protocol import preambles_of
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended

NAMED = Peer("tcp", "192.0.2.7", 4711, "198.51.100.1", 443)
HEADER = proxy_header(1, NAMED)
LOCAL = proxy_header(2, None)


def behind(*sources: str, **more: object) -> Preambles:
    return preambles_of(ProxyProtocol.model_validate_json(json.dumps({"from": sources, **more})))


def kept(server: Server) -> Connections:
    [one] = server.servers
    assert isinstance(one, StreamServer)
    return one.connections


def ask(address: Any, header: bytes, source: str = "127.0.0.1") -> bytes:
    """The answer to a header and an empty input."""
    with socket.create_connection(address, 20, (source, 0)) as client:
        with contextlib.suppress(OSError):  # it is refused already
            client.sendall(header)
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            return read_all(client)
    return b""


def test_service_without_proxies_has_no_preamble() -> None:
    assert preambles_of(None) is NO_PREAMBLES


@pytest.mark.parametrize("header", [HEADER, proxy_header(2, NAMED)])
@pytest.mark.parametrize("size", [1, 1000])
def test_header_of_a_proxy_names_the_peer(server: Server, log: list[dict[str, Any]], header: bytes, size: int) -> None:
    address, events = server.add(service("whoami"), "tcp://127.0.0.1:0", preambles=behind("127.0.0.1"))
    with connect(address) as client:
        via = f"127.0.0.1:{client.getsockname()[1]}"
        for start in range(0, len(header), size):
            client.sendall(header[start : start + size])
            server.settle()
        said = f"peer=192.0.2.7:4711 local=198.51.100.1:443 transport=tcp family=ipv4 via={via}\r\n".encode()
        assert read_exactly(client, len(said)) == said
        [row] = connections.list_connections(0, kept(server), Selection(peer="192.0.2.7")).connections
        assert (row.peer, row.local, row.via) == ("192.0.2.7:4711", "198.51.100.1:443", via)
    until(partial(ended, events, 1))
    [line] = [line for line in log if line["event"] == "connection_closed"]
    assert (line["peer"], line["via"]) == ("192.0.2.7:4711", via)


@pytest.mark.parametrize("header", [HEADER, LOCAL, b"", b"hello"])
def test_any_other_sender_is_refused(server: Server, header: bytes) -> None:
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", preambles=behind("127.0.0.2", "10.0.0.0/8"))
    assert ask(address, header) == b""
    assert (events.counters.refused, events.counters.accepted) == ({"access": 1}, 0)
    assert ask(address, HEADER + b"hello", "127.0.0.2") == b"HELLO"


@pytest.mark.parametrize("said", [b"hello\r\n", b"PROXY TCP4 1.2.3.4\r\n", HEADER[:-1], b"\r\n\r\n\0\r\nQUIT\n\x11"])
def test_proxy_without_a_header_is_not_served(server: Server, said: bytes) -> None:
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", preambles=behind("local"))
    assert ask(address, said) == b""
    until(partial(ended, events, 1))
    assert (dict(events.counters.closed), events.counters.refused) == ({"peer_error": 1}, {})


@pytest.mark.parametrize(
    "said", [b"PROXY UNKNOWN " + b"x" * 200, SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x21\x11\x0f\xf1x"]
)
def test_header_that_could_have_no_end_is_not_waited_for(server: Server, said: bytes) -> None:
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", preambles=behind("local"))
    with connect(address) as client:
        client.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    until(partial(ended, events, 1))
    assert dict(events.counters.closed) == {"peer_error": 1}


@pytest.mark.parametrize(("version", "other"), [(1, 2), (2, 1)])
def test_header_of_a_version_that_is_not_listed_is_an_error(
    server: Server, version: Literal[1, 2], other: Literal[1, 2]
) -> None:
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", preambles=behind("local", versions=[version]))
    assert ask(address, proxy_header(version, NAMED) + b"hello") == b"HELLO"
    assert ask(address, proxy_header(other, NAMED) + b"hello") == b""
    until(partial(ended, events, 2))
    assert (dict(events.counters.closed), events.counters.refused) == ({"done": 1, "peer_error": 1}, {})


def test_sender_that_is_no_proxy_may_be_a_peer_whatever_it_sends(server: Server) -> None:
    policy: dict[str, object] = {"access": {"deny": ["127.0.0.3"]}, "limits": {"per_source": 1, "exempt": []}}
    preambles = behind("127.0.0.1", others="direct")
    address, events = server.add(Upper(), "tcp://127.0.0.1:0", policy=policy, preambles=preambles)
    for said in (HEADER + b"hello", LOCAL, b"hello", b""):
        assert ask(address, said, "127.0.0.2") == said.upper()
        until(lambda: not events.counters.active)
    assert ask(address, HEADER, "127.0.0.3") == b""
    assert events.counters.refused == {"access": 1}
    with socket.create_connection(address, 20, ("127.0.0.2", 0)) as one:
        one.sendall(b"x")
        assert one.recv(1) == b"X"
        [row] = connections.list_connections(0, kept(server), Selection()).connections
        assert (row.peer, row.via) == ("{}:{}".format(*one.getsockname()), "")
        assert ask(address, HEADER, "127.0.0.2") == b""
        assert events.counters.refused == {"access": 1, "per_source": 1}
        assert ask(address, HEADER + b"hello") == b"HELLO", "the connection of a proxy"
        assert ask(address, b"hello") == b"", "of a proxy without a header"
    until(lambda: not events.counters.active)
    assert not any(events.table.sources)
    assert sum(server.shared.daemon_limits.active) == 0


def test_unix_peers_may_be_peers_beside_proxies(server: Server, tmp_path: Path) -> None:
    address, _ = server.add(service("whoami"), f"unix://{tmp_path}/s", preambles=behind("10.0.0.1", others="direct"))
    with connect(address) as client:
        client.sendall(HEADER)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).startswith(b"peer=pid=")


def test_refusal_names_the_proxy_of_the_peer(server: Server, log: list[dict[str, Any]]) -> None:
    policy: dict[str, object] = {"access": {"deny": ["192.0.2.0/24"]}}
    address, _ = server.add(service("upper"), "tcp://127.0.0.1:0", policy=policy, preambles=behind("127.0.0.1"))
    assert ask(address, HEADER) == b""
    assert ask(address, HEADER, "127.0.0.2") == b""
    named, own = (line for line in log if line["event"] == "connection_refused")
    assert (named["source"], named["via"].rpartition(":")[0]) == ("192.0.2.7", "127.0.0.1")
    assert (own["source"], "via" in own) == ("127.0.0.2", False)


def test_proxy_is_never_reported_for_a_ban_and_its_peers_are(server: Server) -> None:
    reported: list[bytes] = []
    server.shared.apply(DaemonBounds(), BanRules.model_validate({"exempt": (), "threshold": "1/h burst 1"}))
    server.shared.report = lambda source, *_: reported.append(source)
    policy: dict[str, object] = {
        "access": {"deny": ["192.0.2.0/24"]},
        "limits": {"per_source": 1, "exempt": [], "rate": "off"},
    }
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", policy=policy, preambles=behind("127.0.0.1"))
    with contextlib.ExitStack() as stack:
        for number in range(1, 6):
            client = stack.enter_context(connect(address))
            client.sendall(proxy_header(2, NAMED._replace(host=f"198.51.100.{number}")) + b"x")
            assert client.recv(1) == b"X"
        for said in (b"hello", LOCAL, HEADER, HEADER, HEADER):
            ask(address, said)
    until(partial(ended, events, 10))
    assert events.counters.refused == {"access": 3}
    assert set(reported) == {parse_address("192.0.2.7")}


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", proxy_header(2, Peer("unix", "client.sock"))])
def test_proxy_without_a_peer_is_served_despite_the_rules_for_peers(server: Server, header: bytes) -> None:
    server.shared.apply(DaemonBounds(), BanRules(exempt=()))
    server.shared.ban(parse_address("127.0.0.1"), server.loop.now + 1000)
    policy: dict[str, object] = {
        "access": {"allow": ["192.0.2.0/24"]},
        "limits": {"per_source": 1, "exempt": [], "rate": "tcp 1/h burst 1"},
    }
    address, events = server.add(service("whoami"), "tcp://127.0.0.1:0", policy=policy, preambles=behind("127.0.0.1"))
    for _ in range(3):
        assert ask(address, header).startswith(b"peer=127.0.0.1:")
    assert [ask(address, HEADER)[:14], ask(address, HEADER)] == [b"peer=192.0.2.7", b""]
    until(lambda: not events.counters.active)
    assert events.counters.refused == {"rate": 1}
    assert not any(events.table.sources)


def test_refused_peer_gets_the_line_of_the_refusal(server: Server) -> None:
    policy: dict[str, object] = {"access": {"deny": ["192.0.2.0/24"]}, "refuse": {"line": "421 no"}}
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", policy=policy, preambles=behind("local"))
    assert ask(address, HEADER) == b"421 no\r\n"
    assert ask(address, proxy_header(2, NAMED._replace(host="198.51.100.7")) + b"hello") == b"HELLO"
    assert events.counters.refused == {"access": 1}


def test_mapped_address_is_that_of_ipv4(server: Server) -> None:
    policy: dict[str, object] = {"access": {"deny": ["192.0.2.0/24"]}}
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0", policy=policy, preambles=behind("local"))
    assert ask(address, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\nhello") == b""
    assert events.counters.refused == {"access": 1}


@pytest.mark.parametrize(("sources", "is_served"), [(["local"], True), (["any"], True), (["127.0.0.1"], False)])
def test_unix_peers_are_proxies_if_local_peers_are(
    server: Server, tmp_path: Path, sources: list[str], is_served: bool
) -> None:
    address, events = server.add(service("whoami"), f"unix://{tmp_path}/s", preambles=behind(*sources))
    for header, peer in ((HEADER, b"peer=192.0.2.7:4711"), (LOCAL, b"peer=pid=")):
        with connect(address) as client:
            with contextlib.suppress(OSError):  # it is refused already
                client.sendall(header)
                client.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # the header stays unread
                answer = read_all(client)
            assert answer.startswith(peer) == is_served
    assert events.counters.refused == ({} if is_served else {"access": 2})


class Held:
    """A handler that takes its thread until it is told to go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.addresses: list[Any] = []

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        self.addresses.append(client_address)
        self.go.wait(20)


def test_handlers_have_the_named_peer_and_a_proxy_needs_a_thread_too(server: Server) -> None:
    held = Held()
    address, events = server.add(held, "tcp://127.0.0.1:0", preambles=behind("local"), per_source="off")
    with contextlib.ExitStack() as stack:
        for number in range(32):
            client = stack.enter_context(connect(address))
            client.sendall(HEADER if number else LOCAL)
        until(lambda: len(held.addresses) == 32)
        assert ("192.0.2.7", 4711) in held.addresses
        assert ask(address, LOCAL) == b""
        assert events.counters.refused == {"threads": 1}
        held.go.set()
    until(partial(ended, events, 33))
