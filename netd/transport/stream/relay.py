"""Relays: a client is joined with a second socket, and each gets what the other sends.

The two directions are independent: each has at most one piece on its way, and receives nothing until that is sent. So
memory is bounded, and an end that does not read holds up the other's sending alone.

Each end is in one of these states, by what epoll(7) is asked for:

    mask        waits for       when
    `input`     input           what it sent before is sent on
    OUT         room            something is on its way to it
    both        either
    `_QUIET`    neither         it has finished, or its input waits for the other end; only its loss is reported, once
"""

import errno
import select
from collections.abc import Callable
from contextlib import suppress
from socket import AF_UNIX, SHUT_RDWR, SHUT_WR, SO_ERROR, SO_LINGER, SO_OOBINLINE, SOL_SOCKET, SocketType, socket
from typing import cast

from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream.connection import EDGE, IN, OUT, Connection, Owner, outcome_of
from netd.transport.stream.pump import Pump
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import CHUNK, RESET, StreamSocket, WrappedSocket
from netd.transport.tap import Taps

_QUIET = select.EPOLLET
_LOST = select.EPOLLERR | select.EPOLLHUP
_ROOM = OUT | _LOST


class _End(Pump):
    """One of the two sockets, and what is on its way to it."""

    __slots__ = ("bare", "ended", "finished", "in_bulk", "input", "mask", "rearm", "shuts", "stream", "wrapped")

    def __init__(self, stream: StreamSocket, input: int) -> None:
        self.pending = b""  # as in the class above: to call it would take longer
        self.stream = stream
        self.bare = cast("socket", stream) if isinstance(stream, SocketType) else None
        self.wrapped = None if self.bare else cast("WrappedSocket", stream)
        self.input = self.mask = input
        self.ended = False
        """Whether nothing more is sent to it."""
        self.finished = False
        """Whether nothing more comes from it."""
        self.in_bulk = False
        """Whether its input comes in bulk, so that splice(2) is faster."""
        self.rearm = False
        """Whether there may be input that epoll has reported already (`EDGE`)."""
        self.shuts = False
        """Whether its shutdown waits for room, and nothing else is sent to it."""


class _NoSocket:
    """Stands for an ``upstream`` that is not connected yet, as a closed socket does for one that is no more."""

    def fileno(self) -> int:
        return -1


_NO_UPSTREAM = _End(cast("StreamSocket", _NoSocket()), IN)


class RelayConnection(Connection):
    """A client that is joined with ``upstream``, a connected and non-blocking stream socket; None: `_join` follows.

    It closes ``upstream``, the options of which (TCP_NODELAY, TCP_USER_TIMEOUT) were set by the code that connected it.
    Of a socket pair this process keeps no copy of the other end, since ``upstream`` would never finish.

    An end that finishes sending (FIN) is passed on once all before it was sent, and the other direction goes on. When
    both have finished, or an ``upstream`` that has finished is closed, the connection is done: the client gets all that
    came, and then the end of file. A reset is passed on as a reset, where the other end is a bare TCP socket; a UNIX
    ``upstream`` has none: it may close with input unread, as programs do. What an end no longer takes is discarded.
    An ``upstream`` that has not got the end of file is reset also when the connection is closed for another reason, so
    that it does not take a part for the whole.

    ``pipe`` is for splice(2), which moves what comes in bulk from a TCP socket. ``on_end`` is called once, with the
    outcome, when both sockets are closed.
    """

    __slots__ = ("_client", "_on_end", "_pipe", "_upstream")

    def __init__(
        self,
        owner: Owner,
        request: StreamSocket,
        peer: Peer,
        upstream: StreamSocket | None,
        pipe: SplicePipe | None = None,
        on_end: Callable[[Outcome], object] | None = None,
    ) -> None:
        super().__init__(owner, request, peer)
        self._client = self._output = _End(request, owner.input)
        self._upstream = _NO_UPSTREAM
        self._on_end = on_end
        self._pipe = pipe
        if upstream is not None:
            self._join(upstream)

    def _join(self, upstream: StreamSocket) -> None:
        """Set ``upstream``. `_begin_relay` follows once the client is watched."""
        self._upstream = _End(upstream, IN)
        if (bare := self._upstream.bare) and bare.family != AF_UNIX:
            self._upstream.input = self._upstream.mask = EDGE
            bare.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)  # urgent data stays in its place
        if not (self._client.bare and bare):
            self._pipe = None

    def start(self) -> None:
        super().start()
        self._begin_relay()

    def _begin_relay(self) -> None:
        upstream = self._upstream
        if upstream.wrapped:
            upstream.wrapped.on_more = self._receive_later
        self._owner.loop.watch(upstream.stream.fileno(), upstream.mask, self._receive_upstream)
        if not (self._client.bare and upstream.bare):
            self._receive_pending()

    def trace(self, taps: Taps) -> None:
        super().trace(taps)
        self._client.stream = self.socket

    def end_upstream(self) -> None:
        """Take no more from ``upstream`` than what has come, although it may be open elsewhere: send that and finish.

        For a program that has ended and left its socket to another one. In the thread of the loop.
        """
        with suppress(OSError):  # it has ended
            self._upstream.stream.shutdown(SHUT_RDWR)

    def _receive(self, mask: int) -> None:
        client, upstream = self._client, self._upstream
        if mask != IN:
            return self._ready(client, upstream, mask)
        if not (client.finished or upstream.pending) and self._pass(client, upstream, IN):
            self._await_both()

    def _receive_upstream(self, mask: int) -> None:
        client, upstream = self._client, self._upstream
        try:
            if mask != IN:
                return self._ready(upstream, client, mask)
            if not (upstream.finished or client.pending) and self._pass(upstream, client, IN):
                self._await_both()
        except MemoryError as error:  # the loop finds a connection by the client's descriptor alone
            self.fail(error)

    def _receive_pending(self) -> None:
        """Receive from each end that may hold input unknown to the kernel (`WrappedSocket`)."""
        try:
            for end, other in ((self._client, self._upstream), (self._upstream, self._client)):
                if end.bare is None and not self._is_over:
                    self._ready(end, other, 0)
        except MemoryError as error:
            self.fail(error)

    @property
    def _is_over(self) -> bool:
        """Whether nothing is relayed any more: the connection lingers or is closed."""
        return self._upstream.stream.fileno() < 0

    def _ready(self, end: _End, other: _End, mask: int) -> None:
        """There is input from this end, or room to send to it, or it is lost."""
        if mask & _LOST and (end.finished or other.pending) and self._is_lost(end, mask):
            return
        if end.pending and mask & _ROOM:
            self._flush_to(end)
            # Directly: where this fills the room again, epoll has to be asked for nothing else.
            if not end.pending and not other.finished and not self._is_over:
                self._pass(other, end, IN)
            if self._is_over:
                return
        elif end.shuts and mask & _ROOM:
            self._shut(end)
        passed = not end.finished and not other.pending and self._pass(end, other, mask)
        if passed or mask & ~IN:
            self._await_both()

    def _await_both(self) -> None:
        """Wait for what each end can do next."""
        if self._is_over:
            return
        client, upstream = self._client, self._upstream
        for end, other, ready in ((client, upstream, self._receive), (upstream, client, self._receive_upstream)):
            if end.finished and end.mask == EDGE and not (end.pending or end.shuts):
                continue  # no input follows that epoll would report
            reads = not (end.finished or other.pending)
            mask = (end.input if reads else 0) | (OUT if end.pending or end.shuts else 0) or _QUIET
            if mask != end.mask or (reads and end.rearm):
                end.rearm = False
                end.mask = mask
                self._owner.loop.change(end.stream.fileno(), mask, ready)
                if reads and end.bare is None:
                    self._receive_later()

    def _pass(self, source: _End, sink: _End, mask: int) -> bool:
        """Send on one piece of input. Returns whether anything else is to be waited for, or epoll to be asked anew."""
        if source.in_bulk and not sink.ended and self.socket is self._untraced and self._splice(source, sink):
            return True
        try:
            data = source.stream.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._is_unix_upstream(source):
                self._reset(source, error)
                return False
            data = b""
        size = len(data)
        if not size:
            self._finish_input(source, sink)
            return True
        sent = 0
        if not sink.ended:
            try:
                sent = sink.stream.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._count_moved(source, size, 0)
                self._refused(sink, error)
                return True
            if sent < size:
                sink.pending = memoryview(data)[sent:]
        # As `_count_moved`: to call it would be 2 % of a small request.
        owner = self._owner
        self.active = owner.loop.now
        if source is self._client:
            self.requests += 1
            self.bytes_in += size
        else:
            self.bytes_out += sent
        if self.bytes_in + self.bytes_out > owner.most_bytes:
            self.close("bytes")
        if size == CHUNK:
            source.in_bulk = self._pipe is not None and source.input == EDGE
        elif not mask & ~IN:
            return sent < size and not sink.ended
        source.rearm = True
        return True

    def _splice(self, source: _End, sink: _End) -> bool:
        """As `_pass`, by splice(2). False: nothing moved, and only recv(2) can tell why."""
        pipe, here, there = self._pipe, source.bare, sink.bare
        source.in_bulk = False
        if not (pipe and here and there and pipe.open()):
            return False
        try:
            received = pipe.receive(here, there)
        except BlockingIOError:
            return False
        except OSError as error:
            self._reset(source, error)
            return True
        if not received:
            return False
        source.in_bulk = received >= CHUNK
        source.rearm = True
        try:
            if rest := pipe.send(there, received):
                sink.pending = rest
        except OSError as error:
            self._count_moved(source, received, 0)
            self._refused(sink, error)
            return True
        self._count_moved(source, received, received - len(sink.pending))
        return True

    def _flush_to(self, sink: _End) -> None:
        try:
            sent = sink.flush(sink.stream)
        except BlockingIOError:
            return
        except OSError as error:
            return self._refused(sink, error)
        self._count_moved(self._upstream if sink is self._client else self._client, 0, sent)

    def _count_moved(self, source: _End, received: int, sent: int) -> None:
        """Count what the client sent or was sent."""
        self.active = self._owner.loop.now
        if not (self._count(received, 0) if source is self._client else self._count(0, sent)):
            self.close("bytes")

    def _finish_input(self, source: _End, sink: _End) -> None:
        """All input of this end is sent on, and so is now its end."""
        source.finished = True
        self._eof = self._client.finished
        if not sink.ended:
            sink.ended = True
            if not (source.ended and sink.finished and sink.bare):  # else it is closed now, which says the same
                self._shut(sink)
        if source.ended:
            self._conclude()

    def _shut(self, sink: _End) -> None:
        """Finish sending to this end."""
        sink.shuts = False
        try:
            sink.stream.shutdown(SHUT_WR)
        except BlockingIOError:
            sink.shuts = True
        except OSError:  # it was reset: its own event tells
            pass

    def _is_lost(self, end: _End, mask: int) -> bool:
        """Whether this ends the connection: an end is reset or closed, and nothing is received from it now."""
        if end.finished and end is self._upstream:
            self._conclude()
        elif mask & select.EPOLLERR and not self._is_unix_upstream(end):
            number = end.bare.getsockopt(SOL_SOCKET, SO_ERROR) if end.bare else errno.ECONNRESET
            if number:
                self._refused(end, OSError(number, ""))
        return self._is_over

    def _refused(self, sink: _End, error: OSError) -> None:
        """An end takes no more. EPIPE: what it has sent before may be there still, and comes to an end."""
        if self._is_over:
            return
        is_reset = not isinstance(error, BrokenPipeError) and not self._is_unix_upstream(sink)
        if is_reset and not sink.finished:
            return self._reset(sink, error)
        if sink is self._client:
            self._ending = outcome_of(error)
        sink.pending = b""
        sink.ended = True
        if self._client.ended and self._upstream.ended:
            self._conclude()

    def _reset(self, end: _End, error: OSError) -> None:
        """An end has reset its connection: reset that of the other."""
        if end is self._upstream:
            self._pass_last()
            set_reset(self._client)
        self.close(outcome_of(error))

    def _pass_last(self) -> None:
        """Send on what ``upstream`` sent before it reset its connection, as far as there is room: it may say why."""
        client = self._client
        with suppress(OSError):
            while not client.pending and (data := self._upstream.stream.recv(CHUNK)):
                sent = client.stream.send(data)
                client.pending = data[sent:]
                self._count(0, sent)

    def _conclude(self) -> None:
        """Both directions have ended: let the client close."""
        self._close_upstream()
        self._ending = outcome = self._ending or "done"
        self._rearm = True  # `_mask` is not that of the client
        if self._client.shuts:
            return self._wait(OUT, self._flush)
        if self._eof:
            return self.close(outcome)
        self._await_end(outcome)

    def _close_upstream(self) -> None:
        upstream = self._upstream
        if not self._is_over:
            self._owner.loop.unwatch_closing(upstream.stream.fileno())
            if not upstream.ended:
                set_reset(upstream)
            upstream.stream.close()

    def _is_unix_upstream(self, end: _End) -> bool:
        """Whether its errors say only that it was closed with input unread (unix(7))."""
        return end is self._upstream and end.bare is not None and end.input == IN

    def close(self, outcome: Outcome) -> None:
        self._close_upstream()
        super().close(outcome)

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        on_end, self._on_end = self._on_end, None
        if on_end:
            on_end(outcome)


def set_reset(end: _End) -> None:
    """Have its close reset it, if it is a TCP socket, or wraps one."""
    if end.bare:
        with suppress(OSError):
            end.bare.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    elif end.wrapped:
        end.wrapped.reset_on_close()
