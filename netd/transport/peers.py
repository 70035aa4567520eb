"""Where a `Peer` is made, from what the kernel gives for an address."""

import socket
import struct
from typing import Any

from netd.conversation import Credentials, Peer, Transport

_MAPPED = "::ffff:"
_UCRED = struct.Struct("iII")


def inet_peer(transport: Transport, remote: Any, local: Any) -> Peer:
    """A peer from two socket addresses of IPv4 or IPv6; an IPv4 address mapped into IPv6 is IPv4."""
    return Peer(transport, plain_host(remote[0]), remote[1], plain_host(local[0]), local[1])


def plain_host(host: str) -> str:
    """The address without the form it takes on a socket of both families (RFC 4291, 2.5.5.2)."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def unix_peer(transport: Transport, remote: Any, local: Any, connection: socket.socket | None = None) -> Peer:
    """A peer from two UNIX socket addresses, with the credentials of a connection's other end."""
    credentials = None
    if connection is not None:
        ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        credentials = Credentials(*_UCRED.unpack(ucred))
    return Peer(transport, path_text(remote), 0, path_text(local), 0, credentials)


def path_text(address: Any) -> str:
    """A UNIX socket address as text: a path, ``@NAME`` for an abstract one, empty for none."""
    if isinstance(address, bytes):
        return address.decode("utf-8", "backslashreplace").replace("\0", "@", 1)
    return str(address or "")
