"""What netd makes of the classes and functions of a file, and what it says of those that it cannot serve."""

import asyncio
import functools
import http.server
import re
import socketserver
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.services.python.handlers import AnswerSocket, service_of
from netd.services.service_type import ServiceType
from netd.testing import PEER, UDP_PEER

UNIX_PEER = Peer("unixgram", "/run/client")


class Service:
    def stream(self, peer: Peer) -> Conversation:
        yield b""


class Upper(socketserver.BaseRequestHandler):
    """Sends it back in upper case."""

    def handle(self) -> None:
        self.request.sendall(self.request.recv(1024).upper())


class Lines(socketserver.StreamRequestHandler):
    pass


class Page(http.server.SimpleHTTPRequestHandler):
    pass


def function(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"x")


class FunctionWithDefault:
    def __call__(self, request: Any, client_address: Any, server: Any, more: int = 0) -> None:
        pass


class UpperDatagram(socketserver.BaseRequestHandler):
    """As in the documentation of Python."""

    def handle(self) -> None:
        data = self.request[0].strip()
        socket = self.request[1]
        socket.sendto(data.upper(), self.client_address)


class Inherited(UpperDatagram):
    pass


class Doubled(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read() * 2)


def unpacking(request: Any, client_address: Any, server: Any) -> None:
    data, socket = request
    socket.sendto(data + str(server.server_address).encode(), 0, client_address)


def kind(found: object) -> ServiceType:
    return ServiceType.of(service_of(found))


@pytest.mark.parametrize("handler", [Upper, Lines, function, functools.partial(function), FunctionWithDefault()])
def test_handler_of_streams_takes_a_thread(handler: Any) -> None:
    found = kind(handler)
    assert (found.serving, found.datagrams) == ("thread", None)
    assert not found.client_speaks_first
    assert found.build(found.options(), Context()).handler is handler


class LoggedPage(Page):
    def log_message(self, format: str, *arguments: object) -> None:
        """Keeps its own."""


def test_handler_of_http_waits_for_its_client_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for handler in (Page, LoggedPage):
        found = kind(handler)
        assert (found.serving, found.client_speaks_first) == ("thread", True)
        served = found.build(found.options(), Context()).handler
        assert issubclass(served, handler)
        assert (served is handler) == (handler is LoggedPage)
        served.log_message(None, "%s", "a request")
    assert capfd.readouterr() == ("", "")


def test_handler_has_its_name_and_says_what_it_does() -> None:
    assert (kind(Upper).name, kind(Upper).summary) == ("Upper", "Sends it back in upper case.")
    assert kind(function).name == "function"


def test_service_of_netd_is_itself() -> None:
    assert service_of(Service) is Service


@pytest.mark.parametrize(
    ("handler", "peer", "answer"),
    [
        (UpperDatagram, UDP_PEER, b"AB C"),
        (Inherited, UNIX_PEER, b"AB C"),
        (Doubled, UDP_PEER, b" ab c\n ab c\n"),
        (unpacking, UDP_PEER, b" ab c\n('192.0.2.1', 7)"),
    ],
)
def test_handler_of_datagrams_answers_as_a_service_does(handler: Any, peer: Peer, answer: bytes) -> None:
    found = kind(handler)
    assert (found.serving, found.datagrams) == (None, "thread")
    assert found.build(found.options(), Context()).datagram(b" ab c\n", peer) == answer


def test_handler_that_writes_nothing_sends_no_answer() -> None:
    assert kind(Doubled).build(None, Context()).datagram(b"", UDP_PEER) is None


def test_socket_of_a_handler_answers_its_client_alone_and_once() -> None:
    stand_in = AnswerSocket((PEER.host, PEER.port))
    with pytest.raises(ValueError, match=r"netd answers the client \('192.0.2.7', 5353\) alone, not"):
        stand_in.sendto(b"x", ("192.0.2.8", 5353))
    assert stand_in.sendto(b"", (PEER.host, PEER.port)) == 0
    assert stand_in.sendto(bytearray(b"x"), (PEER.host, PEER.port, 0, 0)) == 1
    with pytest.raises(ValueError, match="one answer to a datagram"):
        stand_in.sendto(b"y", (PEER.host, PEER.port))
    assert stand_in.answer == b"x"
    with pytest.raises(AttributeError, match="has sendto alone, and no 'connect'"):
        stand_in.connect(("192.0.2.8", 1))


class Nothing:
    pass


async def async_function(reader: Any, writer: Any) -> None:
    pass


async def async_datagrams(data: bytes) -> None:
    pass


async def async_generator(reader: Any, writer: Any) -> AsyncIterator[bytes]:
    yield b""


class AsyncHandle(socketserver.BaseRequestHandler):
    async def handle(self) -> None:  # type: ignore[override]
        pass


class AsyncCall:
    async def __call__(self, reader: Any, writer: Any) -> None:
        pass


@pytest.mark.parametrize("handler", [async_function, functools.partial(async_function), AsyncCall()])
def test_async_function_is_served_in_asyncio(handler: Any) -> None:
    found = kind(handler)
    assert (found.serving, found.datagrams, found.blocks, found.converses) == ("asyncio", None, False, False)
    assert found.build(found.options(), Context()).handler is handler


def generator(peer: Peer) -> Iterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Nothing, "it has neither stream nor datagram; netd serves a class with stream(self, peer)"),
        (socketserver.ThreadingTCPServer, "it is a server of socketserver, and netd has its own; name its request"),
        (asyncio.Protocol, "it is a protocol of asyncio, which netd does not run; netd serves a class with"),
        (async_datagrams, "it is an async function, and cannot be called with (reader, writer); netd serves a class"),
        (async_generator, "it is an async generator; netd serves a class"),
        (AsyncHandle, "'AsyncHandle.handle' is an async function, which socketserver calls as a plain one; name an"),
        (generator, "it is a generator; make it the method stream(self, peer) of a class, and name that"),
        (lambda data: None, "it cannot be called with (request, client_address, server); netd serves a class"),
        (len, "it cannot be called with (request, client_address, server); netd serves a class"),
        (3, "it is no class and no function, but int; netd serves a class"),
    ],
)
def test_object_that_does_not_fit_is_told_with_those_that_would(found: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        service_of(found)
