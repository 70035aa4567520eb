"""Stream servers over real sockets: accepting, and the services over each transport."""

import errno
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.peer import Peer
from netd.services.echo import Echo
from netd.telemetry.service_events import ServiceEvents
from netd.testing import NOW
from netd.transport.listener import Listener
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import has_ipv6, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import ask, connect, converse, ended

MPTCP = 262  # linux/in.h
URLS = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://*:0", "unix://{tmp}/s", "unix://@netd-test-{tmp}"]
CONVERSATIONS: list[tuple[str, dict[str, Any], bytes]] = [
    ("echo", {}, b"hello\x00\xff" * 1000),
    ("discard", {}, b"hello"),
    ("daytime", {}, b""),
    ("daytime", {}, b"ignored"),
    ("time", {}, b"\r\n%H:%M\n0\nnonsense\n"),
    ("time", {"encoding": "rfc868"}, b""),
    ("pingpong", {}, b"ping 1\r\nping 2\nhello\r\0last"),
    ("pingpong", {"framing": "chunk"}, b"ping 1"),
    ("pingpong", {}, b"x" * 5000),
    ("upper", {}, b"hello"),
    ("reply", {}, b"hello\n"),
    ("reply", {"when": "connect"}, b""),
    ("qotd", {}, b""),
]


@pytest.mark.parametrize("url", URLS)
def test_conversation_is_the_same_over_each_transport(server: Server, tmp_path: Any, url: str) -> None:
    if "[::1]" in url and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    for number, (name, options, said) in enumerate(CONVERSATIONS):
        address, events = server.add(
            service(name, **options), url.format(tmp=tmp_path) + (str(number) if "unix" in url else "")
        )
        if address[0] == "::" and not isinstance(address, bytes | str):
            address = ("127.0.0.1", address[1])
        wanted = converse(service(name, **options).stream(Peer("tcp", "x")), [said] if said else [])
        assert ask(address, said) == wanted, name
        until(partial(ended, events, 1))
        assert events.counters.bytes_out == len(wanted)


def test_full_service_refuses_and_accepts_again(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", connections=2)
    with connect(address) as one, connect(address) as two:
        for connection in (one, two):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        for _ in range(5):
            with connect(address) as refused:
                assert refused.recv(1) == b""
    until(lambda: events.counters.active == 0)
    assert ask(address, b"again") == b"again"
    assert events.counters.refused == {"connections": 5}
    assert [event["number"] for event in log if event["event"] == "connection_refused"] == [1]


class FailingListener:
    """A listening socket: accept fails with each of these error codes first."""

    family = socket.AF_INET

    def __init__(self, inner: socket.socket, failures: Iterator[int]) -> None:
        self.inner = inner
        self.failures = failures
        self.calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if code := next(self.failures, 0):
            raise OSError(code, "failed")
        return self.inner.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_server_accepts_on_after_transient_errors(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    stream = server.servers[0]
    codes = [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN]
    stream.socket = FailingListener(stream.socket, iter(codes))
    assert ask(address, b"x") == b"x"
    assert events.counters.refused == {}


def test_url_of_a_bound_endpoint() -> None:
    assert Endpoint.parse("tcp://*:0").at("127.0.0.1", 5) == "tcp://127.0.0.1:5"
    assert ServiceEvents("x", clock=lambda: NOW).counters.active == 0


@pytest.mark.parametrize(
    ("name", "parts", "answer"),
    [
        ("echo", [b"ab", b"!c", b"d\n"], b"abcd\n"),
        ("pingpong", [b"\xff\xf4\xff", b"!\xf2", b"ping 1\r\n"], b"pong 1\r\n"),
    ],
)
def test_urgent_data_over_a_socket_of_the_service_manager_is_in_line(
    server: Server, name: str, parts: list[bytes], answer: bytes
) -> None:
    def say(connection: socket.socket) -> None:
        for part in parts:
            connection.send(part.removeprefix(b"!"), socket.MSG_OOB if part.startswith(b"!") else 0)

    opened = socket.create_server(("127.0.0.1", 0))
    with connect(opened.getsockname()) as early, connect(opened.getsockname()) as other:
        say(early)
        server.serve(service(name), Listener("test", Endpoint.parse("systemd://x"), opened))
        say(other)
        for connection in (early, other):
            assert read_exactly(connection, len(answer)) == answer
        [streams] = server.servers
        assert isinstance(streams, StreamServer)
        served = [one.socket for one in streams.connections]
        assert [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in served] == [1, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", [MPTCP, socket.IPPROTO_TCP])
def test_client_of_an_mptcp_socket_of_the_service_manager_is_served(server: Server, protocol: int) -> None:
    try:
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
    except OSError:
        pytest.skip("no MPTCP in this kernel")
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    events = server.serve(service("echo"), Listener("test", Endpoint.parse("systemd://x"), opened))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as connection:
        connection.settimeout(20)
        connection.connect(opened.getsockname())
        connection.sendall(b"hello")
        assert read_exactly(connection, 5) == b"hello"
    until(partial(ended, events, 1))
    assert events.counters.closed == {"done": 1}
