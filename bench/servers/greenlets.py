"""An echo over gevent, a greenlet for each connection. ``greenlets.py tcp|udp PORT``."""

import socket
import sys

from gevent.server import DatagramServer, StreamServer


def echo(connection: socket.socket, address: object) -> None:
    """Echo until the peer closes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := connection.recv(65536):
            connection.sendall(data)
    except ConnectionResetError:
        pass  # the load ends its connections with a reset
    finally:
        connection.close()


class Datagrams(DatagramServer):  # type: ignore[misc]  # gevent has no types
    """Echoes each datagram."""

    def handle(self, data: bytes, address: object) -> None:
        self.socket.sendto(data, address)


if __name__ == "__main__":
    place = ("127.0.0.1", int(sys.argv[2]))
    server = StreamServer(place, echo, backlog=1024) if sys.argv[1] == "tcp" else Datagrams(place)
    server.serve_forever()
