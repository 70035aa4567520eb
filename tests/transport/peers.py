"""Clients of datagram servers."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from typing import Any

_numbers = itertools.count()


@contextlib.contextmanager
def client(address: Any, tmp_path: Any = None) -> Iterator[socket.socket]:
    """A connected socket, which receives answers only from the address it sends to."""
    unix = isinstance(address, str | bytes)
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if unix:
            sock.bind(f"{tmp_path}/client-{next(_numbers)}" if tmp_path else "")
        sock.settimeout(20)
        sock.connect(address)
        yield sock


def ask(address: Any, data: bytes, tmp_path: Any = None) -> bytes:
    """The answer to one datagram."""
    with client(address, tmp_path) as sock:
        sock.send(data)
        return sock.recv(65536)
