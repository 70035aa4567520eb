"""Names and ports for sockets, and reading from one."""

import contextlib
import os
import socket

ABSTRACT = f"@netd-test-{os.getpid()}"  # the name of a UNIX socket, unique to this run of the tests


def read_all(connection: socket.socket) -> bytes:
    """Read until the end of file."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(connection: socket.socket, number: int) -> bytes:
    """Read so many octets, or fewer at the end of file."""
    data = b""
    while len(data) < number and (piece := connection.recv(number - len(data))):
        data += piece
    return data


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port on loopback on which no socket listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_ipv6() -> bool:
    """Whether this host has an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False
