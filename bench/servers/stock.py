"""An echo over stock socketserver, as its documentation shows it. ``stock.py tcp|udp|handler PORT``."""

import socketserver
import sys

from handler import Echo  # type: ignore[import-not-found]  # beside this file


class Stream(socketserver.BaseRequestHandler):
    """Echoes until the peer closes."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Datagram(socketserver.BaseRequestHandler):
    """Echoes one datagram."""

    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data, self.client_address)


class StreamServer(socketserver.ThreadingTCPServer):
    """With the settings of any deployment."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback: the load resets its connections, and a traceback for each would be in the figures."""


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[2]))
    if sys.argv[1] in ("tcp", "handler"):
        StreamServer(address, Stream if sys.argv[1] == "tcp" else Echo).serve_forever()
    else:
        socketserver.ThreadingUDPServer(address, Datagram).serve_forever()
