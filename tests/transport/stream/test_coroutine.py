"""Handlers of `asyncio` on real sockets: what they get, and how each connection ends."""

import asyncio
import socket
import threading
import traceback
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Conversation
from netd.peer import Peer
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream import asyncio_loop
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended, failed
from tests.transport.stream.toy_preambles import NAMED, TRANSFORMED, xor

Log = list[dict[str, Any]]


class Async:
    """A service with this coroutine function as its handler."""

    def __init__(self, handle: Callable[[StreamReader, StreamWriter], Awaitable[object]]) -> None:
        self._handle = handle

    async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
        await self._handle(reader, writer)


def outcomes(events: ServiceEvents) -> dict[str, int]:
    return dict(events.counters.closed)


async def say_names(reader: StreamReader, writer: StreamWriter) -> None:
    """Says the names of both ends, as asyncio gives them, also through its socket."""
    names = [writer.get_extra_info("sockname"), writer.get_extra_info("peername")]
    given = writer.get_extra_info("socket")
    assert names == [given.getsockname(), given.getpeername()]
    writer.write(repr((await reader.readline(), *names)).encode())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "*"])
def test_handler_has_the_names_of_its_connection(server: Server, host: str) -> None:
    address, events = server.add(Async(say_names), f"tcp://[{host}]:0" if ":" in host else f"tcp://{host}:0")
    if host == "*":
        address = ("127.0.0.1", address[1])
    with connect(address) as client:
        client.sendall(b"hello\n")
        assert read_all(client) == repr((b"hello\n", client.getpeername(), client.getsockname())).encode()
    until(partial(ended, events, 1))
    assert (outcomes(events), events.counters.bytes_in) == ({"done": 1}, 6)


@pytest.mark.parametrize("has_path", [False, True])
def test_handler_has_the_path_of_a_unix_client(server: Server, tmp_path: Path, has_path: bool) -> None:
    address, _ = server.add(Async(say_names), f"unix://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as client:
        if has_path:
            client.bind(f"{tmp_path}/client")
        client.connect(address)
        client.sendall(b"\n")
        path = f"{tmp_path}/client" if has_path else ""
        assert read_all(client) == repr((b"\n", f"{tmp_path}/s", path)).encode()


def test_handler_has_the_name_that_a_proxy_has_sent(server: Server) -> None:
    address, _ = server.add(Async(say_names), "tcp://127.0.0.1:0", preambles=NAMED)
    with connect(address) as client:
        client.sendall(b"PEER 192.0.2.7 5353\n\n")
        assert b"('192.0.2.7', 5353)" in read_all(client)


def test_handler_behind_a_wrapped_stream_has_the_names_of_its_client(server: Server) -> None:
    address, _ = server.add(Async(say_names), "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    with connect(address) as client:
        client.sendall(b"XOR\n")
        assert read_exactly(client, 3) == b"OK\n"
        client.sendall(xor(b"\n"))
        assert xor(read_all(client)) == repr((b"\n", client.getpeername(), client.getsockname())).encode()


def test_handlers_of_many_connections_share_one_thread(server: Server) -> None:
    met = asyncio.Barrier(100)

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        await met.wait()
        writer.write(b"%d" % threading.get_ident())

    address, events = server.add(Async(meet), "tcp://127.0.0.1:0", per_source="off")
    clients = [connect(address) for _ in range(100)]
    assert len({read_all(client) for client in clients}) == 1
    for client in clients:
        client.close()
    until(partial(ended, events, 100))
    assert outcomes(events) == {"done": 100}


def test_writer_that_the_handler_closes_finishes_the_connection_at_once(server: Server) -> None:
    released = asyncio.Event()

    async def close(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()
        await released.wait()

    address, events = server.add(Async(close), "tcp://127.0.0.1:0")
    with connect(address) as client:
        assert read_all(client) == b"bye"
        assert events.counters.active == 1, "its handler has not returned"
        server.loop.call(lambda: [one.close("kicked") for one in list(server.servers[0].connections)])  # type: ignore[union-attr]
    until(partial(ended, events, 1))
    assert outcomes(events) == {"kicked": 1}


class Endless:
    """A handler that waits for nothing that a client does, and tells when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"x")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.append(writer.get_extra_info("peername")[0])


@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
@pytest.mark.parametrize("limit", ["idle", "lifetime"])
def test_handler_is_cancelled_at_a_time_out(server: Server, limit: str, preambles: Preambles, log: Log) -> None:
    service = Endless()
    address, events = server.add(service, "tcp://127.0.0.1:0", policy={"limits": {limit: "200ms"}}, preambles=preambles)
    with connect(address) as client:
        client.sendall(b"XOR\n" if preambles.transforming else b"")
        read_all(client)
    until(partial(ended, events, 1))
    until(lambda: service.cancelled)
    assert (outcomes(events), service.cancelled) == ({limit: 1}, ["127.0.0.1"])
    assert not [line for line in log if line["level"] == "error"]


@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
def test_handler_is_cancelled_with_the_server_and_cleans_up(preambles: Preambles) -> None:
    service = Endless()
    with Server() as running:
        address, events = running.add(service, "tcp://127.0.0.1:0", preambles=preambles)
        client = connect(address)
        client.sendall(b"XOR\n" if preambles.transforming else b"")
        read_exactly(client, 4 if preambles.transforming else 1)
    client.close()
    assert service.cancelled == ["127.0.0.1"]
    assert outcomes(events) == {"stopped": 1}
    assert events.counters.active == 0


def test_close_does_not_wait_long_for_handlers_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_loop, "_GRACE", 0.1)
    released = threading.Event()

    async def block(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"x")
        await writer.drain()
        released.wait(20)

    with Server() as running:
        address, events = running.add(Async(block), "tcp://127.0.0.1:0")
        client = connect(address)
        read_exactly(client, 1)
    client.close()
    assert not released.is_set()
    assert outcomes(events) == {"stopped": 1}
    released.set()


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit(3), FileNotFoundError("no file")])
@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
def test_bug_in_a_handler_costs_one_connection_and_is_one_event(
    server: Server, log: Log, error: BaseException, preambles: Preambles
) -> None:
    async def fail(reader: StreamReader, writer: StreamWriter) -> None:
        if await reader.read(4) == b"fail":
            raise error

    address, events = server.add(Async(fail), "tcp://127.0.0.1:0", preambles=preambles)
    for words in (b"fail", b"fail", b"well"):
        with connect(address) as client:
            if preambles.transforming:
                client.sendall(b"XOR\n")
                read_exactly(client, 3)
            client.sendall(xor(words) if preambles.transforming else words)
            assert client.recv(1) == b""
    until(partial(ended, events, 3))
    assert outcomes(events) == {"failed": 2, "done": 1}
    [line] = [line for line in log if line["level"] == "error"]
    assert (line["event"], line["number"]) == ("conversation_failed", 1)
    assert traceback.extract_tb(line["exc_info"].__traceback__)[-1].name == "fail"


def test_bug_in_a_task_of_a_handler_is_one_event_of_its_service(server: Server, log: Log) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("oops")

    async def begin(reader: StreamReader, writer: StreamWriter) -> None:
        asyncio.create_task(fail())  # noqa: RUF006  # as in many a program
        writer.write(await reader.readline())

    address, events = server.add(Async(begin), "tcp://127.0.0.1:0")
    for _ in range(2):
        with connect(address) as client:
            client.sendall(b"x\n")
            assert read_all(client) == b"x\n"
    until(partial(ended, events, 2))
    until(lambda: failed(events, 2))
    assert [line["event"] for line in log if line["level"] == "error"] == ["conversation_failed"]


def test_bug_in_a_callback_of_a_handler_is_one_event_of_its_service(server: Server, log: Log) -> None:
    async def begin(reader: StreamReader, writer: StreamWriter) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        writer.write(await reader.readline())

    address, events = server.add(Async(begin), "tcp://127.0.0.1:0")
    for _ in range(2):
        with connect(address) as client:
            client.sendall(b"x\n")
            assert read_all(client) == b"x\n"
    until(partial(ended, events, 2))
    until(lambda: failed(events, 2))
    assert [line["event"] for line in log if line["level"] == "error"] == ["conversation_failed"]


def test_exit_of_a_task_of_a_handler_ends_no_other(server: Server) -> None:
    async def fail() -> None:
        raise SystemExit(3)

    async def begin(reader: StreamReader, writer: StreamWriter) -> None:
        await asyncio.wait([asyncio.create_task(fail())])
        writer.write(await reader.readline())

    address, events = server.add(Async(begin), "tcp://127.0.0.1:0")
    for _ in range(2):
        with connect(address) as client:
            client.sendall(b"x\n")
            assert read_all(client) == b"x\n"
    until(partial(ended, events, 2))
    assert outcomes(events) == {"done": 2}


@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
def test_client_that_leaves_in_the_middle_of_a_message_is_no_bug(
    server: Server, log: Log, preambles: Preambles
) -> None:
    async def read(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readexactly(10)

    address, events = server.add(Async(read), "tcp://127.0.0.1:0", preambles=preambles)
    with connect(address) as client:
        if preambles.transforming:
            client.sendall(b"XOR\n")
            read_exactly(client, 3)
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    until(partial(ended, events, 1))
    assert (outcomes(events), events.counters.failed) == ({"peer_error": 1}, 0)
    assert not [line for line in log if line["level"] == "error"]


def test_coroutine_takes_no_slot_of_threads_and_leaves_others_alone(server: Server) -> None:
    class Plain:
        def stream(self, peer: Peer) -> Conversation:
            yield (yield None)

    address, _ = server.add(Endless(), "tcp://127.0.0.1:0")
    other, _ = server.add(Plain(), "tcp://127.0.0.1:0")
    with connect(address) as first, connect(other) as second:
        assert read_exactly(first, 1) == b"x"
        second.sendall(b"hello")
        assert read_all(second) == b"hello"
