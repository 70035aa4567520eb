"""The base class of stream connections: sending, time-outs and closing.

A connection is always in one state, which is the method that the loop calls:

    state       waits for           method      pending      `_ending`
    receiving   input               `_receive`  nothing      None       for a limited time too (`Receive`)
    flushing    room                `_flush`    maybe        maybe
    waiting     neither (`Wait`)    `_on_hup`   nothing      None       a conversation waits for something else
    lingering   the peer's end      `_linger`   nothing      an outcome
    handled     nothing             none        nothing      maybe      a thread has the socket
    relaying    input, room, both   `_receive`  maybe        maybe      or nothing but a failure (`relay.py`)
    closed      nothing             none                                `Owner.closed` was called

It is a life cycle (time-outs, an outcome, an owner) and a `Pump` for each direction: one where a service makes what is
sent (`_output`), two where two sockets are joined. Receiving, it holds nothing to send; flushing, it sends what is
pending and then finishes, if it is `_ending`, or continues (`_continue`). It reads nothing while it has something to
send, so what it holds is bounded: one turn's output and one more piece, or what a pipe holds, whatever the
peer does. `_eof` says that the peer has finished sending, `_rearm` that the kernel has to be asked anew whatever is
waited for next (`EDGE`).
"""

import errno
import select
from collections.abc import Callable
from functools import lru_cache
from socket import SHUT_WR
from typing import Any, Protocol, cast

from netd.admission.limits import Limits
from netd.peer import Address, Peer
from netd.reasons import Outcome
from netd.telemetry.service_events import NOTHING, ServiceEvents, Traffic
from netd.transport.loop import Loop
from netd.transport.stream.pump import Pump
from netd.transport.stream.stream_socket import CHUNK, BareSocket, StreamSocket, WrappedSocket
from netd.transport.tap import Taps, TracedSocket

IN, OUT = select.EPOLLIN, select.EPOLLOUT
EDGE = IN | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
"""The events in which a TCP connection waits for input: epoll looks at it again when something comes, and not after
each event, which is 2 % of a small request. A read that got less than it asked for has taken all there was (epoll(7)),
unless the event says more than `IN`: the peer has finished, or there is urgent data, before which a read stops. Then,
and after a full read, the kernel has to be asked anew. A UNIX socket gives less for other reasons too, such as
descriptors sent along, so it has no edge.
"""
# The peer acknowledges nothing any more (TCP_USER_TIMEOUT, tcp(7)); an ICMP message said why, or none.
_VANISHED = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""Errors for lack of descriptors or memory."""
_LINGER = 2.0  # seconds a finished peer has to close its side

Ready = Callable[[int], None]


def outcome_of(error: OSError) -> Outcome:
    """The outcome of a connection that recv(2) or send(2) finds broken."""
    return "idle" if error.errno in _VANISHED else "reset"


@lru_cache(64)
def user_timeout(idle: float | None) -> int:
    """``limits.idle`` as TCP_USER_TIMEOUT (tcp(7)), in milliseconds: 0, which is the default, for none."""
    return min(max(1, round(1000 * idle)), 2**31 - 1) if idle is not None else 0


class Owner(Protocol):
    """The object that keeps a connection."""

    loop: Loop
    limits: Limits
    most_bytes: int
    """`limits.bytes`, or more than there could be."""
    events: ServiceEvents
    input: int
    """The mask of a connection that waits for input."""
    wraps: bool
    """Whether sockets are a `WrappedSocket`."""

    def peer_of(self, request: BareSocket, client_address: Address, /) -> Peer:
        """The peer of a socket, from the address that accept(2) has returned."""

    def unanswered(self, connection: "Connection", /, octets: int, *, first: bool) -> None:
        """The peer gets no answer to so many octets as yet (`Connection.unanswered`). ``first``: for the first time."""

    def closed(self, connection: "Connection", outcome: Outcome, /) -> None:
        """The connection has ended, and is no longer watched or timed. Its socket is still open."""


class Connection:
    """One accepted stream."""

    __slots__ = (
        "_deadline",
        "_ending",
        "_eof",
        "_mask",
        "_output",
        "_owner",
        "_rearm",
        "_untraced",
        "active",
        "bytes_in",
        "bytes_out",
        "counted",
        "opened",
        "peer_or_address",
        "requests",
        "slot",
        "socket",
    )

    begun = True
    """Whether the service has it."""
    pid = 0
    """The program that has it; 0: none."""
    is_unseen = False
    """Whether its octets do not pass through this process."""

    @property
    def target(self) -> str:
        """What it is passed on to; empty: nothing."""
        return ""

    @property
    def is_truncated(self) -> bool:
        """Whether its end may be missing, in a protocol that would say so."""
        return self._wrapped is not None and self._wrapped.is_truncated

    @property
    def _wrapped(self) -> WrappedSocket | None:
        return cast("WrappedSocket", self._untraced) if self._owner.wraps and self.begun else None

    @property
    def unanswered(self) -> str:
        """What the peer has sent and gets no answer to as yet, where the service says so (`Receive`); else empty."""
        return ""

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer | Address) -> None:
        """``peer`` may be the address that accept(2) has returned: then `peer` is made when it is asked for."""
        self._owner = owner
        self.socket = self._untraced = request  # what `socket` is without a trace
        self.peer_or_address = peer
        self.opened = self.active = now = owner.loop.now
        self.requests = 0  # reads of input that gave some
        self.bytes_in = 0
        self.bytes_out = 0
        self.counted = NOTHING  # of these three, in the counters already
        self._output: Pump | None = None  # made when there is something pending for the first time: mostly never
        self._eof = False
        self._ending: Outcome | None = None
        lifetime = owner.limits.lifetime
        self._deadline = now + lifetime if lifetime else None
        self._mask = owner.input
        self._rearm = owner.wraps  # input may have come already
        self.slot = 0

    @property
    def peer(self) -> Peer:
        """The other end."""
        peer = self.peer_or_address
        if type(peer) is not Peer:
            peer = self.peer_or_address = self._owner.peer_of(cast("BareSocket", self._untraced), peer)
        return peer

    @peer.setter
    def peer(self, peer: Peer) -> None:
        self.peer_or_address = peer

    @property
    def descriptor(self) -> int:
        """Its socket."""
        return int(self.socket.fileno())

    @property
    def service_name(self) -> str:
        """The name of the service it talks to."""
        return self._owner.events.service

    @property
    def events(self) -> ServiceEvents:
        """Those of its service."""
        return self._owner.events

    def take_uncounted(self) -> Traffic:
        """The requests, octets received and octets sent since the last call."""
        total, before = (self.requests, self.bytes_in, self.bytes_out), self.counted
        if total == before:
            return NOTHING
        self.counted = total
        return total[0] - before[0], total[1] - before[1], total[2] - before[2]

    def start(self) -> None:
        """Wait for input and for the time-outs."""
        loop = self._owner.loop
        if self._owner.wraps and (wrapped := self._wrapped):
            wrapped.on_more = self._receive_later
        loop.watch(self.socket.fileno(), self._mask, self._receive)
        if (when := self._next_timeout()) is not None:
            loop.wheel.add(self, when)

    def trace(self, taps: Taps) -> None:
        """Record to these taps from now on, and to no others."""
        self.socket = TracedSocket(self._untraced, self.peer, taps) if taps else self._untraced

    def _receive(self, mask: int) -> None:
        """Input has come, or the end of file."""
        raise NotImplementedError

    def _continue(self) -> None:
        """All that was pending is sent."""
        self._await_input()

    def _await_input(self) -> None:
        self._wait(self._owner.input, self._receive)
        if self._owner.wraps and cast("WrappedSocket", self.socket).pending():
            self._receive_later()

    def _receive_later(self) -> None:
        self._owner.loop.call(self._receive_pending)

    def _receive_pending(self) -> None:
        if self._is_receiving and self.descriptor >= 0:
            self._receive(IN)

    @property
    def _is_receiving(self) -> bool:
        return self._mask == self._owner.input and not self._rearm

    def _wait(self, mask: int, ready: Ready) -> None:
        """Change the state."""
        if mask == self._mask and not self._rearm:
            self._owner.loop.redirect(self.socket.fileno(), ready)
        else:
            self._mask = mask
            self._rearm = False
            self._owner.loop.change(self.socket.fileno(), mask, ready)

    def _recv(self, size: int) -> bytes | None:
        """Receive and count up to ``size`` octets; none at the end of file. None: no input, or the connection ended."""
        data = self._take(self.socket.recv, size)
        if data and not self._count(len(data), 0):
            self.close("bytes")
            return None
        return data

    def _take(self, recv: Callable[..., bytes], *arguments: Any) -> bytes | None:
        """What this call of recv(2) gives. None: no input, or it has failed and is closed."""
        try:
            return recv(*arguments)
        except BlockingIOError:
            return None
        except OSError as error:
            self.close(outcome_of(error))
            return None

    def _count(self, received: int, sent: int) -> bool:
        """Count so many octets more. False: there are more than `limits.bytes`."""
        self.requests += received > 0
        self.bytes_in += received
        self.bytes_out += sent
        return self.bytes_in + self.bytes_out <= self._owner.most_bytes

    def _send(self, data: bytes) -> bool:
        """Send; True when all of it went.

        Else what is left is kept, and nothing is read before it went; or the connection has ended.
        """
        # This is all that most answers need: to ask the pump, and to call `_count`, would be 2 % of a small request.
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(outcome_of(error))
            return False
        self.bytes_out = all_out = self.bytes_out + sent
        if self.bytes_in + all_out > self._owner.most_bytes:
            self.close("bytes")
            return False
        if sent == len(data):
            return True
        self._keep(memoryview(data)[sent:])
        return False

    def _keep(self, data: memoryview | bytes) -> None:
        """Send ``data`` when there is room."""
        if self._output is None:
            self._output = Pump()
        self._output.pending = data
        self._wait(OUT, self._flush)

    def _flush(self, mask: int) -> None:
        """The kernel has room, or the connection is broken."""
        output = self._output
        if output and output.pending:
            try:
                sent = output.flush(self.socket)
            except BlockingIOError:
                return
            except OSError as error:
                return self.close(outcome_of(error))
            self.active = self._owner.loop.now
            if not self._count(0, sent):
                return self.close("bytes")
            if output.pending:
                return
        if self._ending:
            self._finish(self._ending)
        else:
            self._continue()

    def _finish(self, outcome: Outcome) -> None:
        """All output is sent: shut down sending, and let the peer close.

        If netd closed first, the kernel would answer further input with a reset, which may destroy what was just sent
        to the peer.
        """
        if self._eof and not self._owner.wraps:
            return self.close(outcome)
        try:
            self.socket.shutdown(SHUT_WR)
        except BlockingIOError:
            self._ending = outcome
            return self._wait(OUT, self._flush)  # which comes back here
        except OSError:
            return self.close(outcome if self._eof else "reset")
        if self._eof:
            return self.close(outcome)
        self._await_end(outcome)

    def _await_end(self, outcome: Outcome) -> None:
        """Let the peer close: for a socket that is shut down for sending."""
        loop = self._owner.loop
        self._ending = outcome
        self._deadline = loop.now + _LINGER
        loop.wheel.drop(self)
        loop.wheel.add(self, self._deadline)
        self._wait(IN, self._linger)

    def _linger(self, mask: int) -> None:
        """Discard input until the peer closes or `_LINGER` seconds have passed."""
        try:
            if self.socket.recv(CHUNK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # all was sent: a reset is as good as a close
        self.close(self._ending or "done")

    def _next_timeout(self) -> float | None:
        idle = self._owner.limits.idle
        if idle is None:
            return self._deadline
        return self.active + idle if self._deadline is None else min(self.active + idle, self._deadline)

    def expire(self, now: float) -> float | None:
        """Close it if a time-out has expired. The idle time-out is moved here, not at each input or output."""
        if self._deadline is not None and now >= self._deadline:
            self.close(self._ending or "lifetime")
            return None
        idle = self._owner.limits.idle
        if idle is not None and now >= self.active + idle:
            self.close("idle")
            return None
        return self._next_timeout()

    def close(self, outcome: Outcome) -> None:
        """End it now, even if output is unsent."""
        self._owner.loop.unwatch_closing(self.socket.fileno())
        self._end(outcome)

    def fail(self, error: BaseException) -> None:
        """End it now, for an exception while it was served, and log that."""
        self._owner.events.conversation_failed(self.peer, error)
        self.close("failed")

    def leave(self) -> None:
        """Forget it, if a program has it: that goes on."""

    def abandon(self) -> None:
        """End a connection that `close` could not end, since the loop has ended."""

    def _end(self, outcome: Outcome) -> None:
        """Drop its time-out, and notify the owner."""
        self._owner.loop.wheel.drop(self)
        self._owner.closed(self, outcome)
