"""Stream servers: take connections in batches and give each to the way its service is served."""

import contextlib
import errno
import os
import socket
import socketserver
import struct
import sys
from collections.abc import Callable
from typing import Any

from netd.admission.door import Door
from netd.conversation import BlockingService, Peer, StreamService, UnaskedService
from netd.telemetry.counters import Refusal
from netd.telemetry.events import ServiceEvents
from netd.transport.loop import LISTENING, Loop
from netd.transport.peers import (
    connection_credentials,
    connection_groups,
    inet_peer,
    octets,
    plain_host,
    unix_peer,
)
from netd.transport.stream.connection import EDGE, IN, Connection
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.echo import EchoConnection, SplicePipe
from netd.transport.stream.threaded import MOST_THREADS, ThreadedConnection
from netd.transport.trace import Taps

# Connections taken at once, before the others get their turn. One that is refused counts as several: a flood must not
# make those wait who are served.
_BATCH, _REFUSAL = 16, 8
_LAST_BATCH = 8192  # when it closes: more than the default backlog, all of them refused
_SHED = 64  # refused at once where the system has no means to serve them
_PAUSE = 0.1  # seconds a listener rests when the system has no descriptor or memory left
_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection

# accept(2): the connection failed before it was taken, or the network did. The next one may be well.
_GONE = {
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.EPERM,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class StreamServer(socketserver.ThreadingTCPServer):
    """Serves the connections of one listening socket, over TCP or UNIX.

    The hooks are those of `socketserver`, with a loop instead of `serve_forever` and conversations instead of threads.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        service: StreamService | UnaskedService | BlockingService,
        door: Door,
        events: ServiceEvents,
        loop: Loop,
    ) -> None:
        handler: Any = getattr(service, "handler", None)
        # The socket is open already, so not TCPServer's constructor, which makes one.
        socketserver.BaseServer.__init__(self, listener.getsockname(), handler or socketserver.BaseRequestHandler)
        self.socket = listener
        self.service: Any = service
        self.door = door
        self.limits = door.policy.limits
        self.most_bytes = self.limits.bytes or sys.maxsize
        self.events = events
        self.loop = loop
        self.pipe = SplicePipe() if getattr(service, "reflects", False) else None
        self.connections: set[Connection] = set()
        self.threads = 0
        """How many of them a handler serves in a thread."""
        self.peer_begins = getattr(service, "peer_begins", False)
        self._blocking = handler is not None
        self._taps: Taps = ()
        self._released: Callable[[], object] | None = None  # called when the last connection has ended
        self.slot = 0
        self._listening = False
        self._unix = listener.family == socket.AF_UNIX
        self.input = IN if self._unix else EDGE
        """The events of a connection that something has come on."""
        self._reserve: int | None = None  # a descriptor that is given up to refuse connections with
        self._any_address = not self._unix and self.server_address[0] in ("0.0.0.0", "::")
        listener.setblocking(False)

    def start(self) -> None:
        """Accept."""
        self._listening = True
        self._take_reserve()
        self.loop.watch(self.socket.fileno(), LISTENING, self.ready)

    def ready(self, events: int) -> None:
        """Connections wait."""
        self._take(_BATCH)

    def _take(self, left: int) -> None:
        """Take so many connections, or all that wait."""
        while left > 0:
            left -= 1
            try:
                request, client_address = self.get_request()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                if error.errno in _EXHAUSTED:
                    return self._rest(error)
                raise
            if not self.take(request, client_address):
                left -= _REFUSAL - 1

    def take(self, request: Any, client_address: Any) -> bool:
        """Serve a connection, or turn it away; whether it was let in."""
        if not self.verify_request(request, client_address):
            self._turn_away(request)
            return False
        try:
            self.process_request(request, client_address)
        except BaseException:  # a service may raise anything, SystemExit too, when its conversation is made
            self._leave(self._peer(request, client_address))
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        request, client_address = self.socket.accept()
        request.setblocking(False)
        return request, client_address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether this connection may be served; if so, it has its place."""
        refusal: Refusal | None
        if self._unix:
            credentials = connection_credentials(request)
            groups = connection_groups(request, credentials) if self.door.groups_matter else ()
            refusal = self.door.admit_unix(credentials.uid, groups, self.loop.now)
            who = str(credentials)
        else:
            who = client_address[0]
            refusal = self.door.admit(octets(who), self.loop.now)
        if refusal is None and self.threads == MOST_THREADS:
            self._leave(self._peer(request, client_address))
            refusal = "threads"
        if refusal is None:
            return True
        self.events.connection_refused(refusal, plain_host(who))
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Choose the way by the kind of service."""
        peer = self._peer(request, client_address)
        connection: Connection
        if self._blocking:
            connection = ThreadedConnection(self, request, peer, client_address)
        elif self.pipe:
            connection = EchoConnection(self, request, peer, self.pipe)
        elif getattr(self.service, "ignores_input", False):
            connection = SendOnlyConnection(self, request, peer)
        elif getattr(self.service, "unasked", False):
            connection = PushConnection(self, request, peer)
        else:
            connection = ConversationConnection(self, request, peer)
        self.connections.add(connection)
        self.events.connection_accepted()
        if self._taps:
            connection.trace(self._taps)
            for tap in self._taps:
                tap.note(peer, "opened")
        connection.start()

    def trace(self, taps: Taps) -> None:
        """Have these look on from now on, and no others."""
        self._taps = taps
        for connection in self.connections:
            connection.trace(taps)

    def _turn_away(self, request: Any) -> None:
        """Close a connection that is refused, in the way the config has it. It never waits for the peer."""
        refuse = self.door.policy.refuse
        with contextlib.suppress(OSError):
            if refuse == "reset":
                request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif refuse != "close":
                request.send(refuse.line.encode() + b"\r\n")
                request.shutdown(socket.SHUT_WR)
                request.recv(65536)  # what is unread at the end would make the kernel reset, and destroy the line
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection. Connections say their farewell themselves, before (`Connection._finish`)."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A bug kept this connection from being served."""
        error = sys.exc_info()[1]
        assert error is not None, "called while an exception is handled"
        self.events.conversation_failed(self._peer(request, client_address), error)

    def leave(self, connection: Connection) -> None:
        """A connection is over."""
        self.connections.discard(connection)
        self._leave(connection.peer)
        if self._released and not self.connections:
            released, self._released = self._released, None
            self.release()
            released()

    def _leave(self, peer: Peer) -> None:
        self.door.leave(None if self._unix else octets(peer.host))

    def retire(self) -> None:
        """Accept no more, and leave the socket to another server; live connections go on."""
        self.loop.wheel.drop(self)
        if self._listening:
            self._listening = False
            self.loop.unwatch(self.socket.fileno())

    def server_close(self) -> None:
        """Accept no more; live connections go on.

        Who is in the socket's queue has been told that the connection stands, and is served.
        """
        if self._listening:
            self._take(_LAST_BATCH)
        self._close_listener()

    def _close_listener(self) -> None:
        if self.socket.fileno() >= 0:
            self.retire()
            self.socket.close()

    def close_connections(self) -> None:
        """Cut what is left."""
        for connection in list(self.connections):
            connection.close("stopped")

    def release(self) -> None:
        """Release what it has besides the socket, once there are no connections."""
        if self.pipe:
            self.pipe.close()
        self._give_up_reserve()

    def release_at_end(self, released: Callable[[], object]) -> None:
        """For a server that accepts no more and has connections: `release` with the end of the last one of them.

        Then ``released`` is called. What the server holds must not wait for anything else: reloads may come at any
        rate, and each may leave one such server behind.
        """
        self._give_up_reserve()
        self._released = released

    def close(self) -> None:
        """Release everything."""
        self._released = None
        self._close_listener()
        self.close_connections()
        for connection in list(self.connections):
            connection.abandon()
        self.release()

    def expire(self, now: float) -> None:
        """The rest is over."""
        self.start()

    def _rest(self, error: OSError) -> None:
        """Accept fails for want of a resource, and to try again at once would only burn the processor.

        The first ones who wait are told that there is no place, with a descriptor that is kept for that; the others
        wait in the listener's queue.
        """
        self.events.accept_paused(str(error.strerror))
        if self._give_up_reserve():
            self._shed()
            self._take_reserve()
        self._listening = False
        self.loop.unwatch(self.socket.fileno())
        self.loop.wheel.add(self, self.loop.now + _PAUSE)

    def _take_reserve(self) -> None:
        """Have a descriptor for refusals, if there is one to have; it is tried again after each rest."""
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.eventfd(0, os.EFD_CLOEXEC)

    def _give_up_reserve(self) -> bool:
        """Free the descriptor that is kept for refusals; whether there was one."""
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)
        return reserve is not None

    def _shed(self) -> None:
        """Refuse who waits, without having a place for anybody."""
        for _ in range(_SHED):
            try:
                request, client_address = self.get_request()
            except OSError:
                return
            self.events.connection_refused("no_resources", "" if self._unix else plain_host(client_address[0]))
            self._turn_away(request)

    def _peer(self, request: Any, client_address: Any) -> Peer:
        if self._unix:
            return unix_peer("unix", client_address, self.server_address, connection_credentials(request))
        local = request.getsockname() if self._any_address else self.server_address
        return inet_peer("tcp", client_address, local)
