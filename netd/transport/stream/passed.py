"""Servers for connections that another service passes on, as `tcpmux` does."""

import contextlib
import socket
from typing import Any

from netd.admission.control import Ticket
from netd.peer import Peer
from netd.services.service_type import ServiceType
from netd.transport.stream.server import KERNEL_DEFAULTS, StreamServer
from netd.transport.stream.stream_socket import StreamSocket


class PassedServer(StreamServer):
    """Serves connections of a listener that another server accepts, and passes on (`Target` in `tcpmux.py`)."""

    accepts = False

    def _set_options(self, listener: socket.socket, kind: ServiceType, service: Any, idle: float | None) -> None:
        """Set nothing on the listener, which is that of another service, but on each connection."""
        if listener.family != socket.AF_UNIX:
            is_bare = kind.serving == "program" and not service.relay
            self._options = KERNEL_DEFAULTS if is_bare else self._options_for(idle)

    @property
    def is_plain(self) -> bool:
        policy = self.connections.policy.tcpmux
        return policy is not None and policy.plain

    def admit_passed(self, stream: StreamSocket, peer: Peer) -> Ticket | None:
        return self.connections.admit_passed(stream, peer)

    def release_ticket(self, ticket: Ticket) -> None:
        self.connections.release_ticket(ticket)

    def adopt(self, stream: StreamSocket, peer: Peer, client_address: Any, ticket: Ticket) -> None:
        if isinstance(stream, socket.SocketType):
            for option in self._options:
                with contextlib.suppress(OSError):  # MPTCP lacks some (protocol 262)
                    stream.setsockopt(*option)
        self.connections.serve_peer(stream, peer, client_address, ticket)

    def start(self) -> None:
        """Nothing to do: it accepts no connections."""

    def _close_listener(self) -> None:
        """Nothing to do: the socket is that of another server."""
