"""Connections: the pump between a stream socket and a conversation.

A connection is always in one state, and the state is the method that the loop calls: `_receive` (waiting for input),
`_flush` (the kernel took less than all, or the conversation has more to say: waiting for room) or `_linger` (everything
is said: waiting for the peer to close). It reads nothing while it has something to send, so what it holds is bounded:
one turn's words and one piece of the service, or what a pipe holds, whatever the peer does.
"""

import select
from collections.abc import Callable
from socket import SHUT_WR, socket
from time import monotonic
from types import GeneratorType
from typing import TYPE_CHECKING

from netd.conversation import Peer
from netd.errors import PeerError
from netd.telemetry.counters import Outcome
from netd.transport.relay import Relay

if TYPE_CHECKING:
    from netd.transport.stream import StreamServer

_CHUNK = 65536  # octets taken from a reflected stream at once, and given to the kernel at once
# What a conversation may take of the loop in one turn, so that others need not wait for a busy or a hostile peer:
_SEGMENT = 4096  # octets it gets,
_PIECES = 256  # pieces it says,
_TURN = 0.0005  # and seconds, within which it is not asked for another piece.
_LINGER = 2.0  # seconds a finished peer has to close its side
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

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
        self._socket = request
        self.peer = peer
        self._opened = self.active = now = server.loop.now
        self.bytes_in = 0
        self.bytes_out = 0
        self._pending: memoryview | bytes = b""
        self._eof = False  # the peer has finished sending
        self._ended = False  # nothing will be said after what is pending
        self._outcome: Outcome = "done"
        self._deadline = now + server.limits.lifetime if server.limits.lifetime else None
        self._events = _IN
        server.loop.watch(request.fileno(), _IN, self._receive)
        self.slot = 0
        if (when := self._next_timeout()) is not None:
            server.loop.wheel.add(self, when)

    @property
    def descriptor(self) -> int:
        """Its socket."""
        return self._socket.fileno()

    @property
    def service_name(self) -> str:
        """The name of the service it talks to."""
        return self._server.events.service

    @property
    def opened(self) -> float:
        """When it was accepted (CLOCK_MONOTONIC)."""
        return self._opened

    def start(self) -> None:
        """The first turn, before anything came."""

    def _receive(self, events: int) -> None:
        """Something came."""
        raise NotImplementedError

    def _continue(self) -> None:
        """What was kept back is sent now."""
        self._wait(_IN, self._receive)

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
        self._wait(_OUT, self._flush)

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
        self._wait(_IN, self._linger)

    def _linger(self, events: int) -> None:
        """Throw away what the peer still sends, until it closes or its time is over."""
        try:
            if self._socket.recv(_CHUNK):
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
        server = self._server
        server.loop.forget(self._socket.fileno())
        server.loop.wheel.drop(self)
        server.shutdown_request(self._socket)
        server.events.connection_closed(
            self.peer, self.bytes_in, self.bytes_out, server.loop.now - self._opened, outcome
        )
        server.leave(self)


class Talk(Connection):
    """A connection whose service holds a conversation."""

    __slots__ = ("_conversation", "_speaking")

    def __init__(self, server: "StreamServer", request: socket, peer: Peer) -> None:
        self._conversation = server.service.stream(peer)
        if not isinstance(self._conversation, GeneratorType):
            raise TypeError(f"{type(server.service).__name__}.stream returned no generator: it has no yield in it")
        super().__init__(server, request, peer)
        self._speaking = False  # the conversation was interrupted while it had more to say

    def start(self) -> None:
        self._advance(None)

    def _receive(self, events: int) -> None:
        try:
            data = self._socket.recv(_SEGMENT)
        except BlockingIOError:
            return
        except OSError:
            return self.close("reset")
        self.active = self._server.loop.now
        if data:
            self.bytes_in += len(data)
            if self.bytes_in + self.bytes_out > self._server.most_bytes:
                return self.close("bytes")
        else:
            self._eof = True
        self._advance(data)

    def _continue(self) -> None:
        if self._speaking:
            self.active = self._server.loop.now
            self._advance(None)
        else:
            self._wait(_IN, self._receive)

    def _advance(self, data: bytes | None) -> None:
        """Hand over what came (None: nothing, go on talking), and send what the conversation says to it."""
        conversation = self._conversation
        pieces: list[bytes] = []
        size = 0
        until = 0.0
        try:
            try:
                piece = conversation.send(data)  # type: ignore[arg-type]  # None is how a generator is just resumed
                while piece is not None:
                    pieces.append(piece)
                    size += len(piece)
                    if size >= _CHUNK or len(pieces) == _PIECES:
                        break
                    if len(pieces) > 1:  # one answer to one question, the common case, never looks at the clock
                        now = monotonic()
                        until = until or now + _TURN
                        if now > until:
                            break
                    piece = next(conversation)
                self._speaking = piece is not None
                # After the end of file nothing can come, so one that waits for more has nothing more to say.
                self._ended = self._eof and not self._speaking
            except StopIteration:
                self._ended = True
            except PeerError as error:
                pieces.append(error.answer)
                self._ended = True
                self._outcome = "peer_error"
            said = b"".join(pieces)
        except BaseException as error:  # whatever a service raises, SystemExit too, ends this conversation alone
            self._server.events.conversation_failed(self.peer, error)
            return self.close("failed")
        if said and not self._send(said):
            return
        if self._ended:
            self._finish()
        elif self._speaking:
            self._wait(_OUT, self._flush)
        elif self._events != _IN:
            self._wait(_IN, self._receive)

    def close(self, outcome: Outcome) -> None:
        try:
            self._conversation.close()
        except BaseException as error:
            self._server.events.conversation_failed(self.peer, error)
        super().close(outcome)


class Monologue(Talk):
    """A conversation that never receives: what comes meanwhile is thrown away, so that no peer is stuck sending."""

    __slots__ = ()

    def _wait(self, events: int, ready: Ready) -> None:
        super()._wait(events if self._eof else events | _IN, ready)

    def _flush(self, events: int) -> None:
        if events & _IN:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                pass
            except OSError:
                return self.close("reset")
            else:
                self.bytes_in += len(data)
                if self.bytes_in + self.bytes_out > self._server.most_bytes:
                    return self.close("bytes")
                if not data:
                    self._eof = True
                    self._wait(_OUT, self._flush)
        if events & ~_IN:
            super()._flush(events)


class Reflection(Connection):
    """A connection whose service sends back what it gets; the service itself is not asked."""

    __slots__ = ("_relay",)

    def __init__(self, server: "StreamServer", request: socket, peer: Peer, relay: Relay) -> None:
        super().__init__(server, request, peer)
        self._relay = relay

    def _receive(self, events: int) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            return self.close("reset")
        if not data:
            return self.close("done")  # nothing is pending while this waits for input
        self.active = self._server.loop.now
        self.bytes_in += len(data)
        if self._send(data) and len(data) == _CHUNK:
            self._wait(_IN, self._receive_bulk)

    def _receive_bulk(self, events: int) -> None:
        """As `_receive`, for a stream that comes in bulk: without a copy of it in this process."""
        try:
            received, rest = self._relay.turn(self._socket)
        except BlockingIOError:
            # Nothing came, or nothing that splice takes: it stops before urgent data.
            return self._wait(_IN, self._receive)
        except OSError:
            return self.close("reset")
        if not received:
            # The end of file, or urgent data before it: only recv can tell.
            self._wait(_IN, self._receive)
            return self._receive(events)
        self.active = self._server.loop.now
        self.bytes_in += received
        self.bytes_out += received - len(rest)
        if self.bytes_in + self.bytes_out > self._server.most_bytes:
            return self.close("bytes")
        if rest:
            self._keep(rest)
        elif received < _CHUNK:
            self._wait(_IN, self._receive)
