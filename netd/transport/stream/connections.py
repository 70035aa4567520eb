"""The connections of one service over one listener, from admission until they are closed.

A connection sees of this only what `Owner` declares, and calls `closed` once, at its end. So connections need no
listener: they stay open when it is closed, and those of `netd talk --service` never have one.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from netd.admission.control import AdmissionControl, Ticket
from netd.peer import Address, Peer
from netd.reasons import Outcome, Refusal
from netd.services.service_type import ServiceType, Serving
from netd.telemetry.service_events import NOTHING, ServiceEvents
from netd.transport.loop import Loop
from netd.transport.sockaddr import connection_credentials, connection_ttl, inet_peer, unix_peer
from netd.transport.stream.admission import StreamAdmission
from netd.transport.stream.connection import EDGE, EXHAUSTED, IN, Connection
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.echo import EchoConnection, WrappedEchoConnection
from netd.transport.stream.forward import ForwardConnection
from netd.transport.stream.preamble import NO_PREAMBLES, PreambleConnection, Preambles
from netd.transport.stream.program import ProgramConnection
from netd.transport.stream.program_relay import ProgramRelay
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import StreamSocket
from netd.transport.stream.tcpmux import Target, TcpmuxConnection
from netd.transport.stream.threaded import ThreadedConnection, Threads
from netd.transport.stream.threaded_relay import ThreadedRelay
from netd.transport.tap import Taps, Way

if TYPE_CHECKING:
    from netd.transport.stream.coroutine import Coroutines


class Connections:
    """Serves connections, and keeps those that are open.

    ``kind`` says how the service is served, ``local`` is the address of the listener. A service with a handler needs
    ``handle``: one that blocks is called in a thread with a socket and the client's address, a coroutine function with
    a reader and a writer. It returns when the connection is served.
    """

    def __init__(
        self,
        kind: ServiceType,
        service: Any,
        admission: AdmissionControl,
        events: ServiceEvents,
        loop: Loop,
        local: Any,
        handle: Any = None,
        preambles: Preambles = NO_PREAMBLES,
    ) -> None:
        self.service: Any = service
        self.events = events
        self.loop = loop
        self.policy = admission.policy
        self.limits = admission.policy.limits
        self.refuse = admission.policy.refuse
        self.most_bytes = self.limits.bytes or sys.maxsize
        self._control = admission
        self._local = local
        self._unix = not isinstance(local, tuple)
        self._any_address = not self._unix and local[0] in ("0.0.0.0", "::")
        self.input = IN if self._unix else EDGE
        """The mask of a connection that waits for input."""
        self.stream_admission = StreamAdmission(admission, events, loop, preambles.banners.refused, unix=self._unix)
        self.wraps = preambles.transforming is not None or preambles.is_wrapped
        self.targets: dict[str, Target] = {}
        """The services that a connection can name, by name (`tcpmux.py`)."""
        self._preambles = None if preambles.begins_at_once else preambles
        # splice(2) works on sockets, not on what wraps one.
        self.pipe = SplicePipe() if kind.serving in ("echo", "forward") and not self.wraps else None
        self.threads: Threads | None = None
        self.coroutines: Coroutines | None = None
        if kind.serving == "thread":
            self.threads = Threads(handle, kind.client_speaks_first, admission.threads)
        elif kind.serving == "asyncio":
            from netd.transport.stream import coroutine  # only here: other services need no asyncio

            self.coroutines = coroutine.Coroutines(handle, loop)
        self._reads_ttl = kind.reads_ttl and not self._unix
        assert kind.serving, "its type serves streams"
        self._make = CONSTRUCTORS[kind.serving]
        self._tickets: dict[Connection, Ticket] = {}  # of all that are open
        # An echo needs no `Peer`, so it is made when it is asked for.
        self._makes_peers = kind.serving != "echo" or self._unix or self._reads_ttl
        self.taps: Taps = ()
        """What its connections record to."""
        self._on_release: Callable[[], object] | None = None  # called when the last connection is closed

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._tickets)

    def admit(self, request: socket.socket, client_address: Any) -> Ticket | None:
        """The ticket of a connection that is admitted (`serve`). Another one is refused and closed: None."""
        if self._preambles and (naming := self._preambles.naming):
            peer = self.peer_of(request, client_address)
            return self.stream_admission.admit_socket(request, client_address, self._busy(), peer, naming)
        return self.stream_admission.admit(request, client_address, self._busy() if self.threads else None)

    def _busy(self) -> Refusal | None:
        return "threads" if self.threads and not self.threads.slots else None

    def serve(self, request: socket.socket, client_address: Any, ticket: Ticket) -> None:
        """Serve an admitted connection. Its ticket is released when it is closed."""
        if self._preambles or self._makes_peers:
            return self.serve_peer(request, self.peer_of(request, client_address), client_address, ticket)
        self._serve(request, client_address, client_address, ticket)

    def serve_peer(self, request: Any, peer: Peer, client_address: Any, ticket: Ticket) -> None:
        """As `serve`, with the peer of the connection."""
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

    def admit_passed(self, stream: StreamSocket, peer: Peer) -> Ticket | None:
        """The ticket of a connection that another service passes on. None: it is refused, counted, and still open."""
        return self.stream_admission.admit_passed(stream, peer, self._busy())

    def release_ticket(self, ticket: Ticket) -> None:
        """Release the ticket of a connection that is not served after all."""
        self._control.release(ticket)

    def hand_over(self, connection: TcpmuxConnection) -> StreamSocket:
        self.loop.unwatch(connection.descriptor)
        self.loop.wheel.drop(connection)
        self._count_end(connection, self._tickets.pop(connection), "done")
        return connection.stream

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

    def admit_certificate(self, connection: PreambleConnection, stream: StreamSocket) -> bool:
        is_admitted = self.stream_admission.admit_certificate(connection.socket, stream, connection.peer)
        if not is_admitted:
            connection.close("done")  # it was counted as accepted already
        return is_admitted

    def begin(self, connection: PreambleConnection, stream: StreamSocket) -> None:
        ticket = self._tickets.pop(connection)
        self.loop.unwatch(connection.descriptor)
        self.loop.wheel.drop(connection)
        self._serve(stream, connection.peer, connection.client_address, ticket, connection)

    def _serve(
        self,
        stream: Any,
        peer: Peer | Address,
        client_address: Any,
        ticket: Ticket,
        before: PreambleConnection | None = None,
    ) -> None:
        """Have the service serve it. ``before`` is the connection object of its preamble, if it had one."""
        connection: Connection | None = None
        try:
            connection = self._make(self, stream, peer, client_address)
            self._tickets[connection] = ticket
            if before is None:
                self.events.connection_accepted()
            if self.taps:
                connection.trace(self.taps)
                self._record(connection.peer, "opened")
            connection.start()
        except BaseException as error:  # a service may raise anything, SystemExit too, when its conversation is made
            if not isinstance(peer, Peer):
                peer = self.peer_of(stream, peer)
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
        for tap in self.taps:
            tap.record(connection.peer, "unanswered", octets, connection.unanswered.encode(errors="replace"))
        if first:
            self.events.message_unanswered(connection.peer, connection.unanswered)

    def closed(self, connection: Connection, outcome: Outcome) -> None:
        """Close the socket of a connection that has ended, and release its ticket. A second call does nothing."""
        ticket = self._tickets.pop(connection, None)
        if ticket is None:
            return
        connection.socket.close()
        self._count_end(connection, ticket, outcome)

    def _count_end(self, connection: Connection, ticket: Ticket, outcome: Outcome) -> None:
        if self.taps and connection.begun:
            self._record(connection.peer, "closed")
        self._control.release(ticket)  # first, so that a connection which is counted as closed has no place
        self.events.connection_closed(
            connection.peer_or_address,
            connection.bytes_in,
            connection.bytes_out,
            self.loop.now - connection.opened,
            outcome,
            connection.requests,
            connection.counted,
            unseen=outcome == "no_target" or (connection.is_unseen and bool(connection.pid)),
            target=connection.target,
            truncated=self.wraps and connection.is_truncated,
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
        self.taps = taps
        for connection in self._tickets:
            connection.trace(taps)

    def _record(self, peer: Peer, way: Way) -> None:
        for tap in self.taps:
            tap.record(peer, way)

    def close_all(self) -> None:
        """Close all connections."""
        for connection in list(self._tickets):
            connection.close("stopped")

    def close(self) -> None:
        """Close all connections, and release everything."""
        self._on_release = None
        self.close_all()
        if self.coroutines:
            self.coroutines.finish()
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

    def peer_of(self, request: socket.socket, client_address: Any) -> Peer:
        if self._unix:
            return unix_peer("unix", client_address, self._local, connection_credentials(request))
        local = (request.getsockname()[0], self._local[1]) if self._any_address else self._local
        peer = inet_peer("tcp", client_address, local)
        return peer._replace(ttl=connection_ttl(request)) if self._reads_ttl else peer


def _thread(connections: Connections, request: Any, peer: Peer, client_address: Any) -> Connection:
    assert connections.threads, "a service that blocks has a handle"
    if peer.family == "unix":
        client_address = (peer.remote, 0)  # the handlers of socketserver and http.server take its first element
    make = ThreadedRelay if connections.wraps else ThreadedConnection
    return make(connections, request, peer, client_address, connections.threads)


def _asyncio(connections: Connections, request: Any, peer: Peer, client_address: Any) -> Connection:
    from netd.transport.stream import coroutine

    assert connections.coroutines, "a service with a coroutine has a handle"
    make = coroutine.CoroutineRelay if connections.wraps else coroutine.CoroutineConnection
    return make(connections, request, peer, client_address, connections.coroutines)


def _program(connections: Connections, request: Any, peer: Peer, _: Any) -> Connection:
    programs = connections.events.programs
    assert programs, "a service type that starts programs counts them"
    make = ProgramRelay if connections.service.relay or connections.wraps else ProgramConnection
    return make(connections, request, peer, connections.service, programs)


def _forward(connections: Connections, stream: Any, peer: Peer, _: Any) -> Connection:
    events = connections.events.forward
    assert events, "a service type that forwards counts its targets"
    return ForwardConnection(
        connections, stream, peer, connections.service, events, connections.pipe, connections.refuse
    )


# By the way to serve a stream: makes its connection, from the owner, the socket, the peer, and the client's address as
# accept(2) returned it.
CONSTRUCTORS: dict[Serving, Callable[[Connections, Any, Any, Any], Connection]] = {
    "echo": lambda owner, stream, peer, _: (WrappedEchoConnection if owner.wraps else EchoConnection)(
        owner, stream, peer
    ),
    "conversation": lambda owner, stream, peer, _: ConversationConnection(owner, stream, peer, owner.service),
    "push": lambda owner, stream, peer, _: PushConnection(owner, stream, peer, owner.service),
    "send_only": lambda owner, stream, peer, _: SendOnlyConnection(owner, stream, peer, owner.service),
    "thread": _thread,
    "asyncio": _asyncio,
    "program": _program,
    "forward": _forward,
    "multiplex": TcpmuxConnection,
}
