"""Links to names with several addresses."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from netd.client.talk.link import Link, dial
from netd.errors import UnreachableError

Address = tuple[socket.AddressFamily, tuple[str, int]]

# A family without support in the kernel, like IPv6 on some hosts.
UNKNOWN: Address = (socket.AF_APPLETALK, ("192.0.2.1", 7))


def open_socket(kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(20)
    return opened


def closed(kind: socket.SocketKind) -> Address:
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


def test_connection_goes_to_the_first_address_that_accepts_it(listener: socket.socket) -> None:
    kind = socket.SOCK_STREAM
    link = dial("tcp://name:7", kind, [UNKNOWN, closed(kind), (socket.AF_INET, listener.getsockname()), closed(kind)])
    assert link.address == f"127.0.0.1:{listener.getsockname()[1]}"
    listener.accept()[0].close()
    link.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_error_names_every_address_that_failed(kind: socket.SocketKind) -> None:
    first, second = closed(kind), closed(kind)

    async def ask(link: Link) -> None:
        await link.send(b"hello\n")
        await link.receive()

    with pytest.raises(UnreachableError) as caught:
        link = dial("x://name:7", kind, [UNKNOWN, first, second])
        try:
            asyncio.run(asyncio.wait_for(ask(link), 20))
        finally:
            link.close()
    refused = ", ".join(f"127.0.0.1:{address[1]} (Connection refused)" for _, address in (first, second))
    assert caught.value.problems == (f"x://name:7: 192.0.2.1:7 (Address family not supported by protocol), {refused}",)


def test_refused_datagrams_go_to_the_next_address(receiver: socket.socket) -> None:
    kind = socket.SOCK_DGRAM
    here = (socket.AF_INET, receiver.getsockname())

    async def talk(link: Link) -> None:
        receiving = asyncio.create_task(link.receive())
        for number in range(100):
            await link.send(b"%d" % number)
        loop = asyncio.get_running_loop()
        for number in range(100):
            assert await loop.run_in_executor(None, receiver.recv, 100) == b"%d" % number
        # This address answers, so the link stays with it.
        link_address = link._socket.getsockname()  # type: ignore[attr-defined]
        receiver.sendto(b"", link_address)
        assert await receiving == b""
        receiver.close()
        await link.send(b"still there?")
        with pytest.raises(UnreachableError) as caught:
            await link.receive()
        assert caught.value.problems == (f"udp://name:7: {link.address} (Connection refused)",)

    link = dial("udp://name:7", kind, [closed(kind), here, closed(kind)])
    try:
        asyncio.run(asyncio.wait_for(talk(link), 20))
    finally:
        link.close()


def test_refusal_reported_by_a_send_is_not_lost(receiver: socket.socket) -> None:
    kind = socket.SOCK_DGRAM

    async def talk(link: Link) -> None:
        for word in (b"one", b"two", b"three"):
            await link.send(word)  # the second and the third fail with the refusal of the one before
        receiving = asyncio.create_task(link.receive())
        loop = asyncio.get_running_loop()
        for word in (b"one", b"two", b"three"):
            assert await loop.run_in_executor(None, receiver.recv, 100) == word
        receiving.cancel()

    link = dial("udp://name:7", kind, [closed(kind), (socket.AF_INET, receiver.getsockname())])
    try:
        asyncio.run(asyncio.wait_for(talk(link), 20))
    finally:
        link.close()
