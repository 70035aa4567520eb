"""Letting stream connections in: what the door is asked of each, and what one that is refused gets."""

import contextlib
import socket
import struct
from typing import Any

from netd.admission.door import Door, Ticket
from netd.telemetry.counters import Refusal
from netd.telemetry.events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.peers import connection_credentials, connection_groups, octets, plain_host

_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection


class Admission:
    """Lets connections in to one service over one listener. ``unix``: peers have accounts and no addresses."""

    def __init__(self, door: Door, events: ServiceEvents, loop: Loop, *, unix: bool) -> None:
        self._door = door
        self._events = events
        self._loop = loop
        self._unix = unix

    def admit(self, request: socket.socket, client_address: Any, busy: Refusal | None) -> Ticket | None:
        """The ticket of a connection that may be served. One that may not is counted and closed, and has none.

        ``busy`` is why there are no means to serve another one, if so.
        """
        admitted: Ticket | Refusal
        if self._unix:
            credentials = connection_credentials(request)
            groups = connection_groups(request, credentials) if self._door.groups_matter else ()
            admitted = self._door.admit_unix(credentials.uid, groups, self._loop.now, busy)
        else:
            admitted = self._door.admit(octets(client_address[0]), self._loop.now, busy)
        if not isinstance(admitted, str):
            return admitted
        self.refuse(request, admitted, str(credentials) if self._unix else plain_host(client_address[0]))
        return None

    def refuse(self, request: socket.socket, reason: Refusal, peer: str) -> None:
        """Close a connection that is refused, in the way the config has it. It never waits for the peer."""
        self._events.connection_refused(reason, peer)
        refuse = self._door.policy.refuse
        with contextlib.suppress(OSError):
            if refuse == "reset":
                request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif refuse != "close":
                request.send(refuse.line.encode() + b"\r\n")
                request.shutdown(socket.SHUT_WR)
                request.recv(65536)  # what is unread at the end would make the kernel reset, and destroy the line
        request.close()
