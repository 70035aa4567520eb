"""The UDP reply guard and the rates of datagrams, over real sockets, and over raw ones for forged sources (root)."""

import contextlib
import os
import socket
import threading
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.peer import Peer
from netd.services.echo import Echo
from netd.transport.activation import Inherited, InheritedSocket
from netd.transport.listen import open_listeners
from tests.support.forged import spoof
from tests.support.namespaces import in_namespace
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import free_port, has_ipv6
from tests.support.waiting import until
from tests.transport.datagram.sources import bound
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH, PlainEcho

KINDS = pytest.mark.parametrize("kind", [Echo, PlainEcho])


def drops(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["reason"], event["peer"]) for event in log if event["event"] == "datagrams_dropped"]


@BOTH
@KINDS
def test_datagram_from_a_port_of_this_netd_gets_no_answer(
    server: Server, log: list[dict[str, Any]], kind: type[Echo], batched: bool
) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched)
    port = free_port(socket.SOCK_DGRAM)
    server.shared.ports = {port}
    with bound(port) as ours, client(address) as other:
        ours.sendto(b"x", address)
        other.send(b"y")
        assert other.recv(10) == b"y"
        server.settle()
        assert events.counters.dropped == {"source_port": 1}
        assert drops(log) == [("source_port", f"127.0.0.1:{port}")]
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(10)


@BOTH
def test_datagram_from_a_port_below_1024_gets_no_answer(server: Server, batched: bool) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
    open_address, _ = server.add(Echo(), "udp://127.0.0.1:0", batched=batched, policy={"reply_guard": False})
    with contextlib.ExitStack() as stack:
        try:
            privileged = stack.enter_context(bound(1023))
        except PermissionError:
            pytest.skip("only root binds a port below 1024")
        privileged.sendto(b"x", address)
        until(lambda: events.counters.dropped == {"source_port": 1})
        privileged.sendto(b"x", open_address)
        assert privileged.recv(10) == b"x"


@BOTH
@pytest.mark.parametrize(
    ("name", "options", "question", "length"),
    [
        ("chargen", {}, b"", 64),
        ("chargen", {}, b"x" * 200, 200),
        ("qotd", {}, b"x", 64),
        ("qotd", {}, b"x" * 100, 86),
        ("reply", {"text": "x" * 62}, b"\r\n", 64),
        ("reply", {"text": "x" * 63}, b"\r\n", None),
        ("reply", {"text": "x" * 63}, b"x" * 63 + b"\r\n", 65),
    ],
)
def test_answer_is_as_long_as_its_question_or_small(
    server: Server, batched: bool, name: str, options: dict[str, Any], question: bytes, length: int | None
) -> None:
    made = service(name, **options)
    if name == "chargen":
        made.datagram = lambda data, peer: b"c" * 512
    address, events = server.add(made, "udp://127.0.0.1:0", batched=batched)
    if length is None:
        with client(address) as sock:
            sock.send(question)
            until(lambda: events.counters.dropped == {"amplification": 1})
    else:
        assert len(ask(address, question)) == length


@BOTH
def test_source_listed_in_amplify_gets_the_whole_answer(server: Server, batched: bool) -> None:
    policy: dict[str, object] = {"amplify": ["127.0.0.2/32"]}
    address, _ = server.add(service("qotd"), "udp://0.0.0.0:0", batched=batched, policy=policy)
    for host, length in (("127.0.0.1", 64), ("127.0.0.2", 86)):
        with bound(0, host) as sock:
            sock.sendto(b"", ("127.0.0.1", address[1]))
            assert len(sock.recv(1000)) == length


@BOTH
@pytest.mark.parametrize("truncated", ["a text", None, b"x" * 65, ZeroDivisionError("oops"), SystemExit(1)])
def test_service_that_fails_to_truncate_loses_that_answer_alone(
    server: Server, batched: bool, truncated: object
) -> None:
    class Wordy:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return data if data == b"short" else b"x" * 100

        def truncate(self, answer: bytes, most: int) -> Any:
            if isinstance(truncated, BaseException):
                raise truncated
            return truncated

    address, events = server.add(Wordy(), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        for data in (b"long", b"short"):
            sock.send(data)
        assert sock.recv(1000) == b"short"
    server.settle()
    assert events.counters.dropped == {"amplification": 1}
    assert events.counters.failed == (truncated is not None and not isinstance(truncated, bytes))


def test_whoami_is_shortened_by_whole_words(server: Server) -> None:
    address, _ = server.add(service("whoami"), "udp://127.0.0.1:0")
    with client(address) as sock:
        sock.send(b"")
        said = sock.recv(100)
        host, port = sock.getsockname()
        assert said == f"peer={host}:{port} local=127.0.0.1:{address[1]} transport=udp\r\n".encode()


@BOTH
@KINDS
def test_source_has_its_own_rate(server: Server, log: list[dict[str, Any]], kind: type[Echo], batched: bool) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched, rate="1/h burst 10", exempt=[])
    with bound(0, "127.0.0.2") as flood, bound(0, "127.0.0.3") as other:
        for number in range(100):
            flood.sendto(b"%d" % number, address)
        assert [flood.recv(10) for _ in range(10)] == [b"%d" % number for number in range(10)]
        for number in range(10):
            other.sendto(b"%d" % number, address)
        assert [other.recv(10) for _ in range(10)] == [b"%d" % number for number in range(10)]
    server.settle()
    assert events.counters.dropped == {"rate": 90}
    assert events.counters.datagrams_out == events.counters.datagrams_in == 20
    assert [reason for reason, _ in drops(log)] == ["rate"]


@BOTH
def test_total_rate_holds_for_loopback_too(server: Server, batched: bool) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0", batched=batched, total_rate="1/h burst 3")
    with client(address) as sock:
        for number in range(10):
            sock.send(b"%d" % number)
        assert [sock.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]
    until(lambda: events.counters.dropped == {"total_rate": 7})


@BOTH
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_datagram_that_came_before_the_socket_was_inherited_is_answered(
    server: Server, family: int, batched: bool
) -> None:
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    with socket.socket(family, socket.SOCK_DGRAM) as handed, bound(0) as early:
        if family == socket.AF_INET6:
            handed.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        handed.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        address = ("127.0.0.1", handed.getsockname()[1])
        early.sendto(b"first", address)
        inherited = Inherited([InheritedSocket("x", handed)])
        [listener] = open_listeners([("test", Endpoint.parse("systemd://x"))], lambda *skipped: None, inherited)
        server.serve(Echo(), listener, batched=batched)
        assert early.recv(10) == b"first"
        early.sendto(b"second", address)
        assert early.recv(10) == b"second"


def test_credentials_of_a_unix_datagram_are_known_before_the_server_starts(server: Server, tmp_path: Any) -> None:
    url = f"unixgram://{tmp_path}/s"
    [listener] = open_listeners([("test", Endpoint.parse(url))], lambda *skipped: None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as early:
        early.sendto(b"x", f"{tmp_path}/s")
        events = server.serve(Echo(), listener, policy={"access": {"deny": [f"uid:{os.getuid()}"]}})
        until(lambda: events.counters.dropped == {"access": 1})


def test_each_reason_in_a_batch_names_its_own_peer(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0", datagram=10)
    server.shared.ports = {free_port(socket.SOCK_DGRAM)}
    [port] = server.shared.ports
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(20)

    server.loop.call(hold)
    assert held.wait(20)
    with bound(port, "127.0.0.7") as ours, bound(0, "127.0.0.8") as other:
        ours.sendto(b"x", address)
        other.sendto(b"x" * 11, address)
        go.set()
        until(lambda: events.counters.dropped.total() == 2)
        server.settle()
        assert sorted(drops(log)) == [
            ("source_port", f"127.0.0.7:{port}"),
            ("too_long", f"127.0.0.8:{other.getsockname()[1]}"),
        ]


@pytest.mark.parametrize("url", ["udp://0.0.0.0:4007", "udp://*:4007"])
@BOTH
def test_non_unicast_datagram_gets_no_answer(url: str, batched: bool) -> None:
    def run() -> None:
        with Server() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            _, events = server.add(Echo(), url, batched=batched)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.settimeout(20)
            sock.sendto(b"x", ("10.9.9.1", 4007))
            assert sock.recv(10) == b"x"
            for host in ("10.9.9.255", "255.255.255.255", "224.0.0.1"):
                sock.sendto(b"x", (host, 4007))
            # A socket of both families gets no multicast over IPv4.
            number = 2 if "*" in url else 3
            until(lambda: events.counters.dropped["destination"] >= number)
            if has_ipv6() and "*" in url:
                with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
                    six.sendto(b"x", ("ff02::1", 4007, 0, socket.if_nametoindex("nd0")))
                    until(lambda: events.counters.dropped["destination"] > number)
            assert events.counters.datagrams_out == 1
            assert set(events.counters.dropped) == {"destination"}

    in_namespace(
        run,
        "link add nd0 type veth peer name nd1",
        "link set nd1 up",
        "address add 10.9.9.1/24 broadcast 10.9.9.255 dev nd0",
        "link set nd0 up",
        "route add default dev nd0",
        *(["address add fd00:9::1/64 dev nd0 nodad"] if has_ipv6() else []),
    )


def test_forged_source_of_no_host_gets_no_answer() -> None:
    def run() -> None:
        with Server() as server:
            address, events = server.add(Echo(), "udp://127.0.0.1:0")
            for port in (0, 1, 53, 1023):
                spoof(("127.0.0.1", port), address)
            until(lambda: events.counters.dropped == {"source_port": 4})
            assert ask(address, b"y") == b"y"

    in_namespace(run)


def test_service_of_another_package_is_guarded_too(server: Server) -> None:
    class Loud:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return data * 10

    address, events = server.add(Loud(), "udp://127.0.0.1:0")
    with client(address) as sock:
        sock.send(b"123456")
        assert len(sock.recv(100)) == 60
        sock.send(b"1234567")
        until(lambda: events.counters.dropped == {"amplification": 1})
