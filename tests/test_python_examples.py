"""The programs that the pages of Python's socketserver, http.server and asyncio show, served by netd as they are."""

import socket
from pathlib import Path
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.services.python import loading
from netd.transport.listen import open_listeners
from tests.support.code import load
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, read_all

# Each is a whole file, with the server that it would start by itself.
TCP_SERVER = '''
import socketserver

class MyTCPHandler(socketserver.BaseRequestHandler):
    """Made once for each connection."""

    def handle(self):
        self.data = self.request.recv(1024).strip()
        print("{} wrote:".format(self.client_address[0]))
        print(self.data)
        self.request.sendall(self.data.upper())

if __name__ == "__main__":
    HOST, PORT = "localhost", 0
    with socketserver.TCPServer((HOST, PORT), MyTCPHandler) as server:
        server.serve_forever()
'''
STREAM_HANDLER = """
import socketserver

class MyTCPHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.data = self.rfile.readline(10000).rstrip()
        print(f"{self.client_address[0]} wrote:")
        print(self.data.decode("utf-8"))
        self.wfile.write(self.data.upper())
"""
UDP_SERVER = """
import socketserver

class MyUDPHandler(socketserver.BaseRequestHandler):
    def handle(self):
        data = self.request[0].strip()
        socket = self.request[1]
        print("{} wrote:".format(self.client_address[0]))
        print(data)
        socket.sendto(data.upper(), self.client_address)

if __name__ == "__main__":
    HOST, PORT = "localhost", 0
    with socketserver.UDPServer((HOST, PORT), MyUDPHandler) as server:
        server.serve_forever()
"""
DATAGRAM_HANDLER = """
import socketserver

class Doubles(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read() * 2)
"""
MIX_IN = """
import socket
import threading
import socketserver

class ThreadedTCPRequestHandler(socketserver.BaseRequestHandler):
    def handle(self):
        data = str(self.request.recv(1024), 'ascii')
        cur_thread = threading.current_thread()
        response = bytes("{}: {}".format(cur_thread.name, data), 'ascii')
        self.request.sendall(response)

class ThreadedTCPServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    pass
"""
HTTP_HANDLER = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Hello, world!")

def run(server_class=HTTPServer, handler_class=BaseHTTPRequestHandler):
    server_address = ('', 0)
    httpd = server_class(server_address, handler_class)
    httpd.serve_forever()
"""
STREAMS_ECHO = """
import asyncio

async def handle_echo(reader, writer):
    data = await reader.read(100)
    message = data.decode()
    addr = writer.get_extra_info('peername')

    print(f"Received {message!r} from {addr!r}")

    print(f"Send: {message!r}")
    writer.write(data)
    await writer.drain()

    print("Close the connection")
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(handle_echo, '127.0.0.1', 0)
    async with server:
        await server.serve_forever()

if __name__ == "__main__":
    asyncio.run(main())
"""
PROTOCOL_ECHO = """
import asyncio

class EchoServerProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()
"""
DATAGRAM_PROTOCOL = """
class EchoServerProtocol:
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)
"""
STREAMS: dict[str, tuple[str, str, bytes, bytes]] = {
    "socketserver-tcp": (TCP_SERVER, "MyTCPHandler", b"hello world\n", b"HELLO WORLD"),
    "socketserver-stream": (STREAM_HANDLER, "MyTCPHandler", b"hello world\n", b"HELLO WORLD"),
    "socketserver-threading": (MIX_IN, "ThreadedTCPRequestHandler", b"hello", b"netd-test: hello"),
    "http.server": (HTTP_HANDLER, "Hello", b"GET / HTTP/1.0\r\n\r\n", b"Hello, world!"),
    "asyncio-streams": (STREAMS_ECHO, "handle_echo", b"Hello World!", b"Hello World!"),
}
DATAGRAMS: dict[str, tuple[str, str, bytes, bytes]] = {
    "socketserver-udp": (UDP_SERVER, "MyUDPHandler", b"hello world\n", b"HELLO WORLD"),
    "socketserver-datagram": (DATAGRAM_HANDLER, "Doubles", b"x", b"xx"),
}


def serve(server: Server, place: str, name: str, text: str, url: str) -> Any:
    """The address at which a class or function of this text, or of a module, is served."""
    kind, service = load(place, name, text)
    [listener] = open_listeners([("test", Endpoint.parse(url))], lambda *skipped: None)
    server.serve(service, listener, kind=kind)
    return listener.socket.getsockname()


def converse(address: Any, sent: bytes) -> bytes:
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(sent)
        return read_all(client)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}-example"])
@pytest.mark.parametrize("example", STREAMS)
def test_example_of_a_stream_is_served(server: Server, example: str, url: str) -> None:
    text, name, sent, received = STREAMS[example]
    address = serve(server, f"/page/{example}.py", name, text, url)
    assert converse(address, sent).endswith(received)
    assert server.servers[0].events.counters.failed == 0


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", f"unixgram://{ABSTRACT}-example"])
@pytest.mark.parametrize("example", DATAGRAMS)
def test_example_of_datagrams_is_served(server: Server, example: str, url: str) -> None:
    text, name, sent, received = DATAGRAMS[example]
    address = serve(server, f"/page/{example}.py", name, text, url)
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        if family == socket.AF_UNIX:
            client.bind("")  # an abstract address, to which the answer goes
        client.sendto(sent, address)
        assert client.recv(1024) == received


def test_directory_is_served_by_the_handler_of_the_library(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.txt").write_text("a page")
    monkeypatch.chdir(tmp_path)
    address = serve(server, "http.server", "SimpleHTTPRequestHandler", "", "tcp://127.0.0.1:0")
    assert converse(address, b"GET /page.txt HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\na page")
    assert b"page.txt</a>" in converse(address, b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (PROTOCOL_ECHO, "EchoServerProtocol", "it is a protocol of asyncio, which netd does not run; netd serves "),
        (DATAGRAM_PROTOCOL, "EchoServerProtocol", "it has neither stream nor datagram; netd serves "),
        (MIX_IN, "ThreadedTCPServer", "it is a server of socketserver, and netd has its own; name its request handler"),
        (STREAMS_ECHO, "main", "it is an async function, and cannot be called with (reader, writer); netd serves "),
    ],
    ids=["protocol", "datagram-protocol", "server", "main"],
)
def test_example_that_does_not_fit_is_told_with_what_would(text: str, name: str, message: str) -> None:
    with pytest.raises(loading.UnfitError) as raised:
        loading.load(f"/page/{name}.py", name, text)
    assert str(raised.value).startswith(message)
