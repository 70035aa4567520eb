"""Clients of the services of a daemon, on loopback."""

import contextlib
import socket
from collections.abc import Iterator

from tests.support.daemon import Daemon
from tests.support.sockets import read_all, read_exactly


@contextlib.contextmanager
def talking(place: int | str) -> Iterator[socket.socket]:
    """A connection to an echo service that was accepted, shown by one echo."""
    with socket.socket(socket.AF_INET if isinstance(place, int) else socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(("127.0.0.1", place) if isinstance(place, int) else place)
        echoed(connection, b"first\n")
        yield connection


def echoed(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    assert read_exactly(connection, len(data)).lower() == data


def refused(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def ask(port: int, data: bytes, source: str = "127.0.0.1") -> bytes:
    """Send this, and return all that the service sends until it closes."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def echoes(port: int, source: str = "127.0.0.1") -> bool:
    """Whether a connection from this address is served."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as one:
        one.sendall(b"x")
        return one.recv(1) == b"x"
    return False


def answers(port: int, source: str = "127.0.0.1") -> bool:
    """Whether a datagram from this address is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((source, 0))
        one.settimeout(20)
        one.connect(("127.0.0.1", port))
        one.send(b"x")
        with contextlib.suppress(TimeoutError):
            return one.recv(1) == b"x"
    return False


def load(running: Daemon, rounds: int) -> None:
    """In each round: a connection and a datagram of five octets to ``echo``, and a refused connection to ``closed``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(20)
        sender.connect(("127.0.0.1", running.port("echo", "udp")))
        for _ in range(rounds):
            sender.send(b"hello")
            assert sender.recv(10) == b"hello"
            with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
                connection.sendall(b"hello")
                assert read_exactly(connection, 5) == b"hello"
            with socket.create_connection(("127.0.0.1", running.port("closed"))) as connection:
                assert connection.recv(1) == b""
