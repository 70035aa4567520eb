"""The socket of a handler counts in all its ways to receive and send, and is a socket otherwise."""

import contextlib
import io
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from netd.transport.tap import Tap
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport import taps
from tests.transport.stream.peers import connect, ended

LINE = b"hello, world\n"
LONG = bytes(range(256)) * 2**14  # 4 MiB, which no buffer takes at once


class Function:
    """A service with a function as its handler."""

    def __init__(self, run: Callable[[socket.socket], object]) -> None:
        self._run = run

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
        return self._run(request)


def by_copy(request: socket.socket) -> None:
    with request.dup() as copy:
        copy.recv(100)


RECEIVES: list[Callable[[socket.socket], object]] = [
    lambda request: request.recv(100),
    lambda request: request.recv_into(bytearray(100)),
    lambda request: request.recv_into(bytearray(100), nbytes=50, flags=0),
    lambda request: request.recvfrom(100),
    lambda request: request.recvfrom_into(bytearray(100)),
    lambda request: request.recvfrom_into(bytearray(100), nbytes=50, flags=0),
    lambda request: request.recvmsg(100),
    lambda request: request.recvmsg_into([bytearray(2), bytearray(98)]),
    by_copy,
    lambda request: request.makefile("rb").readline(),
    lambda request: request.makefile("rb", 8).readline(),
    lambda request: request.makefile("rb", 0).readline(),
    lambda request: request.makefile().readline(),
    lambda request: request.makefile("rwb").readline(),
]


def in_parts(request: socket.socket, data: bytes) -> None:
    for octet in data[:20]:
        request.send(bytes([octet]))
    request.sendmsg([data[20:1000], data[1000:2000]])
    assert request.sendto(data[2000:2010], request.getpeername()) == len(data[2000:2010])
    request.sendall(data[2010:])


def by_file(request: socket.socket, data: bytes) -> None:
    with request.makefile("wb") as file:
        file.write(data)


def by_writer(request: socket.socket, data: bytes) -> None:
    writer = request.writer()  # type: ignore[attr-defined]
    assert (writer.fileno(), writer.writable()) == (request.fileno(), True)
    assert (writer.write(data[:50]), writer.write(bytearray(data[50:60]))) == (len(data[:50]), len(data[50:60]))
    assert writer.write(data[60:]) == len(data[60:])
    writer.close()
    assert request.fileno() >= 0


def from_a_file(request: socket.socket, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        assert request.sendfile(file) == len(data)


SENDS: list[Callable[[socket.socket, bytes], object]] = [
    lambda request, data: request.sendall(data),
    lambda request, data: request.sendall(bytearray(data)),
    lambda request, data: request.sendall(memoryview(data).cast("I")),  # of items that are no octets
    lambda request, data: request.sendall(data, socket.MSG_NOSIGNAL),
    in_parts,
    by_file,
    by_writer,
    from_a_file,
]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize("receive", RECEIVES)
def test_octets_received_are_counted(
    server: Server, tmp_path: Any, url: str, is_traced: bool, receive: Callable[[socket.socket], object]
) -> None:
    address, events = server.add(Function(receive), url.format(tmp=tmp_path))
    tap = taps.tap()
    if is_traced:
        taps.look(server, [tap])
    with connect(address) as client:
        client.sendall(LINE)
        assert read_all(client) == b""
    until(lambda: ended(events, 1))
    counters = events.counters
    assert (counters.bytes_in, counters.bytes_out, counters.failed) == (len(LINE), 0, 0)
    assert 1 <= counters.requests <= len(LINE)
    assert traced(tap, "in") == (LINE[:256] if is_traced else b"")


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize("data", [LINE * 4, LONG], ids=["short", "long"])
@pytest.mark.parametrize("send", SENDS)
def test_octets_sent_are_counted(
    server: Server, is_traced: bool, data: bytes, send: Callable[[socket.socket, bytes], object]
) -> None:
    address, events = server.add(Function(lambda request: send(request, data)), "tcp://127.0.0.1:0")
    if is_traced:
        taps.look(server, [taps.tap()])
    with connect(address) as client:
        assert read_all(client) == data
    until(lambda: ended(events, 1))
    assert (events.counters.bytes_in, events.counters.bytes_out, events.counters.failed) == (0, len(data), 0)


def traced(tap: Tap, way: str) -> bytes:
    return b"".join(bytes.fromhex(line[4]) for line in tap.take()[0] if line[1] == way)


def forever(do: Callable[[], object]) -> None:
    while do() != b"":
        pass


@pytest.mark.parametrize(
    "handle",
    [
        lambda request: forever(request.makefile("rb").readline),
        lambda request: forever(lambda: request.recv(100)),
        lambda request: forever(lambda: request.sendall(LINE)),
        lambda request: forever(lambda: request.send(LINE)),
        lambda request: forever(lambda: request.writer().write(LINE)),
    ],
    ids=["makefile", "recv", "sendall", "send", "writer"],
)
def test_octets_of_each_way_are_bounded(server: Server, handle: Callable[[socket.socket], object]) -> None:
    address, events = server.add(Function(handle), "tcp://127.0.0.1:0", bytes=20_000)
    with connect(address) as client, contextlib.suppress(ConnectionError):
        for _ in range(3000):
            client.sendall(LINE)
        read_all(client)
    until(lambda: ended(events, 1))
    assert dict(events.counters.closed) == {"bytes": 1}
    assert 20_000 < events.counters.bytes_in + events.counters.bytes_out <= 20_000 + io.DEFAULT_BUFFER_SIZE


@pytest.mark.parametrize("buffering", [-1, 0, 8192])
def test_file_is_as_that_of_a_plain_socket(server: Server, buffering: int) -> None:
    found: list[object] = []

    def observe(request: socket.socket) -> None:
        file = request.makefile("rb", buffering)
        found.append((type(file).__name__.lstrip("_"), file.fileno() == request.fileno(), file.readable()))
        request.setblocking(False)
        found.append(file.read(1))
        request.settimeout(0.01)
        for _ in range(2):
            try:
                file.read(1)
            except OSError as error:
                found.append(str(error))
        request.close()
        found.append(request.fileno() >= 0)  # the file keeps it
        file.close()
        found.append(request.fileno())
        with pytest.raises(ValueError, match="closed file"):
            file.read(1)

    address, events = server.add(Function(observe), "tcp://127.0.0.1:0")
    with connect(address) as client:
        assert read_all(client) == b""
    until(lambda: ended(events, 1))
    assert events.counters.failed == 0, found
    plain, other = socket.socketpair()
    with other, plain:
        expected, found = found, []
        observe(plain)
    assert [found[0][0].replace("SocketIO", "")] == [expected[0][0].replace("SocketIO", "")]  # type: ignore[index]
    assert found[1:] == expected[1:]
