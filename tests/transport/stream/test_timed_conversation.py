"""Conversations that yield a `Receive`: resumed with the input, or without any after a time."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Post, Receive, WaitingConversation
from netd.peer import Peer
from netd.transport.stream.preamble import NO_PREAMBLES
from netd.transport.stream.server import StreamServer
from netd.transport.tap import Tap
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.toy_preambles import TRANSFORMED, xor


class Patient:
    """Says after each time without input, and to each segment, what it has received."""

    def __init__(self, seconds: float = 0.1, before: bytes = b"") -> None:
        self.timed_out = 0
        self._seconds = seconds
        self._before = before

    def stream(self, peer: Peer) -> WaitingConversation:
        yield self._before
        while data := (yield Receive(self._seconds)):
            yield b"<" + data + b">"
        while data is None:
            self.timed_out += 1
            yield b"-"
            data = yield None
        yield b"end"


class PatientBoard(Patient):
    """As `Patient`, with posts."""

    server_initiated = True

    def stream(self, peer: Peer, post: Post) -> WaitingConversation:  # type: ignore[override]
        self.post = post
        return super().stream(peer)


@pytest.fixture(params=["tcp", "unix"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/s"


@pytest.mark.parametrize("limits", [{}, {"idle": "off"}, {"idle": "off", "lifetime": "1h"}])
@pytest.mark.parametrize("kind", [Patient, PatientBoard])
def test_conversation_is_resumed_without_input_after_a_time(
    server: Server, url: str, kind: type[Patient], limits: dict[str, Any]
) -> None:
    address, _ = server.add(kind(), url, **limits)
    with connect(address) as connection:
        assert read_exactly(connection, 1) == b"-"
    with connect(address) as connection:
        connection.sendall(b"one")
        assert read_exactly(connection, 6) == b"<one>-"
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"end"


def test_input_in_time_is_received_and_no_time_out_follows(server: Server, url: str) -> None:
    patient = Patient(3600.0)
    address, _ = server.add(patient, url)
    with connect(address) as connection:
        for text in (b"one", b"two"):
            connection.sendall(text)
            assert read_exactly(connection, 5) == b"<" + text + b">"
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"end"
    until(lambda: server.loop.wheel.due == float("inf"))
    assert patient.timed_out == 0


class Hold:
    """A call that keeps the loop of a server busy until ``go_on`` is set."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.go_on.wait(20)


def hold(server: Server, then: Callable[[], object] = lambda: None) -> Hold:
    """Keep the loop busy, after the calls that it has been given by now, once ``then`` was called."""
    held = Hold()
    server.loop.call(held)
    then()
    assert held.begun.wait(20)
    return held


@pytest.mark.slow  # waits for time to pass
@pytest.mark.parametrize("wrapped", [False, True])
def test_input_that_has_come_is_received_though_the_time_is_over(server: Server, *, wrapped: bool) -> None:
    patient = Patient(0.2)
    address, _ = server.add(patient, "tcp://127.0.0.1:0", preambles=TRANSFORMED if wrapped else NO_PREAMBLES)
    code = xor if wrapped else bytes
    with connect(address) as connection:
        if wrapped:
            connection.sendall(b"XOR\n")
            assert read_exactly(connection, 3) == b"OK\n"
        connection.sendall(code(b"one"))
        assert code(read_exactly(connection, 5)) == b"<one>"
        expired = hold(server)
        assert not expired.go_on.wait(0.5), "the time passes, while the loop is busy"
        before_it_is_resumed = hold(server, expired.go_on.set)
        connection.sendall(code(b"two"))
        before_it_is_resumed.go_on.set()
        assert code(read_exactly(connection, 5)) == b"<two>"
        assert code(read_exactly(connection, 1)) == b"-"


@pytest.mark.slow  # waits for time to pass
def test_time_begins_when_the_output_is_sent(server: Server) -> None:
    patient = Patient(0.1, before=b"x" * 2**23)
    address, _ = server.add(patient, "tcp://127.0.0.1:0?sndbuf=4096")
    with connect(address) as connection:
        begun = server.loop.now
        assert read_exactly(connection, 1) == b"x"
        until(lambda: server.loop.call(lambda: None) is None and server.loop.now > begun + 0.5)  # type: ignore[func-returns-value]
        assert patient.timed_out == 0
        assert read_exactly(connection, 2**23) == b"x" * (2**23 - 1) + b"-"


@pytest.mark.slow  # waits for time to pass
def test_posts_are_sent_while_the_conversation_waits_for_a_time(server: Server, url: str) -> None:
    board = PatientBoard(0.5, before=b"hi")
    address, _ = server.add(board, url)
    with connect(address) as connection:
        assert read_exactly(connection, 2) == b"hi"
        assert board.post(b"posted")
        assert read_exactly(connection, 7) == b"posted-"


def test_idle_time_out_closes_a_conversation_that_waits_for_a_longer_time(server: Server, url: str) -> None:
    address, events = server.add(Patient(3600.0), url, idle="100ms")
    with connect(address) as connection:
        assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert events.counters.closed == {"idle": 1}


def test_peer_that_leaves_meanwhile_leaves_no_time_out(server: Server, url: str) -> None:
    address, events = server.add(Patient(3600.0), url, idle="off")
    connect(address).close()
    until(lambda: ended(events, 1))
    until(lambda: server.loop.wheel.due == float("inf"))


@pytest.fixture
def pingpong(server: Server) -> tuple[StreamServer, Any]:
    address, _ = server.add(service("pingpong", pause="100ms"), "tcp://127.0.0.1:0")
    [serving] = server.servers
    assert isinstance(serving, StreamServer)
    return serving, address


def unanswered(serving: StreamServer) -> str:
    return "".join(connection.unanswered for connection in serving.connections)


@pytest.mark.slow  # waits for time to pass
def test_program_without_line_ends_is_answered_after_a_pause(pingpong: tuple[StreamServer, Any]) -> None:
    with connect(pingpong[1]) as connection:
        for number in range(3):
            connection.sendall(b"ping %d" % number)
            assert connection.recv(1024) == b"pong %d" % number
        connection.sendall(b"ping 4\r")
        assert connection.recv(1024) == b"pong 4\r\n"


@pytest.mark.slow  # waits for time to pass
@pytest.mark.parametrize("before", [b"", b"ping 0\n"], ids=["keys", "a segment that comes late"])
def test_line_that_comes_in_parts_is_one_message(pingpong: tuple[StreamServer, Any], before: bytes) -> None:
    """Between two parts the pause passes: only then the connection is shown as unanswered."""
    serving, address = pingpong
    with connect(address) as connection:
        if before:
            connection.sendall(before)
            assert connection.recv(1024) == b"pong 0\n"
            parts = [b"ping " + b"1" * 1000, b"1" * 1000]
        else:
            parts = [b"p", b"i", b"n", b"g", b" ", b"1"]
        sent = 0
        for part in parts:
            connection.sendall(part)
            sent += len(part)
            until(lambda sent=sent: unanswered(serving).startswith(f"{sent} octet"))  # type: ignore[misc]
        connection.sendall(b"\r\n")
        assert read_exactly(connection, sent + 2) == b"".join(parts).replace(b"ping", b"pong") + b"\r\n"
        until(lambda: unanswered(serving) == "")


def test_octets_without_an_answer_are_told_once_in_the_log_and_each_time_in_a_trace(
    pingpong: tuple[StreamServer, Any], server: Server, log: list[dict[str, Any]]
) -> None:
    serving, address = pingpong
    tap = Tap("test", lambda peer: True, lambda tap: None)
    server.loop.call(lambda: serving.connections.trace([tap]))
    server.settle()
    with connect(address) as connection:
        connection.sendall(b"p")
        until(lambda: unanswered(serving).startswith("1 octet without a line end; framing: "))
        connection.sendall(b"ing")
        until(lambda: unanswered(serving).startswith("4 octets"))
        connection.sendall(b"\n")
        assert connection.recv(10) == b"pong\n"
        name = "{}:{}".format(*connection.getsockname())
    traced = [(way, size, bytes.fromhex(text)) for _, way, _, size, text, _ in tap.take()[0]]
    told = [(size, text.partition(b";")[0]) for way, size, text in traced if way == "unanswered"]
    assert told == [(1, b"1 octet without a line end"), (4, b"4 octets without a line end")]
    assert ("in", 3, b"ing") in traced
    [event] = [event for event in log if event["event"] == "message_unanswered"]
    assert (event["level"], event["peer"]) == ("debug", name)
    assert event["received"].startswith("1 octet without a line end; framing: ")
