"""Admission of stream connections: asks `AdmissionControl` about each, and refuses those that it does not admit."""

import contextlib
import socket
import struct
from typing import Any, cast

from netd.addresses import pack_address, unmap_host
from netd.admission.control import AdmissionControl, Ticket
from netd.admission.policy import RefusalLine
from netd.errors import PeerError
from netd.peer import Credentials, Peer, Tls
from netd.reasons import Refusal
from netd.telemetry.service_events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.sockaddr import connection_credentials, connection_groups
from netd.transport.stream.preamble import Naming
from netd.transport.stream.stream_socket import StreamSocket

_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection


class StreamAdmission:
    """Admits connections to one service over one listener. ``unix``: peers have credentials instead of addresses.

    ``banner`` is what a refused peer gets first.
    """

    def __init__(
        self, admission: AdmissionControl, events: ServiceEvents, loop: Loop, banner: bytes = b"", *, unix: bool
    ) -> None:
        self._control = admission
        self._events = events
        self._loop = loop
        self._banner = banner
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

    def admit_passed(self, stream: StreamSocket, peer: Peer, busy: Refusal | None) -> Ticket | None:
        """The ticket of a connection that another service passes on. None: it is refused, counted, and still open."""
        admitted: Ticket | Refusal
        address = None
        if peer.family == "unix":
            request = cast("socket.socket", stream)  # there is no TLS over UNIX
            credentials = peer.credentials or connection_credentials(request)
            groups = connection_groups(request, credentials) if self._control.groups_matter else ()
            admitted = self._control.admit_unix(credentials.uid, groups, self._loop.now, busy)
        else:
            address = pack_address(peer.host)
            admitted = self._control.admit(address, self._loop.now, busy)
        if not isinstance(admitted, str):
            refusal = self._control.check_certificate(peer.tls, address, self._loop.now)
            if refusal is None:
                return admitted
            self._control.release(admitted)
            admitted = refusal
        self._events.connection_refused(admitted, peer.credentials or peer.host, via=peer.via)
        return None

    def admit_certificate(self, request: socket.socket, stream: StreamSocket, peer: Peer) -> bool:
        """Whether the certificate rules allow a peer after its TLS handshake. False: it is refused and counted, and
        still open.

        ``stream`` is what wraps the socket of the ``request``.
        """
        address = None if peer.family == "unix" else pack_address(peer.host)
        refusal = self._control.check_certificate(peer.tls, address, self._loop.now)
        if refusal:
            self.refuse(request, refusal, peer.credentials or peer.host, peer.via, stream, peer.tls)
        return not refusal

    def refuse(
        self,
        request: socket.socket,
        reason: Refusal,
        peer: str | Credentials,
        via: str = "",
        stream: StreamSocket | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Count a refused connection, and send it what the policy says. The caller closes it. Does not block.

        ``via`` is the proxy that has named the peer, ``stream`` what wraps the socket of the ``request``, and ``tls``
        what is known after a TLS handshake.
        """
        self._events.connection_refused(reason, peer, via=via, tls=tls)
        refuse = self._control.policy.refuse
        with contextlib.suppress(OSError):
            if refuse == "reset":
                request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif text := self._banner + (refuse.line.encode() + b"\r\n" if isinstance(refuse, RefusalLine) else b""):
                (stream or request).send(text)
                (stream or request).shutdown(socket.SHUT_WR)
                request.recv(65536)  # close(2) with unread input would reset the connection, and lose the line
            elif stream:
                stream.shutdown(socket.SHUT_WR)  # with the close_notify of TLS
