"""Bugs in services of streams: each costs one conversation, and is one event."""

import math
import socket
from functools import partial
from typing import Any

import pytest

from netd.contract import Conversation, Receive
from netd.errors import PeerError
from netd.peer import Peer
from netd.transport.stream.server import StreamServer
from netd.transport.tap import Tap
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, ask, connect, ended, failed


class Buggy:
    """A conversation that fails in every way, by its input."""

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
                    yield b"said "
                    yield b"before"
                    raise ZeroDivisionError("after that")
                case b"then":
                    yield b"said before"
                    yield "not bytes"  # type: ignore[misc]
                case b"peer":
                    raise PeerError("you are not nice")
            yield data
            yield None
        finally:
            self.left += 1


@pytest.mark.parametrize(
    ("how", "sent"),
    [(b"raise", b""), (b"text", b""), (b"number", b""), (b"said", b"said before"), (b"then", b"said before")],
)
def test_bug_in_a_service_costs_one_conversation_and_is_one_event(
    server: Server, log: list[dict[str, Any]], how: bytes, sent: bytes
) -> None:
    buggy = Buggy()
    address, events = server.add(buggy, "tcp://127.0.0.1:0")
    with connect(address) as other:
        other.sendall(b"fine")
        assert read_exactly(other, 4) == b"fine"
        with connect(address) as connection:
            connection.sendall(how)
            assert read_all(connection) == sent
        until(lambda: events.counters.closed["failed"] == 1)
        [failure] = [event for event in log if event["event"] == "conversation_failed"]
        assert failure["level"] == "error"
        assert failure["exc_info"].__traceback__ is not None
        assert other.send(b"x")
    until(lambda: events.counters.active == 0)
    assert events.counters.failed == 1
    assert buggy.left == 2


@pytest.mark.parametrize("before", [b"", b"said before"])
@pytest.mark.parametrize(
    "wrong",
    [
        Receive("30"),  # type: ignore[arg-type]
        Receive(math.nan),
        Receive(math.inf),
        Receive(1e308),
        Receive(10**400),
        Receive(None, b"octets"),  # type: ignore[arg-type]
    ],
    ids=["text", "nan", "infinity", "1e308", "10**400", "octets"],
)
def test_receive_with_wrong_fields_costs_one_conversation(server: Server, wrong: Receive, before: bytes) -> None:
    class Wrong:
        def stream(self, peer: Peer) -> Conversation:
            data = yield None
            if data == b"wrong":
                yield before
                yield wrong
            yield data
            yield None

    address, events = server.add(Wrong(), "tcp://127.0.0.1:0", idle="off")
    with connect(address) as other:
        with connect(address) as connection:
            connection.sendall(b"wrong")
            assert read_all(connection) == before
        until(lambda: events.counters.closed["failed"] == 1)
        other.sendall(b"fine")
        assert read_exactly(other, 4) == b"fine"
    assert events.counters.failed == 1


def test_text_that_is_not_unicode_is_shown_in_a_trace(server: Server) -> None:
    class Surrogate:
        def stream(self, peer: Peer) -> Conversation:
            data = yield None
            data = yield Receive(None, f"{data!r} \udc80")
            yield data

    address, _ = server.add(Surrogate(), "tcp://127.0.0.1:0")
    [serving] = server.servers
    tap = Tap("test", lambda peer: True, lambda tap: None)
    assert isinstance(serving, StreamServer)
    serving.connections.trace([tap])
    with connect(address) as connection:
        connection.sendall(b"x")
        until(lambda: any(connection.unanswered for connection in serving.connections))
        connection.sendall(b"fine")
        assert read_exactly(connection, 4) == b"fine"
    assert b"b'x' ?".hex() in [line[4] for line in tap.take()[0]]


def test_peer_error_is_one_line_to_the_peer_and_no_failure(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Buggy(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"peer")
        assert read_all(connection) == b"error: you are not nice\r\n"
    until(lambda: events.counters.closed["peer_error"] == 1)
    assert {event["level"] for event in log} == {"info"}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_exit_in_a_service_does_not_stop_the_loop(server: Server, error: type[BaseException]) -> None:
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


def test_service_that_raises_or_returns_no_generator_costs_one_conversation(
    server: Server, log: list[dict[str, Any]]
) -> None:
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


def test_bug_at_the_close_of_a_conversation_is_an_event_too(server: Server) -> None:
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


def test_conversation_that_waits_for_input_after_the_end_of_file_is_closed(server: Server) -> None:
    class Deaf:
        def stream(self, peer: Peer) -> Conversation:
            while True:
                yield None

    address, events = server.add(Deaf(), "tcp://127.0.0.1:0")
    assert ask(address, b"x") == b""
    until(lambda: events.counters.closed["done"] == 1)
