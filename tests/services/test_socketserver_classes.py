"""Classes of socketserver as services: refused with what would fit, or served."""

import http.server
import socketserver
import xmlrpc.server

import pytest

from netd.services.service_type import DeclarationError, ServiceType
from netd.services.socketserver_classes import why_no_handler, why_no_service
from tests.transport.sample_services import Shout


class Indexing(socketserver.BaseRequestHandler):
    """The handler of datagrams in the documentation of Python."""

    def handle(self) -> None:
        data = self.request[0].strip()
        socket = self.request[1]
        socket.sendto(data.upper(), self.client_address)


class Unpacking(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, socket = self.request
        socket.sendto(data, self.client_address)


class Datagram(socketserver.DatagramRequestHandler):
    pass


class Stream(socketserver.BaseRequestHandler):
    """The handler of streams in the documentation of Python."""

    def handle(self) -> None:
        data = self.request.recv(1024).strip()
        self.first = data[0], self.client_address[0]
        self.request.sendall(data.upper())


def function(request: object, client_address: object, server: object) -> None: ...


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (
            Indexing,
            "'Indexing' takes (data, socket) as its request, but a handler serves streams; answer datagrams with",
        ),
        (Unpacking, "'Unpacking' takes (data, socket) as its request, but a handler serves streams; answer datagrams"),
        (Datagram, "'Datagram' is a DatagramRequestHandler, but a handler serves streams; answer datagrams with"),
    ],
)
def test_handler_of_datagrams_is_refused_by_its_name(handler: type, reason: str) -> None:
    for service in (handler, type("Service", (), {"handler": handler})):
        with pytest.raises(DeclarationError) as caught:
            ServiceType.of(service)
        assert caught.value.faults.startswith(reason)


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (Stream, "a request handler is no service; put it into a class of its own: handler = Stream"),
        (function, "a function is no service; give a class one of the methods stream, datagram and handler"),
        (print, "a function is no service"),
        (socketserver.ThreadingTCPServer, "a server of socketserver is no service, since netd has its own"),
    ],
)
def test_object_that_is_no_service_is_refused_with_what_would_fit(service: object, reason: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        ServiceType.of(service)
    assert caught.value.faults.startswith(reason)


@pytest.mark.parametrize(
    "handler",
    [
        Stream,
        Shout,
        socketserver.StreamRequestHandler,
        http.server.BaseHTTPRequestHandler,
        http.server.SimpleHTTPRequestHandler,
        xmlrpc.server.SimpleXMLRPCRequestHandler,
        type("Sourceless", (socketserver.BaseRequestHandler,), {}),
        function,
        None,
    ],
)
def test_handler_of_streams_is_served(handler: object) -> None:
    assert why_no_handler(handler) == ""
    assert why_no_service(type("Service", (), {"handler": handler})) == ""
