"""Echo connections: bulk data, flow control and urgent data, with splice(2) and as a conversation (`PlainEcho`)."""

import gc
import socket
import threading
from functools import partial

import pytest

from netd.services.echo import Echo
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, read_all, read_exactly
from tests.support.waiting import until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import connect, ended


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}"], ids=["tcp", "unix"])
def test_echo_returns_megabytes(server: Server, kind: type[Echo], url: str) -> None:
    address, events = server.add(kind(), url)
    data = bytes(range(256)) * 4096 * 16  # 16 MiB: more than all buffers, so that both sides have to wait
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


@pytest.mark.slow  # fills all buffers
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_slow_reader_gets_everything(server: Server, kind: type[Echo]) -> None:
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
def test_input_of_a_peer_that_never_reads_is_not_received(server: Server, kind: type[Echo]) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0")
    with connect(address) as greedy, connect(address) as other:
        greedy.setblocking(False)
        sent = 0
        while True:
            server.settle()  # the loop has received all it can
            try:
                sent += greedy.send(b"x" * 65536)
            except BlockingIOError:
                server.settle()
                try:
                    sent += greedy.send(b"x")
                except BlockingIOError:
                    break
            assert sent < 2**28, "netd never stops receiving"
        gc.collect()
        other.sendall(b"still there")
        assert read_exactly(other, 11) == b"still there"
    until(lambda: events.counters.active == 0)


@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_urgent_data_is_echoed_in_line(server: Server, kind: type[Echo]) -> None:
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
def test_input_that_came_before_the_event_is_received(
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


def test_bulk_that_ends_with_urgent_data_is_echoed_whole(server: Server) -> None:
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


def test_peer_that_stops_reading_costs_no_more_memory_than_a_pipe(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    pipe = server.servers[0].connections.pipe  # type: ignore[union-attr]
    assert pipe is not None
    kept: list[int] = []
    send = pipe.send

    def watched(sink: socket.socket, number: int) -> bytes:
        rest = send(sink, number)
        kept.append(len(rest))
        return rest

    pipe.send = watched  # type: ignore[method-assign]
    # Whether a connection uses splice(2) when its buffers get full depends on timing: try until one does.
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
