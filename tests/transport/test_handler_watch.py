"""Handlers that hang are named, and those that wait for their clients are not."""

import asyncio
import contextlib
import gc
import socket
import sys
import threading
import time
import weakref
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.peer import Peer
from netd.telemetry.service_events import ServiceEvents
from netd.transport import handler_watch
from netd.transport.handler_watch import Hanging, watch_of
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from tests.support.server import Server
from tests.support.sockets import read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.toy_preambles import TRANSFORMED

Log = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_watch, "_INTERVAL", 0.02)
    # Until `soon`: else a handler that gets no processor time for a moment hangs.
    monkeypatch.setattr(handler_watch, "HANGS", 60.0)


def soon() -> None:
    """From now on, a handler hangs soon."""
    handler_watch.HANGS = 0.2


class Waits:
    """Says ``x`` once it hangs, and waits for an event, or computes, until it is let go."""

    def __init__(self, *, computes: bool = False) -> None:
        self.let_go = threading.Event()
        self._computes = computes

    def hang(self) -> None:
        while not self.let_go.wait(0 if self._computes else 10):  # here
            pass


class Thread(Waits):
    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"x")
        self.hang()


class Datagram(Waits):
    datagram_blocks = True

    def datagram(self, data: bytes, peer: Peer) -> bytes:
        self.hang()
        return data


class Coroutine(Waits):
    async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"x")
        await writer.drain()
        self.hang()


class Task(Waits):
    """Hangs in a task that its handler has begun."""

    async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
        async def begun() -> None:
            self.hang()

        await asyncio.create_task(begun())


HERE = next(
    f"{__file__}:{number} in hang"
    for number, line in enumerate(Path(__file__).read_text().split("\n"), 1)
    if "# here" in line
)


@contextlib.contextmanager
def asked(server: Server, service: Any, preambles: Preambles = NO_PREAMBLES) -> Iterator[tuple[ServiceEvents, str]]:
    """A client that the service serves: the events, and the client's name."""
    if hasattr(service, "datagram"):
        address, events = server.add(service, "udp://127.0.0.1:0")
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(address)
        client.send(b"x")
    else:
        address, events = server.add(service, "tcp://127.0.0.1:0", preambles=preambles)
        client = connect(address)
        if preambles.transforming:
            client.sendall(b"XOR\n")
            read_exactly(client, 3)
    with client:
        yield events, "{}:{}".format(*client.getsockname())


def hanging(server: Server) -> list[Hanging]:
    return watch_of(server.loop).hanging


def is_here() -> bool:
    return HERE in map(handler_watch._place, sys._current_frames().values())


def is_waiting() -> bool:
    return any(frame.f_code in handler_watch._WAITING for frame in sys._current_frames().values())


class Local:
    """A local variable of a handler."""


class Keeps(Thread):
    kept: weakref.ref[Local]

    def hang(self) -> None:
        local = Local()
        self.kept = weakref.ref(local)
        super().hang()


def test_look_keeps_nothing_of_a_handler(server: Server) -> None:
    service = Keeps()
    gc.disable()
    try:
        with asked(server, service) as (events, _):
            until(is_here)
            looks = count_looks(server)
            until(lambda: looks() > 1)
            service.let_go.set()
            until(lambda: ended(events, 1))
        until(lambda: service.kept() is None)
    finally:
        gc.enable()
        service.let_go.set()


@pytest.mark.parametrize("computes", [False, True], ids=["waits", "computes"])
@pytest.mark.parametrize(
    ("kind", "preambles"),
    [
        (Thread, NO_PREAMBLES),
        (Thread, TRANSFORMED),
        (Datagram, NO_PREAMBLES),
        (Coroutine, NO_PREAMBLES),
        (Task, NO_PREAMBLES),
    ],
    ids=["thread", "thread-wrapped", "datagram", "coroutine", "task"],
)
def test_handler_that_hangs_is_named_once(
    server: Server, log: Log, kind: type[Waits], preambles: Preambles, computes: bool
) -> None:
    service = kind(computes=computes)
    try:
        with asked(server, service, preambles) as (events, peer):
            until(is_here)
            soon()
            until(lambda: [line for line in log if line["event"] == "handler_stalled"])
            until(lambda: hanging(server))
            later(server)
            events.log_pending(final=True)  # what else there is of the last minute
            [line] = [line for line in log if line["event"] == "handler_stalled"]
            assert (line["at"], line["peer"], line["level"]) == (HERE, peer, "warning")
            assert line["seconds"] >= 0.2
            assert events.counters.hanging == 1
            [one] = hanging(server)
            assert (one.at, one.peer, one.events) == (HERE, peer, events)
            if computes:
                until(lambda: hanging(server)[0].cpu_seconds > 0.05)
            else:  # after what its thread may have done before, such as to collect circles
                until(lambda: hanging(server)[0].cpu_seconds == later(server).cpu_seconds)
            service.let_go.set()
            until(lambda: events.counters.hanging == 0)
            assert hanging(server) == []
    finally:
        service.let_go.set()
    until(lambda: server.loop.wheel.due == float("inf"))


def later(server: Server) -> Hanging:
    """The one that hangs, as it is seen after some looks."""
    first = hanging(server)[0].seconds
    until(lambda: hanging(server)[0].seconds > first + 0.1)
    return hanging(server)[0]


class Reads:
    """Waits for its client in each of the ways of a socket."""

    def __init__(self, read: Callable[[socket.socket], object]) -> None:
        self._read = read

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"x")
        self._read(request)


@pytest.mark.parametrize(
    "read",
    [
        lambda request: request.recv(10),
        lambda request: request.recv_into(bytearray(10)),
        lambda request: request.makefile("rb").readline(),
        lambda request: (request.settimeout(5), request.recv(10)),
        lambda request: request.send(bytes(2**26)),
        lambda request: request.sendall(bytes(2**26)),
    ],
    ids=["recv", "recv_into", "makefile", "settimeout", "send", "sendall"],
)
@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
def test_handler_that_waits_for_its_client_does_not_hang(
    server: Server, log: Log, read: Callable[[socket.socket], object], preambles: Preambles
) -> None:
    with asked(server, Reads(read), preambles) as (events, _):
        until(is_waiting)
        soon()
        looks = count_looks(server)
        until(lambda: looks() > 20)
        assert (events.counters.active, events.counters.hanging, hanging(server)) == (1, 0, [])
        handler_watch.HANGS = 60.0  # its end may take a moment
    until(lambda: ended(events, 1) and not events.counters.threads)
    assert not [line for line in log if line["event"] == "handler_stalled"]


def test_coroutine_that_waits_does_not_hang(server: Server, log: Log) -> None:
    class Idle:
        async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
            await reader.read()

    with asked(server, Idle()) as (events, _):
        looks, watch = count_looks(server), watch_of(server.loop)
        until(lambda: looks() > 2)
        until(lambda: watch._beside is None)  # its loop has answered
        assert (events.counters.active, events.counters.hanging) == (1, 0)
    until(lambda: ended(events, 1))


def test_handler_that_answers_again_and_again_does_not_hang(server: Server, log: Log) -> None:
    class Busy:
        def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
            while request.recv(10):
                request.sendall(b"x")
                assert let_go.wait(20)
                let_go.clear()

    let_go = threading.Event()
    address, events = server.add(Busy(), "tcp://127.0.0.1:0")
    watch, begun = watch_of(server.loop), time.monotonic()
    with connect(address) as client:
        for _ in range(3):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            # The time begins anew with each answer.
            until(lambda begun=begun: [one for one in watch._running.values() if one.since > begun])  # type: ignore[misc]
            begun = time.monotonic()
            let_go.set()
    until(lambda: not events.counters.threads)


@pytest.mark.parametrize("number", [1, 20, 60, 210])
def test_switch_interval_is_longer_while_many_handlers_run(server: Server, number: int) -> None:
    address, events = server.add(
        Reads(lambda request: request.recv(10)), "tcp://127.0.0.1:0", policy={"limits": {"threads": number}}
    )
    before = sys.getswitchinterval()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(number):
                stack.enter_context(connect(address))
            expected = min(0.02, max(0.0005, 0.0001 * number))
            until(lambda: sys.getswitchinterval() == pytest.approx(expected, abs=2e-6))
        until(lambda: ended(events, number))
        until(lambda: sys.getswitchinterval() == pytest.approx(0.0005, abs=2e-6))
    finally:
        sys.setswitchinterval(before)


def count_looks(server: Server) -> Callable[[], int]:
    """How often handlers were looked at since this call."""
    watch = watch_of(server.loop)
    number = [0]
    seen: list[Any] = [None]

    def count() -> int:
        if watch.hanging is not seen[0]:
            seen[0] = watch.hanging
            number[0] += 1
        return number[0]

    return count
