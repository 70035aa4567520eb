"""Connections: the class for each service type, the peers, and what the end of the last one releases."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.contract import Conversation
from netd.endpoints import Endpoint
from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.service_type import ServiceType, Serving
from netd.services.upper import Upper
from netd.telemetry.service_events import ServiceEvents
from netd.transport.listen import open_listeners
from netd.transport.loop import Loop
from netd.transport.stream.connection import Connection
from netd.transport.stream.connections import Connections
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.echo import EchoConnection
from netd.transport.stream.server import StreamServer
from netd.transport.stream.threaded import ThreadedConnection
from tests.support.descriptors import pipes
from tests.support.server import Server, admission_for
from tests.support.services import service
from tests.support.sockets import has_ipv6, read_all
from tests.transport.stream.peers import connect

SHARED = DaemonAdmission()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def connections(service: Any, loop: Loop, **policy: object) -> Connections:
    events = ServiceEvents("test")
    return Connections(
        ServiceType.of(type(service)),
        service,
        admission_for("test", policy, events.table, SHARED, time.time),
        events,
        loop,
        "",
    )


def turn(loop: Loop) -> None:
    """Run the loop once."""
    loop._running = True
    loop.call(loop.stop)
    loop.run()


def served(kept: Connections) -> socket.socket:
    """The client of a connection that is served."""
    client, request = socket.socketpair()
    client.settimeout(10)
    request.setblocking(False)
    ticket = kept.admit(request, "")
    assert ticket is not None
    kept.serve(request, "", ticket)
    return client


@pytest.mark.parametrize("kind", [Echo, Upper])
def test_connection_that_is_closed_twice_releases_its_ticket_once(kind: type[Any], loop: Loop) -> None:
    kept = connections(kind(), loop)
    with served(kept), served(kept):
        first, _ = kept
        counters = kept.events.table
        assert (counters.read().active, sum(SHARED.daemon_limits.active)) == (2, 2)
        for _ in range(3):
            first.close("kicked")
            kept.closed(first, "stopped")
        assert (counters.read().active, sum(SHARED.daemon_limits.active)) == (1, 1)
        assert counters.read().closed == {"kicked": 1}
        kept.close()
    assert (counters.read().active, sum(SHARED.daemon_limits.active), len(kept)) == (0, 0, 0)


def test_end_of_the_last_connection_releases_the_pipe(loop: Loop) -> None:
    before = pipes()
    kept = connections(Echo(), loop)
    released: list[str] = []
    with served(kept) as one, served(kept) as other:
        kept.release_when_empty(lambda: released.append("now"))
        one.close()
        turn(loop)
        assert (len(kept), released) == (1, [])
        other.sendall(b"still here")
        turn(loop)
        assert other.recv(100) == b"still here"
        other.close()
        turn(loop)
    assert (len(kept), released) == (0, ["now"])
    assert pipes() == before


def test_connections_release_at_once_if_none_is_open(loop: Loop) -> None:
    released: list[str] = []
    connections(Echo(), loop).release_when_empty(lambda: released.append("now"))
    assert released == ["now"]


def test_refused_connection_is_closed_and_has_no_ticket(loop: Loop) -> None:
    kept = connections(Upper(), loop, access={"deny": ["local"]})
    client, request = socket.socketpair()
    with client:
        assert kept.admit(request, "") is None
        assert client.recv(1) == b""
    assert (kept.events.counters.refused, len(kept)) == ({"access": 1}, 0)
    kept.close()


def test_peers_and_local_addresses(server: Server, tmp_path: Any) -> None:
    whoami = service("whoami")
    dual, _ = server.add(whoami, "tcp://*:0")
    for host in ("127.0.0.1", "127.0.0.2"):
        with connect((host, dual[1])) as connection:
            port = connection.getsockname()[1]
            wanted = f"peer=127.0.0.1:{port} local={host}:{dual[1]} transport=tcp family=ipv4 ttl=64\r\n"
            assert read_all(connection) == (
                wanted.encode().replace(b"peer=127.0.0.1", b"peer=" + connection.getsockname()[0].encode())
            )
    if has_ipv6():
        with connect(("::1", dual[1])) as connection:
            port = connection.getsockname()[1]
            assert (
                read_all(connection)
                == f"peer=[::1]:{port} local=[::1]:{dual[1]} transport=tcp family=ipv6 ttl=64\r\n".encode()
            )
    path, _ = server.add(whoami, f"unix://{tmp_path}/s")
    with connect(path) as connection:
        wanted = (
            f"peer=pid={os.getpid()},uid={os.getuid()},gid={os.getgid()} local={path} transport=unix family=unix\r\n"
        )
        assert read_all(connection) == wanted.encode()


class Ttl:
    """Sends the TTL of its peer, if netd reads it for this class."""

    discards_input = True

    def stream(self, peer: Peer) -> Conversation:
        yield str(peer.ttl).encode()


class ReadTtl(Ttl):
    reads_ttl = True


def test_peer_has_the_ttl_of_its_packets_where_the_service_reads_it(server: Server, tmp_path: Any) -> None:
    dual, _ = server.add(ReadTtl(), "tcp://*:0")
    ipv4, _ = server.add(ReadTtl(), "tcp://127.0.0.1:0")
    other, _ = server.add(Ttl(), "tcp://127.0.0.1:0")
    path, _ = server.add(ReadTtl(), f"unix://{tmp_path}/s")
    hosts = [("127.0.0.1", dual[1]), ipv4, *([("::1", dual[1])] if has_ipv6() else [])]
    for host, port in hosts:
        six = ":" in host
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as connection:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            connection.setsockopt(level, option, 77)
            connection.settimeout(20)
            connection.connect((host, port))
            assert read_all(connection) == b"77"
    for address in (other, path):
        with connect(address) as connection:
            assert read_all(connection) == b"None"


def test_connection_that_needs_no_peer_has_one_for_whatever_asks(server: Server) -> None:
    (_, port), _ = server.add(service("echo"), "tcp://0.0.0.0:0")
    [only] = server.servers
    assert isinstance(only, StreamServer)
    with connect(("127.0.0.2", port)) as client:
        client.sendall(b"a")
        assert client.recv(10) == b"a"
        [connection] = only.connections
        assert not isinstance(connection.peer_or_address, Peer)
        host, from_port = client.getsockname()
        assert connection.peer == Peer("tcp", host, from_port, "127.0.0.2", port)
        assert connection.peer is connection.peer


class Whatever:
    """Can be served in every way. Its own declarations are not read, and `table` would reject them."""

    reflects = "yes"

    def stream(self, peer: Peer, *post: object) -> Conversation:
        yield b"x" * len(post) + b"y"

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
        return request.send(b"z")


@pytest.mark.parametrize(
    ("serving", "way", "said"),
    [
        ("echo", EchoConnection, b"a"),
        ("conversation", ConversationConnection, b"y"),
        ("push", PushConnection, b"xy"),
        ("send_only", SendOnlyConnection, b"y"),
        ("thread", ThreadedConnection, b"z"),
    ],
)
def test_service_type_alone_says_how_a_stream_is_served(
    server: Server, tmp_path: Path, serving: Serving, way: type[Connection], said: bytes
) -> None:
    kind = ServiceType("test", "", lambda options, context: Whatever(), serving)
    [listener] = open_listeners([("test", Endpoint.parse(f"unix://{tmp_path}/s"))], lambda *skipped: None)
    server.serve(Whatever(), listener, kind=kind)
    [only] = server.servers
    assert isinstance(only, StreamServer)
    with connect(f"{tmp_path}/s") as client:
        client.sendall(b"a")
        assert client.recv(10) == said
        assert [type(one) for one in only.connections] == [way]
