"""Connections: the pump between a stream socket and whoever speaks through it.

A connection is always in one state, and the state is the method that the loop calls: `_receive` (waiting for input),
`_flush` (the kernel took less than all, or the conversation has more to say: waiting for room) or `_linger` (everything
is said: waiting for the peer to close). It reads nothing while it has something to send, so what it holds is bounded:
one turn's words and one piece of the service, or what a pipe holds, whatever the peer does.
"""

import select
from collections.abc import Callable
from socket import SHUT_WR, socket
from typing import TYPE_CHECKING, Any

from netd.conversation import Peer
from netd.telemetry.counters import Outcome
from netd.transport.trace import Taps, TracedSocket

if TYPE_CHECKING:
    from netd.transport.stream.server import StreamServer

CHUNK = 65536
"""Octets taken from a stream, and given to the kernel, at once."""
IN, OUT = select.EPOLLIN, select.EPOLLOUT
EDGE = IN | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
"""The events in which a TCP connection waits for input: epoll looks at it again when something comes, and not after
each event, which is 2 % of a small request. A read that got less than it asked for has taken all there was (epoll(7)),
unless the event says more than `IN`: the peer has finished, or there is urgent data, before which a read stops. Then,
and after a full read, the kernel has to be asked anew. A UNIX socket gives less for other reasons too, such as
descriptors sent along, so it has no edge.
"""
_LINGER = 2.0  # seconds a finished peer has to close its side

Ready = Callable[[int], None]


class Connection:
    """One accepted stream: sending, time-outs and the end, which all kinds of connection share."""

    __slots__ = (
        "_deadline",
        "_ended",
        "_eof",
        "_events",
        "_opened",
        "_outcome",
        "_pending",
        "_server",
        "_socket",
        "active",
        "bytes_in",
        "bytes_out",
        "peer",
        "slot",
    )

    def __init__(self, server: "StreamServer", request: socket, peer: Peer) -> None:
        self._server = server
        self._socket: Any = request
        self.peer = peer
        self._opened = self.active = now = server.loop.now
        self.bytes_in = 0
        self.bytes_out = 0
        self._pending: memoryview | bytes = b""
        self._eof = False  # the peer has finished sending
        self._ended = False  # nothing will be said after what is pending
        self._outcome: Outcome = "done"
        self._deadline = now + server.limits.lifetime if server.limits.lifetime else None
        self._events = server.input
        self.slot = 0
        self._register()

    @property
    def descriptor(self) -> int:
        """Its socket."""
        return int(self._socket.fileno())

    @property
    def service_name(self) -> str:
        """The name of the service it talks to."""
        return self._server.events.service

    @property
    def opened(self) -> float:
        """When it was accepted (CLOCK_MONOTONIC)."""
        return self._opened

    def _register(self) -> None:
        """Wait for what comes, and for the time-outs."""
        loop = self._server.loop
        loop.watch(self._socket.fileno(), self._events, self._receive)
        if (when := self._next_timeout()) is not None:
            loop.wheel.add(self, when)

    def start(self) -> None:
        """The first turn, before anything came."""

    def trace(self, taps: Taps) -> None:
        """Have these look on from now on, and no others."""
        inner = self._socket.socket if isinstance(self._socket, TracedSocket) else self._socket
        self._socket = TracedSocket(inner, self.peer, taps) if taps else inner

    def _receive(self, events: int) -> None:
        """Something came."""
        raise NotImplementedError

    def _continue(self) -> None:
        """What was kept back is sent now."""
        self._await_input()

    def _await_input(self) -> None:
        self._wait(self._server.input, self._receive)

    def _wait(self, events: int, ready: Ready) -> None:
        """Change the state."""
        descriptor = self._socket.fileno()
        if events == self._events:
            self._server.loop.redirect(descriptor, ready)
        else:
            self._events = events
            self._server.loop.change(descriptor, events, ready)

    def _send(self, data: bytes) -> bool:
        """Send; True when all of it went.

        Else what is left is kept, and nothing is read before it went; or the connection is over.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close("reset")
            return False
        self.bytes_out += sent
        if self.bytes_in + self.bytes_out > self._server.most_bytes:
            self.close("bytes")
            return False
        if sent == len(data):
            return True
        self._keep(memoryview(data)[sent:])
        return False

    def _keep(self, data: memoryview | bytes) -> None:
        """Send this when there is room."""
        self._pending = data
        self._wait(OUT, self._flush)

    def _flush(self, events: int) -> None:
        """The kernel has room, or the peer is gone."""
        if self._pending:
            try:
                sent = self._socket.send(self._pending)
            except BlockingIOError:
                return
            except OSError:
                return self.close("reset")
            self.active = self._server.loop.now
            self.bytes_out += sent
            if self.bytes_in + self.bytes_out > self._server.most_bytes:
                return self.close("bytes")
            self._pending = self._pending[sent:]
            if self._pending:
                return
        if self._ended:
            self._finish()
        else:
            self._continue()

    def _finish(self) -> None:
        """Everything is said and sent.

        To close before the peer has would make the kernel answer the peer's last words with a reset, which may destroy
        what it was just sent: so say that this is all, and let the peer close.
        """
        if self._eof:
            return self.close(self._outcome)
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            return self.close("reset")
        loop = self._server.loop
        self._ended = True
        self._deadline = loop.now + _LINGER
        loop.wheel.drop(self)
        loop.wheel.add(self, self._deadline)
        self._wait(IN, self._linger)

    def _linger(self, events: int) -> None:
        """Throw away what the peer still sends, until it closes or its time is over."""
        try:
            if self._socket.recv(CHUNK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it was told everything; how it hangs up is its own affair
        self.close(self._outcome)

    def _next_timeout(self) -> float | None:
        idle = self._server.limits.idle
        if idle is None:
            return self._deadline
        return self.active + idle if self._deadline is None else min(self.active + idle, self._deadline)

    def expire(self, now: float) -> float | None:
        """The wheel asks: is a time-out over? The idle time-out does not move when something moves, but here."""
        if self._deadline is not None and now >= self._deadline:
            self.close(self._outcome if self._ended else "lifetime")
            return None
        idle = self._server.limits.idle
        if idle is not None and now >= self.active + idle:
            self.close("idle")
            return None
        return self._next_timeout()

    def close(self, outcome: Outcome) -> None:
        """End it now, whatever is unsent."""
        self._server.loop.forget(self._socket.fileno())
        self._leave(outcome)

    def abandon(self) -> None:
        """The loop is over, and what has not ended by being closed ends so."""

    def _leave(self, outcome: Outcome) -> None:
        """It is over, and nobody waits for it any more."""
        server = self._server
        server.loop.wheel.drop(self)
        server.shutdown_request(self._socket)
        server.events.connection_closed(
            self.peer, self.bytes_in, self.bytes_out, server.loop.now - self._opened, outcome
        )
        server.leave(self)
