"""Names and ports for sockets, and reading from one."""

import contextlib
import os
import secrets
import socket
from pathlib import Path

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


def most_held() -> int:
    """Octets that a connection, one to its target and this process may hold at most (tcp(7))."""
    largest = [int(Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text().split()[2]) for name in ("rmem", "wmem")]
    return 4 * sum(largest) + 2**20


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port on loopback on which no socket listens.

    It is below those that the kernel chooses from (ip(7)): no socket of a test beside this one gets it meanwhile.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = secrets.choice(range(low // 2, low))
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as probe:
            probe.bind(("127.0.0.1", port))
            return port


def has_ipv6() -> bool:
    """Whether this host has an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False
