"""Stream connections: time-outs, limits of octets, and the end of a connection."""

import contextlib
import socket
from functools import partial
from typing import Any

import pytest

from netd.contract import Conversation
from netd.peer import Peer
from netd.services.echo import Echo
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import RESET, ask, connect, ended


def test_half_close_is_honoured_and_everything_before_it_is_answered(server: Server) -> None:
    address, events = server.add(service("pingpong"), "tcp://127.0.0.1:0")
    assert ask(address, b"ping 1\n" * 3000) == b"pong 1\n" * 3000
    until(lambda: events.counters.closed["done"] == 1)


def test_answer_is_not_lost_to_a_reset_when_the_question_was_not_read(server: Server) -> None:
    address, _ = server.add(service("daytime"), "tcp://127.0.0.1:0")
    for _ in range(200):
        with connect(address) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n" * 50)
            connection.sendall(b"more" * 50)
            assert read_all(connection).endswith(b"-UTC\r\n")


@pytest.mark.slow  # waits for these
def test_peer_that_does_not_close_after_the_end_of_output_is_closed_in_two_seconds(server: Server) -> None:
    address, events = server.add(service("daytime"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert read_all(connection)
        until(lambda: events.counters.closed["done"] == 1)
        with pytest.raises(OSError, match="reset|Broken"):
            while True:
                connection.send(b"still here")


@pytest.mark.slow  # waits for time-outs
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


@pytest.mark.slow  # waits for a time-out
def test_peer_that_stops_reading_is_idle_and_one_that_reads_chargen_is_not(server: Server) -> None:
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


def test_lifetime_ends_a_busy_connection_too(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", lifetime="300ms", idle="off")
    with connect(address) as connection, pytest.raises(OSError, match="reset|Broken|closed"):
        while True:
            connection.sendall(b"x")
            if connection.recv(1) == b"":
                raise ConnectionResetError("closed")
    until(lambda: events.counters.closed["lifetime"] == 1)


def test_octets_without_an_answer_are_bounded_too(server: Server) -> None:
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


def test_connection_without_limits_has_no_time_out(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0", idle="off", connections="off")
    with connect(address) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert server.loop.wheel.due == float("inf")


def test_thousand_resets_are_counted_and_log_no_warning(server: Server, log: list[dict[str, Any]]) -> None:
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


def test_connection_closed_event_has_peer_octets_and_outcome(server: Server, log: list[dict[str, Any]]) -> None:
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


def test_connection_without_an_octet_is_logged_at_debug_level(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    connect(address).close()
    until(lambda: events.counters.closed["done"] == 1)
    assert {event["level"] for event in log if event["event"] == "connection_closed"} == {"debug"}


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_connection_ends_after_limits_bytes(server: Server, kind: type[Echo]) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0", bytes=1000)
    with connect(address) as connection:
        for _ in range(5):
            connection.sendall(b"x" * 100)
            assert read_exactly(connection, 100) == b"x" * 100
        connection.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            read_all(connection)
    until(lambda: events.counters.closed == {"bytes": 1})


def test_conversation_with_much_output_and_bulk_stream_end_after_limits_bytes_too(server: Server) -> None:
    chargen, chargen_events = server.add(service("chargen"), "tcp://127.0.0.1:0", bytes="1MiB")
    with connect(chargen) as connection:
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(connection)) <= 2**20 + 2**18
        until(lambda: chargen_events.counters.closed == {"bytes": 1})
    echo, echo_events = server.add(Echo(), "tcp://127.0.0.1:0", bytes="4MiB")
    with connect(echo) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.settimeout(20)
        for _ in range(1000):
            connection.sendall(b"x" * 2**16)
            read_exactly(connection, 2**16)
    until(lambda: echo_events.counters.closed == {"bytes": 1})
    assert 2**22 <= echo_events.counters.bytes_in + echo_events.counters.bytes_out <= 2**23


def test_input_of_a_send_only_connection_counts_for_limits_bytes(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0", bytes="16MiB")
    with connect(address) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:  # and never reads
            connection.sendall(b"x" * 2**16)
    until(lambda: events.counters.closed == {"bytes": 1})
    assert events.counters.bytes_in <= 2**24 + 2**17
