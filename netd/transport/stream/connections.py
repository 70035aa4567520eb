"""The connections of one service over one listener, from admission until they are closed.

A connection sees of this only what `Owner` declares, and calls `closed` once, at its end. So connections need no
listener: they stay open when it is closed, and those of `netd talk --service` never have one.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from netd.admission.control import AdmissionControl, Ticket
from netd.peer import Peer
from netd.reasons import Outcome, Refusal
from netd.services.service_type import ServiceType, Serving
from netd.telemetry.service_events import NOTHING, ServiceEvents
from netd.transport.loop import Loop
from netd.transport.sockaddr import connection_credentials, inet_peer, unix_peer
from netd.transport.stream.admission import StreamAdmission
from netd.transport.stream.connection import EDGE, EXHAUSTED, IN, Connection
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.echo import EchoConnection
from netd.transport.stream.forward import ForwardConnection
from netd.transport.stream.preamble import NO_PREAMBLES, PreambleConnection, Preambles
from netd.transport.stream.program import ProgramConnection
from netd.transport.stream.program_relay import ProgramRelay
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import StreamSocket
from netd.transport.stream.threaded import Handle, ThreadedConnection, Threads
from netd.transport.tap import Taps, Way


class Connections:
    """Serves connections, and keeps those that are open.

    ``kind`` says how the service is served, ``local`` is the address of the listener. A service that blocks needs
    ``handle``, which is called in a thread with a socket and the client's address, and returns when the connection is
    served.
    """

    def __init__(
        self,
        kind: ServiceType,
        service: Any,
        admission: AdmissionControl,
        events: ServiceEvents,
        loop: Loop,
        local: Any,
        handle: Handle | None = None,
        preambles: Preambles = NO_PREAMBLES,
    ) -> None:
        if handle and preambles.transforming:
            raise ValueError("a handler in a thread needs a socket that no preamble wraps")
        self.service: Any = service
        self.events = events
        self.loop = loop
        self.limits = admission.policy.limits
        self.refuse = admission.policy.refuse
        self.most_bytes = self.limits.bytes or sys.maxsize
        self._control = admission
        self._local = local
        self._unix = not isinstance(local, tuple)
        self._any_address = not self._unix and local[0] in ("0.0.0.0", "::")
        self.input = IN if self._unix else EDGE
        """The mask of a connection that waits for input."""
        self.stream_admission = StreamAdmission(admission, events, loop, unix=self._unix)
        self.wraps = preambles.transforming is not None
        self._preambles = None if preambles == NO_PREAMBLES else preambles
        # splice(2) works on sockets, not on what wraps one.
        self.pipe = SplicePipe() if kind.serving in ("echo", "forward") and not self.wraps else None
        self.threads = Threads(handle, client_speaks_first=kind.client_speaks_first) if handle else None
        assert kind.serving, "its type serves streams"
        self._make = CONSTRUCTORS[kind.serving]
        self._tickets: dict[Connection, Ticket] = {}  # of all that are open
        self._taps: Taps = ()
        self._on_release: Callable[[], object] | None = None  # called when the last connection is closed

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._tickets)

    def admit(self, request: socket.socket, client_address: Any) -> Ticket | None:
        """The ticket of a connection that is admitted (`serve`). Another one is refused and closed: None."""
        if self._preambles and (naming := self._preambles.naming):
            peer = self._peer(request, client_address)
            return self.stream_admission.admit_socket(request, client_address, self._busy(), peer, naming)
        return self.stream_admission.admit(request, client_address, self._busy())

    def _busy(self) -> Refusal | None:
        return "threads" if self.threads and not self.threads.slots else None

    def serve(self, request: socket.socket, client_address: Any, ticket: Ticket) -> None:
        """Serve an admitted connection. Its ticket is released when it is closed."""
        peer = self._peer(request, client_address)
        if not self._preambles:
            return self._serve(request, peer, client_address, ticket)
        connection = PreambleConnection(self, request, peer, client_address, self._preambles)
        self._tickets[connection] = ticket
        self.events.connection_accepted()
        try:
            connection.start()
        except OSError as error:  # the kernel does not watch it
            self.events.conversation_failed(peer, error)
            connection.close("failed")

    def admit_named(self, connection: PreambleConnection, peer: Peer) -> bool:
        if peer == connection.peer:
            return True  # the header names none, as in a check by the proxy, which `admit` has let through
        connection.peer, connection.client_address = peer, (peer.host, peer.port)
        ticket = self.stream_admission.admit_named(connection.socket, peer, self._busy())
        if ticket is None:
            connection.close("done")  # it was counted as accepted already
            return False
        self._tickets[connection] = ticket
        return True

    def begin(self, connection: PreambleConnection, stream: StreamSocket) -> None:
        ticket = self._tickets.pop(connection)
        self.loop.unwatch(connection.descriptor)
        self.loop.wheel.drop(connection)
        self._serve(stream, connection.peer, connection.client_address, ticket, connection)

    def _serve(
        self, stream: Any, peer: Peer, client_address: Any, ticket: Ticket, before: PreambleConnection | None = None
    ) -> None:
        """Have the service serve it. ``before`` is the connection object of its preamble, if it had one."""
        connection: Connection | None = None
        try:
            connection = self._make(self, stream, peer, client_address)
            self._tickets[connection] = ticket
            if before is None:
                self.events.connection_accepted()
            if self._taps:
                connection.trace(self._taps)
                self._record(peer, "opened")
            connection.start()
        except BaseException as error:  # a service may raise anything, SystemExit too, when its conversation is made
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                self.events.connection_refused("no_resources", peer.credentials or peer.host, via=peer.via)
            else:
                self.events.conversation_failed(peer, error)
            if connection:
                connection.close("failed")
            elif before:
                self._tickets[before] = ticket
                before.close("failed")
            else:
                self._control.release(ticket)
                stream.close()

    def unanswered(self, connection: Connection, octets: int, *, first: bool) -> None:
        for tap in self._taps:
            tap.record(connection.peer, "unanswered", octets, connection.unanswered.encode(errors="replace"))
        if first:
            self.events.message_unanswered(connection.peer, connection.unanswered)

    def closed(self, connection: Connection, outcome: Outcome) -> None:
        """Close the socket of a connection that has ended, and release its ticket. A second call does nothing."""
        ticket = self._tickets.pop(connection, None)
        if ticket is None:
            return
        connection.socket.close()
        if self._taps and connection.begun:
            self._record(connection.peer, "closed")
        self._control.release(ticket)  # first, so that a connection which is counted as closed has no place
        self.events.connection_closed(
            connection.peer,
            connection.bytes_in,
            connection.bytes_out,
            self.loop.now - connection.opened,
            outcome,
            connection.requests,
            connection.counted,
            unseen=outcome == "no_target" or (connection.is_unseen and bool(connection.pid)),
            target=connection.target,
        )
        if self._on_release:
            self._release_if_empty()

    def count_traffic(self) -> None:
        """Count what has moved on the open connections since the last call."""
        for connection in self._tickets:
            if connection.begun and (traffic := connection.take_uncounted()) is not NOTHING:
                self.events.traffic_moved(*traffic)

    def trace(self, taps: Taps) -> None:
        """Record to these taps from now on, and to no others."""
        self._taps = taps
        for connection in self._tickets:
            connection.trace(taps)

    def _record(self, peer: Peer, way: Way) -> None:
        for tap in self._taps:
            tap.record(peer, way)

    def close_all(self) -> None:
        """Close all connections."""
        for connection in list(self._tickets):
            connection.close("stopped")

    def close(self) -> None:
        """Close all connections, and release everything."""
        self._on_release = None
        self.close_all()
        for connection in list(self._tickets):
            connection.abandon()
        self._release()

    def release_when_empty(self, released: Callable[[], object]) -> None:
        """Release everything else once the last connection is closed, or now if there is none, and call ``released``.

        No new connection may come. The release must wait for nothing else: reloads may follow at any rate, and each
        may leave such connections behind.
        """
        self._on_release = released
        self._release_if_empty()

    def _release_if_empty(self) -> None:
        if self._on_release and not self._tickets:
            released, self._on_release = self._on_release, None
            self._release()
            released()

    def _release(self) -> None:
        if self.pipe:
            self.pipe.close()

    def _peer(self, request: socket.socket, client_address: Any) -> Peer:
        if self._unix:
            return unix_peer("unix", client_address, self._local, connection_credentials(request))
        local = (request.getsockname()[0], self._local[1]) if self._any_address else self._local
        return inet_peer("tcp", client_address, local)


def _echo(connections: Connections, stream: Any, peer: Peer, _: Any) -> Connection:
    if connections.pipe:
        return EchoConnection(connections, stream, peer, connections.pipe)
    return ConversationConnection(connections, stream, peer, connections.service)


def _thread(connections: Connections, request: Any, peer: Peer, client_address: Any) -> Connection:
    assert connections.threads, "a service that blocks has a handle"
    if peer.family == "unix":
        client_address = (peer.remote, 0)  # the handlers of socketserver and http.server take its first element
    return ThreadedConnection(connections, request, peer, client_address, connections.threads)


def _program(connections: Connections, request: Any, peer: Peer, _: Any) -> Connection:
    programs = connections.events.programs
    assert programs, "a service type that starts programs counts them"
    make = ProgramRelay if connections.service.relay else ProgramConnection
    return make(connections, request, peer, connections.service, programs)


def _forward(connections: Connections, stream: Any, peer: Peer, _: Any) -> Connection:
    events = connections.events.forward
    assert events, "a service type that forwards counts its targets"
    return ForwardConnection(
        connections, stream, peer, connections.service, events, connections.pipe, connections.refuse
    )


# By the way to serve a stream: makes its connection, from the owner, the socket, the peer, and the client's address as
# accept(2) returned it.
CONSTRUCTORS: dict[Serving, Callable[[Connections, Any, Peer, Any], Connection]] = {
    "echo": _echo,
    "conversation": lambda owner, stream, peer, _: ConversationConnection(owner, stream, peer, owner.service),
    "push": lambda owner, stream, peer, _: PushConnection(owner, stream, peer, owner.service),
    "send_only": lambda owner, stream, peer, _: SendOnlyConnection(owner, stream, peer, owner.service),
    "thread": _thread,
    "program": _program,
    "forward": _forward,
}
