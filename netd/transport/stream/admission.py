"""Admission of stream connections: asks `AdmissionControl` about each, and refuses those that it does not admit."""

import contextlib
import socket
import struct
from typing import Any

from netd.addresses import pack_address, unmap_host
from netd.admission.control import AdmissionControl, Ticket
from netd.errors import PeerError
from netd.peer import Credentials, Peer
from netd.reasons import Refusal
from netd.telemetry.service_events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.sockaddr import connection_credentials, connection_groups
from netd.transport.stream.preamble import Naming

_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection


class StreamAdmission:
    """Admits connections to one service over one listener. ``unix``: peers have credentials instead of addresses."""

    def __init__(self, admission: AdmissionControl, events: ServiceEvents, loop: Loop, *, unix: bool) -> None:
        self._control = admission
        self._events = events
        self._loop = loop
        self._unix = unix

    def admit(self, request: socket.socket, client_address: Any, busy: Refusal | None) -> Ticket | None:
        """The ticket of a connection that is admitted. Another one is refused, counted and closed: None.

        ``busy`` is the reason to refuse a connection that is admitted otherwise, if there is one.
        """
        admitted: Ticket | Refusal
        if self._unix:
            credentials = connection_credentials(request)
            groups = connection_groups(request, credentials) if self._control.groups_matter else ()
            admitted = self._control.admit_unix(credentials.uid, groups, self._loop.now, busy)
        else:
            admitted = self._control.admit(pack_address(client_address[0]), self._loop.now, busy)
        if not isinstance(admitted, str):
            return admitted
        self.refuse(request, admitted, credentials if self._unix else unmap_host(client_address[0]))
        request.close()
        return None

    def admit_socket(
        self, request: socket.socket, client_address: Any, busy: Refusal | None, peer: Peer, naming: Naming
    ) -> Ticket | None:
        """The ticket of a connection that may name its peer in a preamble, or None, as `admit`.

        ``peer`` is that of the socket, such as a proxy.
        """
        admitted: Ticket | Refusal | None
        try:
            admitted = None if naming(b"", peer) else self._control.admit_socket()
        except PeerError:
            admitted = "access"
        except BaseException as error:  # a bug in a preamble costs this connection alone
            self._events.conversation_failed(peer, error)
            request.close()
            return None
        if admitted is None:
            return self.admit(request, client_address, busy)
        if not isinstance(admitted, str):
            return admitted
        self.refuse(request, admitted, peer.credentials or peer.host)
        request.close()
        return None

    def admit_named(self, request: socket.socket, peer: Peer, busy: Refusal | None) -> Ticket | None:
        """The ticket that replaces that of `admit_socket`. None: it is refused and counted, and still open."""
        if peer.family == "unix":
            credentials = peer.credentials or connection_credentials(request)
            groups = connection_groups(request, credentials) if self._control.groups_matter else ()
            admitted = self._control.admit_unix(credentials.uid, groups, self._loop.now, busy, placed=True)
        else:
            admitted = self._control.admit(pack_address(peer.host), self._loop.now, busy, placed=True)
        if not isinstance(admitted, str):
            return admitted
        self.refuse(request, admitted, peer.credentials or peer.host, peer.via)
        return None

    def refuse(self, request: socket.socket, reason: Refusal, peer: str | Credentials, via: str = "") -> None:
        """Count a refused connection, and apply the policy's `refuse`. The caller closes it. Does not block.

        ``via`` is the proxy that has named the peer.
        """
        self._events.connection_refused(reason, peer, via=via)
        refuse = self._control.policy.refuse
        with contextlib.suppress(OSError):
            if refuse == "reset":
                request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif refuse != "close":
                request.send(refuse.line.encode() + b"\r\n")
                request.shutdown(socket.SHUT_WR)
                request.recv(65536)  # close(2) with unread input would reset the connection, and lose the line
