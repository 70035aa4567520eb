"""A socket that a service listens on, opened here or inherited: its transport, its URL, its file, and its end."""

import os
import socket
from dataclasses import dataclass

from netd import paths
from netd.addresses import address_text, unmap_host
from netd.endpoints import Endpoint
from netd.peer import Transport
from netd.transport.sockaddr import path_text


@dataclass
class Listener:
    """An open socket of a service."""

    service: str
    endpoint: Endpoint
    socket: socket.socket
    file: paths.SocketFile | None = None
    """The socket file that was made, if it has a path."""
    kept: str = ""
    """The name under which it is stored with the service manager for the next start; empty: it is not."""

    @property
    def streams(self) -> bool:
        """Whether it accepts connections, rather than receives datagrams."""
        return self.socket.type == socket.SOCK_STREAM

    @property
    def transport(self) -> Transport:
        """The transport of the socket, also where the endpoint names a socket of the service manager."""
        return transport_of(self.socket)

    @property
    def url(self) -> str:
        """The URL that it listens on, with the address and port that the kernel chose."""
        transport, _, place = socket_url(self.socket).partition("://")
        if self.endpoint.host == "*":
            place = f"*:{place.rpartition(':')[2]}"
        return f"{'tls' if self.endpoint.transport == 'tls' else transport}://{place}"

    @property
    def has_lost_file(self) -> bool:
        """Whether it has a path, and no file is there any more."""
        return self.file is not None and not os.path.lexists(self.endpoint.path)

    def close(self, *, keep_path: bool = False) -> None:
        """Close the socket, and remove its file if the path still leads to the one that was made."""
        self.socket.close()
        if self.file:
            self.file.close(keep=keep_path)
            self.file = None


def transport_of(opened: socket.socket) -> Transport:
    """The transport of a socket."""
    streams = opened.type == socket.SOCK_STREAM
    if opened.family == socket.AF_UNIX:
        return "unix" if streams else "unixgram"
    return "tcp" if streams else "udp"


def socket_url(opened: socket.socket) -> str:
    """The URL of the address that a socket is bound to."""
    address = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        place = path_text(address)
    elif address[0] == "::" and not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        place = address_text("*", address[1])
    else:
        place = address_text(unmap_host(address[0]), address[1])
    return f"{transport_of(opened)}://{place}"
