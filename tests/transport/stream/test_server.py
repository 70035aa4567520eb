"""Stream servers over real sockets: flow control, time-outs, the ends of a connection, bugs in services."""

import errno
import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Conversation
from netd.endpoints import Endpoint
from netd.errors import PeerError
from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.service_type import ServiceType, Serving
from netd.telemetry.service_events import ServiceEvents
from netd.testing import NOW
from netd.transport.listen import open_listeners
from netd.transport.stream.connection import Connection
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.echo import EchoConnection
from netd.transport.stream.server import StreamServer
from netd.transport.stream.threaded import ThreadedConnection
from tests.support import ABSTRACT, Server, has_ipv6, read_all, read_exactly, service, until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import RESET, ask, connect, converse, ended, failed

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
def test_a_conversation_is_the_same_over_each_transport(server: Server, tmp_path: Any, url: str) -> None:
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


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}"], ids=["tcp", "unix"])
def test_echo_returns_megabytes_both_ways_of_serving_it(server: Server, kind: type[Echo], url: str) -> None:
    address, events = server.add(kind(), url)
    data = bytes(range(256)) * 4096 * 16  # 16 MiB: past every buffer, so that both sides have to wait
    with connect(address) as connection:
        connection.setblocking(False)
        sent, back = 0, bytearray()
        view = memoryview(data)
        while len(back) < len(data):
            if sent < len(data):
                try:
                    sent += connection.send(view[sent : sent + 300_000])
                    if sent == len(data):
                        connection.shutdown(socket.SHUT_WR)
                    continue
                except BlockingIOError:
                    pass
            connection.settimeout(20)
            piece = connection.recv(2**20)
            assert piece, "closed early"
            back += piece
            connection.setblocking(False)
        connection.settimeout(20)
        assert connection.recv(1) == b""
    assert back == data
    until(lambda: events.counters.closed["done"] == 1)
    assert (events.counters.bytes_in, events.counters.bytes_out) == (len(data), len(data))


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_a_slow_reader_gets_everything(server: Server, kind: type[Echo]) -> None:
    address, _ = server.add(kind(), "tcp://127.0.0.1:0?sndbuf=16KiB&rcvbuf=16KiB")
    data = bytes(range(256)) * 2000
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        back = bytearray()
        for start in range(0, len(data), 100_000):
            part = data[start : start + 100_000]
            connection.setblocking(False)
            view = memoryview(part)
            while view:
                try:
                    view = view[connection.send(view) :]
                except BlockingIOError:
                    connection.settimeout(20)
                    back += connection.recv(4096)
                    connection.setblocking(False)
            connection.settimeout(20)
        connection.shutdown(socket.SHUT_WR)
        back += read_all(connection)
    assert back == data


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_a_peer_that_never_reads_is_read_no_further(server: Server, kind: type[Echo]) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0")
    with connect(address) as greedy, connect(address) as other:
        greedy.setblocking(False)
        sent = 0
        while True:
            server.settle()  # whatever the loop could take, it has taken
            try:
                sent += greedy.send(b"x" * 65536)
            except BlockingIOError:
                server.settle()
                try:
                    sent += greedy.send(b"x")
                except BlockingIOError:
                    break
            assert sent < 2**28, "netd reads on and on"
        gc.collect()
        other.sendall(b"still there")
        assert read_exactly(other, 11) == b"still there"
    until(lambda: events.counters.active == 0)


def test_half_close_is_honoured_and_everything_before_it_is_answered(server: Server) -> None:
    address, events = server.add(service("pingpong"), "tcp://127.0.0.1:0")
    assert ask(address, b"ping 1\n" * 3000) == b"pong 1\n" * 3000
    until(lambda: events.counters.closed["done"] == 1)


def test_chargen_is_braked_by_its_reader_alone_and_throws_input_away(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        # More than all buffers together hold: it has to be read by somebody.
        connection.settimeout(20)
        sent, got = 0, 0
        connection.setblocking(False)
        while sent < 2**25 or got < 2**22:
            try:
                sent += connection.send(b"x" * 65536)
            except BlockingIOError:
                pass
            try:
                got += len(connection.recv(65536))
            except BlockingIOError:
                pass
    until(lambda: events.counters.closed["reset"] == 1)
    assert events.counters.bytes_in > 2**24


def test_chargen_goes_on_after_a_half_close(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.shutdown(socket.SHUT_WR)
        data = read_exactly(connection, 2**20)
    assert data[:74] == converse(service("chargen").stream(Peer("tcp", "x")), [], most=74)[:74]
    assert len(data) == 2**20
    until(lambda: events.counters.closed["reset"] == 1)


def test_a_talkative_conversation_does_not_keep_others_waiting(server: Server) -> None:
    class Talker:
        def stream(self, peer: Peer) -> Conversation:
            while True:
                yield b"x"

    address, _ = server.add(Talker(), "tcp://127.0.0.1:0")
    echo, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    with connect(address) as talker, connect(echo) as connection:
        for _ in range(50):
            assert read_exactly(talker, 1000) == b"x" * 1000
            connection.sendall(b"y")
            assert connection.recv(1) == b"y"


def test_an_answer_is_not_lost_to_a_reset_when_the_question_was_not_read(server: Server) -> None:
    address, _ = server.add(service("daytime"), "tcp://127.0.0.1:0")
    for _ in range(200):
        with connect(address) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n" * 50)
            connection.sendall(b"more" * 50)
            assert read_all(connection).endswith(b"-UTC\r\n")


def test_a_peer_that_does_not_close_after_a_farewell_is_closed_in_two_seconds(server: Server) -> None:
    address, events = server.add(service("daytime"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert read_all(connection)
        until(lambda: events.counters.closed["done"] == 1)
        with pytest.raises(OSError, match="reset|Broken"):
            while True:
                connection.send(b"still here")


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_idle_connections_are_closed_and_busy_ones_not(server: Server, kind: type[Echo]) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0", idle="500ms")
    with connect(address) as idle, connect(address) as busy:
        idle.settimeout(0.05)
        while True:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            try:
                assert idle.recv(1) == b""
                break
            except TimeoutError:
                pass
        busy.sendall(b"x")
        assert busy.recv(1) == b"x"
    until(lambda: events.counters.active == 0)
    assert events.counters.closed == {"idle": 1, "done": 1}


def test_a_peer_that_stops_reading_is_idle_and_one_that_reads_chargen_is_not(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0", idle="500ms")
    with connect(address) as stuck, connect(address) as reader:
        assert stuck.recv(1)
        while events.counters.closed["idle"] == 0:
            assert reader.recv(2**20)
        server.settle()
        assert events.counters.active == 1
        assert reader.recv(1)
    until(lambda: events.counters.closed.total() == 2)
    assert events.counters.closed["idle"] == 1


def test_a_lifetime_ends_a_busy_connection_too(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", lifetime="300ms", idle="off")
    with connect(address) as connection, pytest.raises(OSError, match="reset|Broken|closed"):
        while True:
            connection.sendall(b"x")
            if connection.recv(1) == b"":
                raise ConnectionResetError("closed")
    until(lambda: events.counters.closed["lifetime"] == 1)


def test_octets_that_are_not_answered_are_bounded_too(server: Server) -> None:
    class Silent:
        def stream(self, peer: Peer) -> Conversation:
            while (yield None):
                pass

    address, events = server.add(Silent(), "tcp://127.0.0.1:0", bytes=1000)
    with connect(address) as connection:
        connection.sendall(b"x" * 1000)
        server.settle()
        assert not events.counters.closed
        connection.sendall(b"x")
        assert connection.recv(1) == b""
    until(partial(ended, events, 1))
    assert events.counters.closed == {"bytes": 1}


def test_octets_that_are_spliced_are_bounded_too(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", bytes=2 * 65536 + 100)
    with connect(address) as connection:
        held, go_on = threading.Event(), threading.Event()
        server.loop.call(held.set)
        server.loop.call(partial(go_on.wait, 10))
        assert held.wait(10)
        connection.sendall(b"x" * (65536 + 51))  # a full read, so that the 51 after it go through the pipe
        go_on.set()
        read_all(connection)
    until(partial(ended, events, 1))
    assert events.counters.closed == {"bytes": 1}


def test_without_limits_nothing_is_timed(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0", idle="off", connections="off")
    with connect(address) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert server.loop.wheel.due == float("inf")


def test_a_full_service_refuses_and_takes_again(server: Server, log: list[dict[str, Any]]) -> None:
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


def test_a_thousand_resets_are_counters_and_nothing_else(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(service("pingpong"), "tcp://127.0.0.1:0")
    echo, echo_events = server.add(Echo(), "tcp://127.0.0.1:0")
    for number in range(1000):
        with connect(address if number % 2 else echo) as connection:
            if number % 3:
                connection.sendall(b"ping")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    until(lambda: events.counters.closed.total() + echo_events.counters.closed.total() == 1000)
    assert events.counters.closed["reset"] + echo_events.counters.closed["reset"] > 900
    assert {event["level"] for event in log} <= {"info", "debug"}
    assert ask(address, b"ping\n") == b"pong\n"


class Buggy:
    """Fails in every way a conversation can."""

    def __init__(self) -> None:
        self.left = 0

    def stream(self, peer: Peer) -> Conversation:
        data = yield None
        try:
            match data:
                case b"raise":
                    raise ZeroDivisionError("oops")
                case b"text":
                    yield "not bytes"  # type: ignore[misc]
                case b"number":
                    yield 7  # type: ignore[misc]
                case b"said":
                    yield b"something"
                    raise ZeroDivisionError("after that")
                case b"peer":
                    raise PeerError("you are not nice")
            yield data
            yield None
        finally:
            self.left += 1


@pytest.mark.parametrize("how", [b"raise", b"text", b"number", b"said"])
def test_a_bug_in_a_service_costs_one_conversation_and_is_one_event(
    server: Server, log: list[dict[str, Any]], how: bytes
) -> None:
    buggy = Buggy()
    address, events = server.add(buggy, "tcp://127.0.0.1:0")
    with connect(address) as other:
        other.sendall(b"fine")
        assert read_exactly(other, 4) == b"fine"
        with connect(address) as connection:
            connection.sendall(how)
            assert read_all(connection) == b""
        until(lambda: events.counters.closed["failed"] == 1)
        [failure] = [event for event in log if event["event"] == "conversation_failed"]
        assert failure["level"] == "error"
        assert failure["exc_info"].__traceback__ is not None
        assert other.send(b"x")
    until(lambda: events.counters.active == 0)
    assert events.counters.failed == 1
    assert buggy.left == 2


def test_a_broken_rule_is_one_line_and_no_event(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Buggy(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"peer")
        assert read_all(connection) == b"error: you are not nice\r\n"
    until(lambda: events.counters.closed["peer_error"] == 1)
    assert {event["level"] for event in log} == {"info"}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_not_even_an_exit_in_a_service_stops_the_loop(server: Server, error: type[BaseException]) -> None:
    class Leaver:
        def stream(self, peer: Peer) -> Conversation:
            if (yield None) == b"leave":
                raise error("bye")
            try:
                yield None
            finally:
                raise error("bye again")

    address, events = server.add(Leaver(), "tcp://127.0.0.1:0")
    for word in (b"leave", b"stay"):
        with connect(address) as connection:
            connection.sendall(word)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b""
    until(partial(ended, events, 2))
    assert events.counters.failed == 2


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_urgent_data_is_data(server: Server, kind: type[Echo]) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0")
    parts = [
        (b"a" * 65536 * 4, 0),
        (b"!", socket.MSG_OOB),
        (b"b" * 100, 0),
        (b"?", socket.MSG_OOB),
        (b"c" * 65536 * 4, 0),
    ]
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        for part, flags in parts:
            view = memoryview(part)
            while view:
                view = view[connection.send(view, flags) :]
            assert read_exactly(connection, len(part)) == part
    until(partial(ended, events, 1))
    assert events.counters.bytes_out == sum(len(part) for part, _ in parts)


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(
    "parts", [[b"a"], [b"a", b"!", b"b"], [b"a" * 4096], [b"a" * 65536], [b"a" * 65536, b"!", b"b"]]
)
def test_what_has_come_before_the_loop_looks_is_taken(
    server: Server, kind: type[Echo], parts: list[bytes], ends: bool
) -> None:
    address, _ = server.add(kind(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        connection.sendall(b"hello")
        assert read_exactly(connection, 5) == b"hello"
        held, go_on = threading.Event(), threading.Event()
        server.loop.call(held.set)
        server.loop.call(partial(go_on.wait, 10))
        assert held.wait(10)
        for part in parts:
            connection.send(part, socket.MSG_OOB if part == b"!" else 0)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        go_on.set()
        assert read_exactly(connection, len(b"".join(parts))) == b"".join(parts)
        if ends:
            assert read_all(connection) == b""


def test_bulk_that_ends_with_urgent_data_is_whole(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    for number in range(20):
        with connect(address) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            for _ in range(20):
                connection.sendall(b"a" * 65536)
                assert read_exactly(connection, 65536) == b"a" * 65536
            connection.send(b"!", socket.MSG_OOB)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"!", number


def test_a_conversation_that_takes_its_time_gives_others_theirs(server: Server) -> None:
    said = 0

    class Thinker:
        """Every word costs a thousandth of a second."""

        def stream(self, peer: Peer) -> Conversation:
            nonlocal said
            while True:
                time.sleep(0.001)
                said += 1
                yield b"x"

    address, _ = server.add(Thinker(), "tcp://127.0.0.1:0")
    echo, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    with connect(address) as thinker, connect(echo) as connection:
        assert thinker.recv(1)
        for _ in range(20):
            server.settle()
            before = said
            connection.sendall(b"y")
            assert connection.recv(1) == b"y"
            assert said - before < 20, "a whole turn of 256 words came in between"


def test_a_service_that_cannot_even_begin(server: Server, log: list[dict[str, Any]]) -> None:
    class Unable:
        def stream(self, peer: Peer) -> Conversation:
            raise ZeroDivisionError("oops")

    class Nothing:
        def stream(self, peer: Peer) -> None:
            return None

    for kind in (Unable, Nothing):
        address, events = server.add(kind(), "tcp://127.0.0.1:0")
        with connect(address) as connection:
            assert connection.recv(1) == b""
        until(partial(failed, events, 1))
        assert events.counters.active == 0


def test_a_bug_in_the_farewell_is_an_event_too(server: Server) -> None:
    class Sticky:
        def stream(self, peer: Peer) -> Conversation:
            try:
                yield None
            finally:
                yield b"I will not go"

    address, events = server.add(Sticky(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    until(lambda: events.counters.failed == 1)
    until(lambda: events.counters.active == 0)


def test_one_that_asks_for_more_after_the_end_is_closed(server: Server) -> None:
    class Deaf:
        def stream(self, peer: Peer) -> Conversation:
            while True:
                yield None

    address, events = server.add(Deaf(), "tcp://127.0.0.1:0")
    assert ask(address, b"x") == b""
    until(lambda: events.counters.closed["done"] == 1)


def test_the_event_of_a_connection_tells_what_it_was(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(service("upper"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"hello")
        assert read_exactly(connection, 5) == b"HELLO"
        host, port = connection.getsockname()
    until(lambda: events.counters.active == 0)
    [event] = [event for event in log if event["event"] == "connection_closed"]
    assert 0 < event.pop("duration") < 20
    assert event == {
        "level": "info",
        "event": "connection_closed",
        "service": "test",
        "peer": f"{host}:{port}",
        "bytes_in": 5,
        "bytes_out": 5,
        "outcome": "done",
    }


def test_a_connection_without_a_byte_is_a_probe(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    connect(address).close()
    until(lambda: events.counters.closed["done"] == 1)
    assert {event["level"] for event in log if event["event"] == "connection_closed"} == {"debug"}


def test_a_reader_that_stops_costs_no_more_than_a_pipe(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    relay = server.servers[0].connections.pipe  # type: ignore[union-attr]
    assert relay is not None
    kept: list[int] = []
    turn = relay.turn

    def watched(connection: socket.socket) -> tuple[int, bytes]:
        received, rest = turn(connection)
        kept.append(len(rest))
        return received, rest

    relay.turn = watched  # type: ignore[method-assign]
    # Which way a connection is on when its buffers are full is a matter of moments: try until it was the pipe.
    for _ in range(100):
        with connect(address) as connection:
            connection.setblocking(False)
            idle = 0
            while idle < 10:
                try:
                    connection.send(b"x" * 2**20)
                    idle = 0
                except BlockingIOError:
                    idle += 1
                    server.settle()
        if any(kept):
            break
    assert 0 < max(kept) <= 2**17


def test_peers_and_local_addresses(server: Server, tmp_path: Any) -> None:
    whoami = service("whoami")
    dual, _ = server.add(whoami, "tcp://*:0")
    for host in ("127.0.0.1", "127.0.0.2"):
        with connect((host, dual[1])) as connection:
            port = connection.getsockname()[1]
            wanted = f"peer=127.0.0.1:{port} local={host}:{dual[1]} transport=tcp family=ipv4\r\n"
            assert read_all(connection) == (
                wanted.encode().replace(b"peer=127.0.0.1", b"peer=" + connection.getsockname()[0].encode())
            )
    if has_ipv6():
        with connect(("::1", dual[1])) as connection:
            port = connection.getsockname()[1]
            assert (
                read_all(connection)
                == f"peer=[::1]:{port} local=[::1]:{dual[1]} transport=tcp family=ipv6\r\n".encode()
            )
    path, _ = server.add(whoami, f"unix://{tmp_path}/s")
    with connect(path) as connection:
        wanted = (
            f"peer=pid={os.getpid()},uid={os.getuid()},gid={os.getgid()} local={path} transport=unix family=unix\r\n"
        )
        assert read_all(connection) == wanted.encode()


class Listener:
    """A listening socket whose accept fails as told."""

    family = socket.AF_INET

    def __init__(self, inner: socket.socket, failures: Iterator[int]) -> None:
        self.inner = inner
        self.failures = failures
        self.calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if code := next(self.failures, 0):
            raise OSError(code, "as told")
        return self.inner.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_accept_survives_what_a_peer_or_the_network_did(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    stream = server.servers[0]
    codes = [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN]
    stream.socket = Listener(stream.socket, iter(codes))
    assert ask(address, b"x") == b"x"
    assert events.counters.refused == {}


def test_url_of_a_bound_endpoint() -> None:
    assert Endpoint.parse("tcp://*:0").at("127.0.0.1", 5) == "tcp://127.0.0.1:5"
    assert ServiceEvents("x", clock=lambda: NOW).counters.active == 0


class Whatever:
    """Can be served in every way; what it declares is not asked, and it is no service that `table` would find."""

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
