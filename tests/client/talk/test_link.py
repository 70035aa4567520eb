"""Lines to names that have several addresses."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from netd.client.talk.link import Link, dial
from netd.errors import UnreachableError

Place = tuple[socket.AddressFamily, tuple[str, int]]

# A family that the kernel has no sockets for, as IPv6 is on some hosts.
UNKNOWN: Place = (socket.AF_APPLETALK, ("192.0.2.1", 7))


def open_socket(kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(20)
    return opened


def closed(kind: socket.SocketKind) -> Place:
    with open_socket(kind) as probe:
        return socket.AF_INET, probe.getsockname()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with open_socket(socket.SOCK_STREAM) as opened:
        opened.listen()
        yield opened


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with open_socket(socket.SOCK_DGRAM) as opened:
        yield opened


def test_a_connection_goes_to_the_first_address_that_takes_it(listener: socket.socket) -> None:
    kind = socket.SOCK_STREAM
    line = dial("tcp://name:7", kind, [UNKNOWN, closed(kind), (socket.AF_INET, listener.getsockname()), closed(kind)])
    assert line.where == f"127.0.0.1:{listener.getsockname()[1]}"
    listener.accept()[0].close()
    line.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_every_address_that_failed_is_told(kind: socket.SocketKind) -> None:
    first, second = closed(kind), closed(kind)

    async def ask(line: Link) -> None:
        await line.send(b"hello\n")
        await line.receive()

    with pytest.raises(UnreachableError) as caught:
        line = dial("x://name:7", kind, [UNKNOWN, first, second])
        try:
            asyncio.run(asyncio.wait_for(ask(line), 20))
        finally:
            line.close()
    refused = ", ".join(f"127.0.0.1:{address[1]} (Connection refused)" for _, address in (first, second))
    assert caught.value.problems == (f"x://name:7: 192.0.2.1:7 (Address family not supported by protocol), {refused}",)


def test_datagrams_that_one_address_refuses_go_to_the_next(receiver: socket.socket) -> None:
    kind = socket.SOCK_DGRAM
    here = (socket.AF_INET, receiver.getsockname())

    async def talk(line: Link) -> None:
        hearing = asyncio.create_task(line.receive())
        for number in range(100):
            await line.send(b"%d" % number)
        loop = asyncio.get_running_loop()
        for number in range(100):
            assert await loop.run_in_executor(None, receiver.recv, 100) == b"%d" % number
        # It answers, so the talk stays with it, whatever comes.
        line_address = line._socket.getsockname()  # type: ignore[attr-defined]
        receiver.sendto(b"", line_address)
        assert await hearing == b""
        receiver.close()
        await line.send(b"still there?")
        with pytest.raises(UnreachableError) as caught:
            await line.receive()
        assert caught.value.problems == (f"udp://name:7: {line.where} (Connection refused)",)

    line = dial("udp://name:7", kind, [closed(kind), here, closed(kind)])
    try:
        asyncio.run(asyncio.wait_for(talk(line), 20))
    finally:
        line.close()


def test_a_refusal_that_a_send_is_told_of_is_not_lost(receiver: socket.socket) -> None:
    kind = socket.SOCK_DGRAM

    async def talk(line: Link) -> None:
        for word in (b"one", b"two", b"three"):
            await line.send(word)  # the second and the third are told that the one before was refused
        hearing = asyncio.create_task(line.receive())
        loop = asyncio.get_running_loop()
        for word in (b"one", b"two", b"three"):
            assert await loop.run_in_executor(None, receiver.recv, 100) == word
        hearing.cancel()

    line = dial("udp://name:7", kind, [closed(kind), (socket.AF_INET, receiver.getsockname())])
    try:
        asyncio.run(asyncio.wait_for(talk(line), 20))
    finally:
        line.close()
