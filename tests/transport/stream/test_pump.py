"""Pumps: alone, and two of them in a connection that joins two sockets."""

import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream.pump import Pump
from netd.transport.stream.stream_socket import CHUNK
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.joined import Joined, JoinedConnection, connect_to, serve_joined
from tests.transport.stream.peers import RESET, connect, ended


class Source:
    """A socket that receives these pieces; None: no input."""

    def __init__(self, pieces: list[bytes | None]) -> None:
        self.pieces = pieces
        self.received = b""

    def recv(self, size: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if piece is None:
            raise BlockingIOError
        assert len(piece) <= size
        self.received += piece
        return piece


class Sink:
    """A socket with room for so many octets at each call; 0: none."""

    def __init__(self, room: list[int]) -> None:
        self.room = room
        self.sent = b""
        self.is_shut_down = False

    def send(self, data: bytes | memoryview) -> int:
        room = self.room.pop(0) if self.room else len(data)
        if not room:
            raise BlockingIOError
        assert not self.is_shut_down
        assert data, "nothing is no reason for a system call"
        self.sent += data[:room]
        return len(data[:room])

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        self.is_shut_down = True


@given(st.lists(st.none() | st.binary(min_size=1, max_size=20)), st.lists(st.integers(0, 9)))
def test_pump_moves_all_in_order_and_holds_one_piece(pieces: list[bytes | None], room: list[int]) -> None:
    pump, source, sink = Pump(), Source(list(pieces)), Sink(list(room))
    both: tuple[Any, Any] = source, sink
    received = sent = 0
    while not pump.ended:
        waits = bool(pump.pending)
        before = source.received
        try:
            came, went = pump.move(*both)
        except BlockingIOError:
            assert source.received == before
            continue
        assert came or went or pump.ended
        assert not waits or source.received == before, "it received although it held something"
        received += came
        sent += went
        assert source.received == sink.sent + bytes(pump.pending)
        assert len(pump.pending) <= 20
    assert sink.is_shut_down
    assert sink.sent == b"".join(filter(None, pieces))
    assert received == sent == len(sink.sent)


@pytest.mark.parametrize("pending", [b"", b"rest"])
def test_pump_raises_what_breaks_either_end(pending: bytes) -> None:
    pump = Pump()
    pump.pending = pending
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        if pending:
            other.close()
        else:
            one.close()
        with pytest.raises(OSError, match="Broken pipe|Bad file descriptor"):
            pump.move(one, one)


@pytest.fixture
def upstream(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener that every connection of `join` is joined to."""
    serve_joined(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


def join(server: Server, upstream: socket.socket, **limits: Any) -> tuple[socket.socket, socket.socket, ServiceEvents]:
    """Both ends that are joined."""
    service = Joined(partial(connect_to, upstream.getsockname()))
    address, events = server.add(service, "tcp://127.0.0.1:0?sndbuf=16KiB", **limits)
    client = connect(address)
    far, _ = upstream.accept()
    far.settimeout(20)
    return client, far, events


def closed(events: ServiceEvents) -> dict[str, int]:
    until(partial(ended, events, 1))
    assert events.counters.active == 0
    return dict(events.counters.closed)


@pytest.mark.parametrize("client_first", [True, False])
def test_joined_connection_passes_on_a_half_close_and_carries_the_other_direction_on(
    server: Server, upstream: socket.socket, client_first: bool
) -> None:
    client, far, events = join(server, upstream)
    first, second = (client, far) if client_first else (far, client)
    with client, far:
        first.sendall(b"question")
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == b"question"
        for _ in range(3):
            second.sendall(b"answer")
            assert read_exactly(first, 6) == b"answer"
        assert events.counters.active == 1
        second.shutdown(socket.SHUT_WR)
        assert read_all(first) == b""
    assert closed(events) == {"done": 1}
    assert {events.counters.bytes_in, events.counters.bytes_out} == {8, 18}


@pytest.mark.parametrize("client_sends", [True, False])
def test_joined_connection_that_a_peer_resets_ends_the_other_too(
    server: Server, upstream: socket.socket, client_sends: bool
) -> None:
    client, far, events = join(server, upstream)
    sender, other = (client, far) if client_sends else (far, client)
    with sender, other:
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:  # so that output for the other end is pending, and no input is received
                sender.send(b"x" * 65536)
                server.settle()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sender.close()
        assert closed(events) == {"reset": 1}
        with pytest.raises(ConnectionError):
            while True:
                assert other.recv(2**20) or other.send(b"x")


@pytest.mark.parametrize("client_sends", [True, False])
def test_joined_connection_stops_a_sender_and_loses_nothing(
    server: Server, upstream: socket.socket, client_sends: bool
) -> None:
    client, far, events = join(server, upstream)
    sender, reader = (client, far) if client_sends else (far, client)
    with client, far:
        sender.setblocking(False)
        sent = idle = 0
        while idle < 10:
            try:
                sent += sender.send(struct.pack(">I", sent // 4) * 1024)
                idle = 0
            except BlockingIOError:
                idle += 1
                server.settle()
            assert sent < 2**28, "it reads on and on"
        [joined] = server.servers[0].connections  # type: ignore[union-attr]
        assert isinstance(joined, JoinedConnection)
        assert 0 < max(len(joined._input.pending), len(joined._output.pending)) <= CHUNK
        reader.sendall(b"the other direction goes on")
        assert read_exactly(sender_that_waits(sender), 27) == b"the other direction goes on"
        sender.shutdown(socket.SHUT_WR)
        back = read_all(reader)
        assert len(back) == sent
        reader.shutdown(socket.SHUT_WR)
        assert read_all(sender) == b""
    assert closed(events) == {"done": 1}


def sender_that_waits(sender: socket.socket) -> socket.socket:
    sender.settimeout(20)
    return sender


def test_joined_connection_carries_megabytes_both_ways_at_once(server: Server, upstream: socket.socket) -> None:
    client, far, events = join(server, upstream)
    data = bytes(range(256)) * 2**14
    back: dict[socket.socket, bytes] = {}

    def receive(end: socket.socket) -> None:
        back[end] = read_all(end)

    def send(end: socket.socket) -> None:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    with client, far:
        threads = [threading.Thread(target=run, args=(end,)) for run in (receive, send) for end in (client, far)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert back == {client: data, far: data}
    assert closed(events) == {"done": 1}
    assert (events.counters.bytes_in, events.counters.bytes_out) == (len(data), len(data))


def test_octets_of_a_joined_connection_are_bounded_in_both_directions_together(
    server: Server, upstream: socket.socket
) -> None:
    client, far, events = join(server, upstream, bytes=1000)
    with client, far:
        client.sendall(b"x" * 500)
        assert read_exactly(far, 500) == b"x" * 500
        far.sendall(b"y" * 500)
        assert read_exactly(client, 500) == b"y" * 500
        assert events.counters.active == 1
        far.sendall(b"z")
        assert read_all(client) == b"z"
        assert read_all(far) == b""
    assert closed(events) == {"bytes": 1}
