"""Sockets of a known port, which datagrams come from."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def bound(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        sock.settimeout(20)
        yield sock
