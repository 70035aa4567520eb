"""The properties of every kind of stream connection: a kind is a row in `kinds.py`, a property is a test."""

import contextlib
import select
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import netd
from netd.admission.banner import Banners
from netd.peer import Peer
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.tap import Tap, Taps, Way
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.kinds import KINDS, SENT, Case
from tests.transport.stream.peers import RESET, ended

_FEW = 2**20
"""Octets of memory that netd may hold for one connection, whatever its peer does."""
_OF_NETD = tracemalloc.Filter(True, f"{Path(netd.__file__).parent}/*", all_frames=True)
"""What code of netd allocates, or calls. Python may take megabytes at any time, for its table of interned strings."""


def _cases() -> Iterator[Any]:
    for transport in ("tcp", "unix"):
        for kind in KINDS:
            if transport == "tcp" or not kind.tls:
                marks = [pytest.mark.slow] * (transport == "unix" or not kind.is_plain)
                yield pytest.param((kind, transport), marks=marks, id=f"{transport}-{kind.name}")


@pytest.fixture(params=_cases())
def case(
    request: pytest.FixtureRequest, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    """Each kind over TCP and UNIX; afterwards its connections have released everything."""
    kind, transport = request.param
    if not kind.is_spliced:
        monkeypatch.setattr(SplicePipe, "open", lambda pipe: False)
    url = "tcp://127.0.0.1:0?sndbuf=16KiB" if transport == "tcp" else f"unix://{tmp_path}/s"
    one = Case(kind, server, url, tmp_path)
    yield one
    one.assert_nothing_is_left()


def say_and_read_all(case: Case, client: Any, data: bytes) -> bytes:
    """Send this and the end of file, and read at the same time."""

    def say() -> None:
        client.sendall(case.kind.code(data))
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=say)
    sender.start()
    said = case.kind.code(read_all(client))
    sender.join()
    return said


def test_banner_is_sent_before_all_of_the_service(case: Case) -> None:
    banner = b"\0 not for everybody\n\xff\r\n" * 50
    case.banners = Banners(banner, b"refused")
    case.serve()
    with case.connect() as client:
        assert case.kind.code(read_exactly(client, len(banner))) == banner
        assert say_and_read_all(case, client, SENT[:5000]) == case.kind.says(SENT[:5000])
    assert case.outcome() == "done"
    assert case.events.counters.accepted == 1
    assert case.events.counters.bytes_out == len(case.kind.says(SENT[:5000])), "the octets of the service"


@pytest.mark.parametrize("size", [0, 1, 5000, pytest.param(2**21, marks=pytest.mark.slow)])
def test_half_close_is_honoured_and_all_before_it_is_answered(case: Case, size: int) -> None:
    case.serve()
    data = SENT[:size]
    with case.connect() as client:
        assert say_and_read_all(case, client, data) == case.kind.says(data)
    assert case.outcome() == "done"
    assert case.events.counters.bytes_out == len(case.kind.says(data))
    assert case.events.counters.bytes_in == size or not case.kind.echoes


def test_peer_that_closes_at_once_leaves_nothing(case: Case) -> None:
    case.serve()
    for number in range(40):
        with case.raw() as client:
            client.sendall(case.kind.begins[: number % 8])
            if number % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if number % 8 == 7:  # a service with threads refuses the connection after `MOST_THREADS`
            until(partial(ended, case.events, number + 1))
    for number in range(41, 46):
        case.connect().close()
        until(partial(ended, case.events, number))  # a connection that the kernel has, and netd not yet, is none
    assert case.events.counters.failed == 0


@pytest.mark.parametrize("is_full", [pytest.param(True, marks=pytest.mark.slow), False])
def test_peer_that_resets_ends_the_connection(case: Case, is_full: bool) -> None:
    case.serve()
    with case.connect() as client:
        case.exchange(client, b"hello")
        if is_full:
            case.fill(client)
        else:
            client.sendall(case.kind.code(b"and more"))
            until(lambda: select.select([client], [], [], 0)[0])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert case.outcome() == "reset"
    assert case.events.counters.failed == 0


@pytest.mark.slow  # fills all buffers
def test_peer_that_does_not_read_holds_up_itself_alone(case: Case) -> None:
    case.serve()
    with case.connect() as client:
        tracemalloc.start(25)  # frames, of which those of netd are the outer ones where asyncio or a handler allocates
        try:
            sent = case.fill(client)
            held = tracemalloc.take_snapshot().filter_traces([_OF_NETD])
        finally:
            tracemalloc.stop()
        assert sum(one.size for one in held.traces) < _FEW
        with case.connect() as other:
            case.exchange(other, b"hello")
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(client)) == (sent if case.kind.echoes else len(SENT)), "nothing is lost"
    until(partial(ended, case.events, 2))


class FullOnce:
    """A socket that has no room for its first send(2)."""

    def __init__(self, bare: socket.socket) -> None:
        self._bare = bare
        self._is_full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bare, name)

    def send(self, data: bytes) -> int:
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        return self._bare.send(data)


@pytest.mark.parametrize("case", [one for one in _cases() if one.values[0][0].tls], indirect=True)
def test_close_notify_waits_for_room(case: Case) -> None:
    case.serve()
    with case.connect() as client:
        data = SENT if not case.kind.echoes else b"hello"
        case.exchange(client, data)
        [connection] = (one for one in case.connections if type(one) is case.kind.way)
        stream: Any = connection._wrapped
        case.server.loop.call(lambda: setattr(stream, "_bare", FullOnce(stream._bare)))
        case.server.settle()
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"", "an end without a close_notify raises"
    assert case.outcome() == "done"


@pytest.mark.parametrize("size", [100, 2**19])
def test_octets_are_bounded(case: Case, size: int) -> None:
    case.serve(bytes=5 * size)
    with case.connect() as client:
        if case.kind.echoes and size == 100:
            for _ in range(2):
                case.exchange(client, SENT[:size])
            assert len(case.connections) == 1

        def say() -> None:
            with contextlib.suppress(OSError):
                client.sendall(case.kind.code(SENT[:size] * 8))
                client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=say)
        sender.start()
        with contextlib.suppress(ConnectionError):
            read_all(client)
        sender.join()
    assert case.outcome() == "bytes"
    assert case.events.counters.bytes_in + case.events.counters.bytes_out > 5 * size


@pytest.mark.slow  # fills all buffers
def test_connection_that_waits_costs_no_processor_time(case: Case) -> None:
    case.serve()
    used: list[float] = []
    with case.connect() as client:
        for _ in range(4):
            case.server.loop.call(lambda: used.append(time.thread_time()))
            case.server.settle()
            select.select([], [], [], 0.2)
            if len(used) == 1:
                case.fill(client)
                client.shutdown(socket.SHUT_WR)
        read_all(client)
    # The loop may have something left to do at first, and Python may collect circles in its thread.
    assert min(after - before for before, after in pairwise(used[1:])) < 0.1, "the loop is woken again and again"
    assert case.outcome() == "done"


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.slow  # waits for the time-out
def test_idle_connection_is_closed(case: Case, is_full: bool) -> None:
    case.serve(idle="400ms")
    with case.connect() as client:
        case.exchange(client, b"hello")
        if is_full:
            case.fill(client)
        assert case.outcome() == "idle"


@pytest.mark.slow  # waits for the time-out
def test_busy_connection_is_closed_at_the_end_of_its_lifetime(case: Case) -> None:
    case.serve(idle="300ms" if case.kind.echoes else "off", lifetime="500ms")
    with case.connect() as client:
        with contextlib.suppress(ConnectionError):
            while case.kind.echoes:
                client.sendall(case.kind.code(b"x"))
                if not client.recv(1):
                    break
                select.select([client], [], [], 0.05)
        assert case.outcome() == "lifetime"


@pytest.mark.slow  # fills all buffers
def test_operator_ends_a_connection_that_is_sending(case: Case) -> None:
    case.serve()
    with case.connect() as client:
        case.fill(client)
        [one] = case.connections
        for _ in range(2):
            case.server.loop.call(partial(one.close, "kicked"))
        with contextlib.suppress(ConnectionError):
            read_all(client)
        assert case.outcome() == "kicked"


class Record(Tap):
    """A tap that keeps all lines."""

    def __init__(self) -> None:
        super().__init__("test", lambda peer: True, lambda tap: None)
        self.lines: list[tuple[str, int, bytes]] = []

    def record(self, peer: Peer, way: Way, size: int = 0, data: bytes | memoryview = b"") -> None:
        self.lines.append((way, size, bytes(data)))

    def octets(self, way: Way) -> int:
        return sum(size for one, size, _ in self.lines if one == way)


def look(case: Case, taps: Taps) -> None:
    case.server.loop.call(lambda: case.connections.trace(taps))
    case.server.settle()


@pytest.mark.parametrize("size", [5, pytest.param(2**21, marks=pytest.mark.slow)])
def test_trace_shows_a_connection_from_its_beginning_to_its_end(case: Case, size: int) -> None:
    case.serve()
    tap = Record()
    look(case, [tap])
    data = SENT[:size]
    with case.connect() as client:
        assert say_and_read_all(case, client, data) == case.kind.says(data)
    assert case.outcome() == "done"
    ways = [way for way, _, _ in tap.lines]
    assert (ways[0], ways[-1], ways.count("opened"), ways.count("closed")) == ("opened", "closed", 1, 1)
    assert tap.octets("out") == len(case.kind.says(data))
    assert tap.octets("in") == size or not case.kind.echoes
    if size == 5 and case.kind.echoes:
        assert [line for line in tap.lines if line[0] in ("in", "out")] == [("in", 5, data), ("out", 5, data)]


def test_trace_begins_and_ends_while_a_connection_is_open(case: Case) -> None:
    case.serve()
    tap = Record()
    with case.connect() as client:
        [one] = case.connections
        for word, taps in ((b"before", []), (b"traced", [tap]), (b"after", [])):
            look(case, taps)
            sent = one.bytes_out + len(word)
            case.exchange(client, word)
            if case.kind.echoes:
                until(lambda sent=sent: one.bytes_out == sent)  # type: ignore[misc]
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    if case.kind.echoes:
        assert tap.lines == [("in", 6, b"traced"), ("out", 6, b"traced")]
    else:
        assert {way for way, _, _ in tap.lines} <= {"out"}
    assert case.outcome() == "done"


def test_traffic_of_an_open_connection_is_counted_once_and_the_rest_at_its_end(case: Case) -> None:
    case.serve()
    counters = case.events.table

    def counted() -> tuple[int, int]:
        case.server.loop.call(case.connections.count_traffic)
        case.server.settle()
        counts = counters.read()
        return counts.bytes_in, counts.bytes_out

    with case.connect() as client:
        for number in range(1, 4):
            case.exchange(client, b"x" * 1000)
            if case.kind.echoes:
                until(lambda number=number: counted() == (number * 1000, number * 1000))  # type: ignore[misc]
            else:
                assert counted()[1]
        case.exchange(client, b"y" * 500)
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    case.outcome()
    counts = counters.read()
    if case.kind.echoes:
        assert (counts.bytes_in, counts.bytes_out) == (3500, 3500)
        assert 4 <= counts.requests <= 3500
    else:
        assert (counts.bytes_out, counts.requests) == (len(SENT), 1)
