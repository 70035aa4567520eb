"""A handler of socketserver as people write one, which netd and `stock.py` serve."""

import socketserver


class Echo(socketserver.StreamRequestHandler):
    """Echoes lines until the peer closes."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)
