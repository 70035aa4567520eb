"""Request handlers run as socketserver runs them, whichever their `wfile` is."""

import abc
import io
import socket
import socketserver
from collections.abc import Callable
from typing import Any

import pytest

from netd.services.python.request_handlers import caller_of
from tests.support.code import load_attributed

Calls = list[Any]


class Mixin:
    """Any other class."""


class Written(io.BufferedIOBase):
    """The `wfile` of a socket that has one."""

    def __init__(self, request: socket.socket) -> None:
        self._request = request

    def write(self, data: Any) -> int:
        self._request.sendall(bytes(data).upper())
        return len(data)


class WithWriter(socket.socket):
    """A socket that has a `wfile` of its own."""

    def writer(self) -> Written:
        return Written(self)


class Echo(socketserver.StreamRequestHandler):
    """Answers a line, and notes what is called."""

    server: Any

    def setup(self) -> None:
        super().setup()
        self.server.append("setup")

    def handle(self) -> None:
        self.server.append((self.client_address, self.rfile.readline()))
        self.wfile.write(b"answer")

    def finish(self) -> None:
        super().finish()
        self.server.append(("finish", self.wfile.closed, self.rfile.closed))


class FailsInSetup(Echo):
    def setup(self) -> None:
        super().setup()
        raise LookupError("setup")


class FailsInHandle(Echo):
    def handle(self) -> None:
        raise LookupError("handle")


class FailsInFinish(Echo):
    def finish(self) -> None:
        super().finish()
        raise LookupError("finish")


class Bare(socketserver.StreamRequestHandler):
    """Has neither `rfile` nor `wfile`."""

    def setup(self) -> None: ...

    def handle(self) -> None:
        self.server.append(self.request.recv(100))  # type: ignore[attr-defined]
        self.request.sendall(b"ANSWER")

    def finish(self) -> None: ...


class Plain(socketserver.BaseRequestHandler):
    """A handler without files."""

    handle = Bare.handle


class Buffered(Echo):
    """Writes to a file that collects what it is given."""

    wbufsize = -1


class Wraps(Echo):
    """Serves another socket than that which it was given."""

    def setup(self) -> None:
        self.given, self.request = self.request, self.request.dup()
        super().setup()
        self.request = self.given

    def finish(self) -> None:
        super().finish()
        self.connection.close()


class Refined(Echo):
    """Has a `wfile` that inherits from that of socketserver."""

    def setup(self) -> None:
        super().setup()
        self.wfile = type("Writer", (type(self.wfile),), {})(self.request)


class Mixed(Echo, Mixin):
    """Inherits from another class too, which comes after BaseRequestHandler."""


class Built(Echo):
    """Has a constructor of its own."""

    def __init__(self, *arguments: Any) -> None:
        arguments[2].append("built")
        super().__init__(*arguments)


class Made(Echo):
    """Is made in a way of its own."""

    def __new__(cls, *arguments: Any) -> "Made":
        arguments[2].append("made")
        return super().__new__(cls)


class Abstract(Echo, metaclass=abc.ABCMeta):
    """Has a metaclass."""


def function(request: socket.socket, client_address: Any, server: Calls) -> None:
    server.append((client_address, request.recv(100)))
    request.sendall(b"ANSWER")


def served(call: Callable[..., object], kind: type[socket.socket]) -> tuple[Calls, bytes]:
    """What a handler does with a line, and what it answers."""
    ours, theirs = socket.socketpair()
    calls: Calls = []
    with ours, kind(fileno=theirs.detach()) as request:
        ours.sendall(b"line\n")
        try:
            call(request, ("192.0.2.1", 7), calls)
        except LookupError as error:
            calls.append(repr(error))
        request.shutdown(socket.SHUT_RDWR)
        return calls, ours.recv(100)


HANDLERS = [Echo, FailsInSetup, FailsInHandle, FailsInFinish, Buffered, Wraps, Refined, Mixed, Built, Made, Abstract]


@pytest.mark.parametrize("handler", [*HANDLERS, Bare, Plain, function])
def test_handler_is_called_as_socketserver_calls_it(handler: Any) -> None:
    assert served(caller_of(handler), socket.socket) == served(handler, socket.socket)


@pytest.mark.parametrize("handler", [Echo, FailsInFinish, Mixed])
def test_wfile_is_that_of_the_socket(handler: Any) -> None:
    calls, answer = served(caller_of(handler), WithWriter)
    assert answer == b"ANSWER"
    assert calls[:3] == ["setup", (("192.0.2.1", 7), b"line\n"), ("finish", True, True)]


def test_handler_of_a_file_has_the_wfile_of_its_socket() -> None:
    text = "import socketserver\nclass Answer(socketserver.StreamRequestHandler):\n"
    _, service = load_attributed(
        "/none/answer.py", "Answer", text + "    def handle(self): self.wfile.write(b'answer')\n"
    )
    assert served(service.handler, WithWriter) == ([], b"ANSWER")


@pytest.mark.parametrize("handler", [Buffered, Wraps, Refined, Built, Made, Abstract])
def test_unusual_handler_keeps_its_own_wfile(handler: Any) -> None:
    assert served(caller_of(handler), WithWriter) == served(handler, socket.socket)
    assert served(handler, socket.socket)[1] == b"answer"
