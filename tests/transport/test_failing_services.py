"""What a service held when it failed is released at once: its files and sockets are not left to the collector."""

import gc
import socket
import weakref
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from typing import Any

import pytest

from netd.contract import Conversation
from netd.peer import Peer
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, failed
from tests.transport.stream.toy_preambles import TRANSFORMED

held: "weakref.WeakSet[Held]" = weakref.WeakSet()


class Held:
    """A local variable of a service."""

    def __init__(self) -> None:
        held.add(self)


def fail() -> bytes:
    kept = Held()
    raise ZeroDivisionError(f"with {kept}")


class Blocking:
    """Fails in a thread."""

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        request.recv(1)
        fail()


class Coroutine:
    """Fails as a handler of asyncio."""

    async def handler(self, reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        fail()


class Generator:
    """Fails in the loop."""

    def stream(self, peer: Peer) -> Conversation:
        yield None  # what is not received when it is closed, resets the connection
        fail()


class Datagram:
    """Fails in the loop."""

    def datagram(self, data: bytes, peer: Peer) -> bytes:
        return fail()


class BlockingDatagram(Datagram):
    """Fails in a thread."""

    datagram_blocks = True


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    held.clear()
    gc.disable()
    yield
    gc.enable()


def is_released(log: list[dict[str, Any]]) -> bool:
    log.clear()  # its events hold the exceptions
    return not held


@pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["plain", "wrapped"])
@pytest.mark.parametrize("kind", [Blocking, Coroutine, Generator])
def test_failed_conversation_holds_nothing(
    server: Server, kind: type[Any], preambles: Preambles, log: list[dict[str, Any]]
) -> None:
    address, events = server.add(kind(), "tcp://127.0.0.1:0", preambles=preambles)
    with connect(address) as client:
        if preambles is TRANSFORMED:
            client.sendall(b"XOR\n")
            assert read_exactly(client, 3) == b"OK\n"
        client.sendall(b"x")
        assert read_all(client) == b""
    until(lambda: failed(events, 1))
    until(lambda: is_released(log))


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
@pytest.mark.parametrize("kind", [Datagram, BlockingDatagram])
def test_failed_datagram_holds_nothing(
    server: Server, kind: type[Any], batched: bool, log: list[dict[str, Any]]
) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", address)
        until(lambda: failed(events, 1))
    until(lambda: is_released(log))
