"""The loop of asyncio beside that of netd, and the gate that bounds what a connection holds."""

import asyncio
import threading
from typing import NamedTuple

from netd.peer import Peer
from netd.telemetry.service_events import ServiceEvents
from netd.testing import PEER
from netd.transport.loop import Loop
from netd.transport.stream.asyncio_loop import Gate, asyncio_of


class _Served(NamedTuple):
    peer: Peer
    events: ServiceEvents
    active: float = 0.0


class Transport:
    """Keeps the calls of a transport of asyncio."""

    def __init__(self) -> None:
        self.reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return 17


def test_gate_reads_only_while_neither_side_is_full() -> None:
    transport = Transport()
    gate = Gate(transport)
    assert gate.get_write_buffer_size() == 17
    gate.fill()
    gate.pause_reading()
    gate.resume_reading()
    assert not transport.reads, "too much waits to be sent"
    gate.drain()
    assert bool(transport.reads)
    gate.pause_reading()
    gate.fill()
    gate.drain()
    assert not bool(transport.reads), "the reader is full"
    gate.resume_reading()
    assert bool(transport.reads)


def test_loop_of_netd_has_one_of_asyncio_until_it_is_closed() -> None:
    loop = Loop()
    beside = asyncio_of(loop)
    assert asyncio_of(loop) is beside
    loop.close()
    assert beside.thread not in threading.enumerate()


def test_handler_that_is_cancelled_before_it_begins_ends() -> None:
    ends: list[BaseException | None] = []

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("it begins")

    loop = Loop()
    beside = asyncio_of(loop)
    served, let_go = _Served(PEER, ServiceEvents("test")), threading.Event()
    beside._loop.call_soon_threadsafe(let_go.wait)
    running = beside.start(never, None, served, ends.append)
    running.cancel()
    let_go.set()
    beside.finish([running])
    loop.close()
    assert (running.has_ended, ends) == (True, [None])
