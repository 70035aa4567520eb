"""Stream servers: accept connections in batches, and pause while the system lacks descriptors or memory."""

import contextlib
import errno
import os
import socket
import socketserver
from collections.abc import Callable
from typing import Any

from netd.addresses import unmap_host
from netd.admission.control import AdmissionControl, Ticket
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.transport.loop import LISTENING, Loop
from netd.transport.stream.connection import EXHAUSTED, user_timeout
from netd.transport.stream.connections import Connections
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles

# Connections accepted in one turn of the loop. A refused one counts as several: a flood must not delay the clients that
# are served.
_BATCH, _REFUSAL = 16, 8
_LAST_BATCH = 8192  # accepted when the listener is closed: more than the default backlog, even if all are refused
_REJECTED = 64  # connections refused in one pause
_PAUSE = 0.1  # seconds without accepting, when the system has no descriptor or memory left

# accept(2) failed for a reason of the connection in the queue, or of the network: the next call may succeed.
_TRANSIENT = {
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
_IN_LINE = (socket.SOL_SOCKET, socket.SO_OOBINLINE)
KERNEL_DEFAULTS = (
    (socket.SOL_SOCKET, socket.SO_OOBINLINE, 0),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0),
)


class StreamServer(socketserver.ThreadingTCPServer):
    """Serves the connections of one listening socket, over TCP or UNIX.

    The hooks are those of `socketserver`, with a loop instead of `serve_forever`, and threads for blocking services
    alone.
    """

    accepts = True
    """Whether it accepts connections."""
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        kind: ServiceType,
        service: Any,
        admission: AdmissionControl,
        events: ServiceEvents,
        loop: Loop,
        preambles: Preambles = NO_PREAMBLES,
    ) -> None:
        handler: Any = service.handler if kind.serving == "thread" else None
        # The socket is open already, so not TCPServer's constructor, which makes one.
        socketserver.BaseServer.__init__(self, listener.getsockname(), handler or socketserver.BaseRequestHandler)
        self.socket = listener
        self.events = events
        self.loop = loop
        handle = self.finish_request if handler else service.handler if kind.serving == "asyncio" else None
        self.connections = Connections(kind, service, admission, events, loop, self.server_address, handle, preambles)
        self.slot = 0
        self._ticket: Ticket | None = None  # of the last connection that `verify_request` admitted
        self._listening = False
        # What is set on each connection: it inherits from the listener what was set before it came (tcp(7)), which netd
        # does only where it opened the listener itself.
        self._options: tuple[tuple[int, int, int], ...] = ()
        self._set_options(listener, kind, service, admission.policy.limits.idle)
        # As `accept` of the socket module, which turns the numbers of the kind into enumerations for each connection,
        # and adds methods that handlers alone use: a twentieth of a short connection.
        self._accept: Callable[[], tuple[int, Any]] = listener._accept  # type: ignore[attr-defined]
        self._kind = int(listener.family), int(listener.type), listener.proto
        self._reserve: int | None = None  # a descriptor to close when none is left, to refuse connections
        listener.setblocking(False)

    def _set_options(self, listener: socket.socket, kind: ServiceType, service: Any, idle: float | None) -> None:
        """Set on the listener what its connections inherit, or have it set on each of them."""
        if listener.family != socket.AF_UNIX and kind.serving == "program" and not service.relay:
            for option in KERNEL_DEFAULTS:  # which programs expect, and the connections inherit
                listener.setsockopt(*option)
        elif listener.family != socket.AF_UNIX:
            options = self._options_for(idle)
            if listener.getsockopt(*_IN_LINE):
                listener.setsockopt(*options[-1])
            else:
                self._options = options

    @staticmethod
    def _options_for(idle: float | None) -> tuple[tuple[int, int, int], ...]:
        timeout = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout(idle))
        return (*_IN_LINE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), timeout

    @property
    def server_name(self) -> str:
        """The name of this host, as `http.server.HTTPServer` has it. It may block, so it is for handlers alone."""
        is_unix = not isinstance(self.server_address, tuple)
        return socket.gethostname() if is_unix else socket.getfqdn(str(self.server_address[0]))

    @property
    def server_port(self) -> int:
        """The port, as `http.server.HTTPServer` has it; 0: it is a UNIX socket."""
        return int(self.server_address[1]) if isinstance(self.server_address, tuple) else 0

    def shutdown(self) -> None:
        """Raise RuntimeError: that of socketserver would wait for the end of `serve_forever`, which never runs."""
        raise RuntimeError("netd is the server of this handler, and goes on: `netd stop` ends it")

    def start(self) -> None:
        """Accept connections from now on."""
        self._listening = True
        self._open_reserve()
        self.loop.watch(self.socket.fileno(), LISTENING, self.ready)

    def ready(self, mask: int) -> None:
        """Connections are in the queue of the listener."""
        self._accept_batch(_BATCH)

    def _accept_batch(self, left: int) -> None:
        """Accept up to ``left`` connections; each that is refused counts as `_REFUSAL`."""
        while left > 0:
            left -= 1
            try:
                request, client_address = self.get_request()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _TRANSIENT:
                    continue
                if error.errno in EXHAUSTED:
                    return self._pause_accept(error)
                raise
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
            else:
                left -= _REFUSAL - 1

    def get_request(self) -> tuple[Any, Any]:
        descriptor, client_address = self._accept()
        request = socket.SocketType(*self._kind, descriptor)
        request.setblocking(False)
        for option in self._options:
            with contextlib.suppress(OSError):  # MPTCP lacks some (protocol 262): the connection is served without
                request.setsockopt(*option)
        return request, client_address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether this connection is admitted: then its ticket is kept for `process_request`; else it is closed."""
        self._ticket = self.connections.admit(request, client_address)
        return self._ticket is not None

    def process_request(self, request: Any, client_address: Any) -> None:
        assert self._ticket is not None, "verify_request returned True"
        self.connections.serve(request, client_address, self._ticket)

    def retire(self) -> None:
        """Stop accepting, and leave the socket to another server. Open connections stay open."""
        self.loop.wheel.drop(self)
        if self._listening:
            self._listening = False
            self.loop.unwatch(self.socket.fileno())

    def server_close(self) -> None:
        """Accept the connections in the queue, then close the socket. Open connections stay open."""
        self.answer_queue()
        self._close_listener()

    def answer_queue(self) -> None:
        """Accept the connections in the queue, for which the TCP handshake is done."""
        if self._listening:
            self._accept_batch(_LAST_BATCH)

    def _close_listener(self) -> None:
        if self.socket.fileno() >= 0:
            self.retire()
            self.socket.close()

    def release(self) -> None:
        """Release everything but the socket and the connections."""
        self._close_reserve()

    def close(self) -> None:
        """Close the socket and all connections, and release everything."""
        self._close_listener()
        self.connections.close()
        self.release()

    def expire(self, now: float) -> None:
        """The pause has ended."""
        self.start()

    def _pause_accept(self, error: OSError) -> None:
        """Stop accepting for `_PAUSE` seconds: accept(2) failed for lack of a resource, and would fail again at once.

        The first connections of the queue are accepted with the reserve descriptor and refused; the others wait.
        """
        self.events.accept_paused(str(error.strerror))
        if self._close_reserve():
            self._reject_backlog()
            self._open_reserve()
        self._listening = False
        self.loop.unwatch(self.socket.fileno())
        self.loop.wheel.add(self, self.loop.now + _PAUSE)

    def _open_reserve(self) -> None:
        """Open the reserve descriptor. If that fails, it is tried again after each pause."""
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.eventfd(0, os.EFD_CLOEXEC)

    def _close_reserve(self) -> bool:
        """Close the reserve descriptor. False: there was none."""
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)
        return reserve is not None

    def _reject_backlog(self) -> None:
        """Accept and refuse up to `_REJECTED` connections of the queue."""
        for _ in range(_REJECTED):
            try:
                request, client_address = self.get_request()
            except OSError:
                return
            peer = unmap_host(client_address[0]) if isinstance(client_address, tuple) else ""
            self.connections.stream_admission.refuse(request, "no_resources", peer)
            request.close()
