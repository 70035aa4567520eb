"""Blocking request handlers, as those of `socketserver`: each connection has a thread, for a limited time.

Threads are few (`limits.threads`), and a connection has one for `limits.lifetime` at most: from the start, or, where
the service declares `client_speaks_first`, from the first octet, so that a silent client occupies no thread. The loop
handles time-outs; it ends a handler by shutting the socket down, on which a blocking call of the handler returns. The
loop alone writes the counters: a thread writes to its connection alone.
"""

import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from netd.admission.threads import ThreadSlots
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.handler_threads import failure_of
from netd.transport.handler_watch import watch_of
from netd.transport.stream.connection import IN, Connection, Owner, outcome_of
from netd.transport.stream.counting_socket import CountingSocket
from netd.transport.stream.stream_socket import CHUNK, BareSocket
from netd.transport.tap import Taps

FIRST_BYTE_TIMEOUT = 10.0
"""Seconds that a client that speaks first has for that: time to type a line, and short enough for a stop to wait."""
_recv = socket.socket.recv  # that of the base class counts nothing
# What the kernel says of a client that has vanished, and connect(2) of a server that the handler cannot reach.
_UNREACHABLE = {errno.ETIMEDOUT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}
_TCP_CLOSE = 7  # tcp_states.h: the state of a connection that is broken, the first octet of struct tcp_info

Handle = Callable[[Any, Any], object]
"""Called with a socket and the client's address. Returns when the connection is served."""


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of one listener, each of which calls ``handle``.

    ``client_speaks_first``: a thread starts at the first octet of the peer.
    """

    handle: Handle
    client_speaks_first: bool
    slots: ThreadSlots


class ThreadedConnection(Connection):
    """A connection that a handler serves in a thread, with blocking calls."""

    socket: CountingSocket
    __slots__ = ("_aborted", "_client_address", "_handling", "_moved", "_moved_at", "_threads", "most_bytes", "taps")

    def __init__(
        self,
        owner: Owner,
        request: BareSocket,
        peer: Peer,
        client_address: Any,
        threads: Threads,
        socket_class: type[CountingSocket] | None = None,
    ) -> None:
        self._client_address = client_address
        self._threads = threads
        self._handling = False
        self.taps: Taps = ()
        self.most_bytes = owner.most_bytes
        self._moved = 0  # octets, as of `_moved_at`
        self._aborted = False  # the socket is shut down, and the handler has not returned yet
        super().__init__(owner, (socket_class or CountingSocket)(self, request), peer)

    def start(self) -> None:
        loop = self._owner.loop
        if self._threads.client_speaks_first:
            loop.watch(self.descriptor, IN, self._on_first_byte)
            until = self.opened + FIRST_BYTE_TIMEOUT
            self._deadline = until if self._deadline is None else min(self._deadline, until)
        if (when := self._next_timeout()) is not None:
            loop.wheel.add(self, when)
        if not self._threads.client_speaks_first:
            self._start_thread()

    def _on_first_byte(self, mask: int) -> None:
        """The first octet or the end of file has come."""
        owner = self._owner
        first = self._take(super(CountingSocket, self.socket).recv, 1, socket.MSG_PEEK)  # the handler reads it
        if first is None:
            return
        if not first:
            return self.close("done")
        owner.loop.unwatch(self.descriptor)
        self._deadline = owner.loop.now + owner.limits.lifetime if owner.limits.lifetime else None
        self._start_thread()

    def _start_thread(self) -> None:
        if not self._threads.slots.acquire():
            self._owner.events.connection_refused("threads", self.peer.credentials or self.peer.host)
            return self.close("done")  # it was counted as accepted already
        self._handling = True
        try:
            self._start_handler()
        except (RuntimeError, MemoryError) as error:  # the system has no thread left
            self._owner.events.accept_paused(str(error))
            self._abort("failed")
            self._on_handler_exit(None)

    def _start_handler(self) -> None:
        watch = watch_of(self._owner.loop)
        watch.look()
        self.socket.setblocking(True)
        watch.threads.run(self._handle, f"netd-{self.service_name}")

    def _release_thread(self) -> bool:
        """Release the slot of the thread, if it has one: whether it had."""
        if not self._handling:
            return False
        self._handling = False
        self._threads.slots.release()
        return True

    def _handle(self) -> None:
        """The function of the thread."""
        watch = watch_of(self._owner.loop)
        watch.begin(self)
        failure = failure_of(self._threads.handle, self.socket, self._client_address)
        watch.end()
        if self._aborted:
            self.socket.close()  # the loop may have ended by now
        elif not failure:
            self._look_for_end()
        self._owner.loop.call(partial(self._on_handler_exit, failure))
        del failure

    def _look_for_end(self) -> None:
        """Whether the client has finished: then the loop has nothing to wait for. In the thread, which has to read."""
        with contextlib.suppress(OSError, MemoryError):  # there is no input, or it is broken or closed
            self.socket.setblocking(False)  # also where the handler has set a time-out
            self._eof = not _recv(self.socket, CHUNK)

    def _on_handler_exit(self, failure: BaseException | None) -> None:
        """The handler has returned: finish the connection, unless it was aborted."""
        if not self._release_thread():
            return
        if isinstance(failure, OSError) and self._is_broken(failure):
            self._ending = self._ending or outcome_of(failure)
        elif failure:
            self._owner.events.conversation_failed(self.peer, failure)
            self._ending = "failed"
        outcome = self._ending or "done"
        if self._eof:
            # Not in the thread: a client that sees the end may come again at once, and has to find a free slot.
            with contextlib.suppress(OSError):  # it is broken
                self.socket.shutdown(socket.SHUT_WR)  # a file of the handler may keep it open
        if self._aborted or failure or self._eof or self.descriptor < 0:
            return self._end(outcome)
        try:
            descriptor = self.descriptor
            self.socket.setblocking(False)
            self._owner.loop.watch(descriptor, IN, self._linger)
        except OSError:  # another thread of the handler has closed the socket meanwhile
            return self._end(outcome)
        self._finish(outcome)

    def _is_broken(self, error: OSError) -> bool:
        """Whether an error of the handler says that this connection is broken, and not another one of the handler."""
        if error.errno not in _UNREACHABLE:
            return isinstance(error, ConnectionError | TimeoutError)
        try:
            return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        except OSError:  # over UNIX there is no such error; or the handler has closed the socket
            return False

    @property
    def active(self) -> float:
        """When the handler has received or sent last. A second late at most: `HandlerWatch` asks that often.

        To read the clock with each octet of `makefile` and `sendall` would take as long as to count it.
        """
        moved = self.bytes_in + self.bytes_out
        if moved != self._moved:
            self._moved, self._moved_at = moved, monotonic()
        return self._moved_at

    @active.setter
    def active(self, when: float) -> None:
        self._moved_at = when

    def trace(self, taps: Taps) -> None:
        self.taps = taps

    def received(self, data: bytes | memoryview) -> None:
        """The thread has received this."""
        for tap in self.taps:
            tap.record(self.peer, "in" if data else "end", len(data), data)
        self.count(len(data), 0)

    def sent(self, data: memoryview) -> None:
        """The thread has sent this."""
        for tap in self.taps:
            tap.record(self.peer, "out", len(data), data)
        self.count(0, len(data))

    def count(self, received: int, sent: int) -> None:
        """The thread has received and sent so many octets."""
        self.requests += received > 0
        self.bytes_in = all_in = self.bytes_in + received
        self.bytes_out = all_out = self.bytes_out + sent
        self._moved, self._moved_at = all_in + all_out, monotonic()  # `Loop.now` stands still while the loop waits
        if all_in + all_out > self.most_bytes:
            self.exceed()

    def exceed(self) -> None:
        """There are more octets than `limits.bytes`."""
        self._abort("bytes")
        raise ConnectionAbortedError("limits.bytes")

    def close(self, outcome: Outcome) -> None:
        """End it. Under a handler, the socket is shut down, and closed when the handler returns."""
        if self._handling:
            self._abort(outcome)
        else:
            # A file object of the handler may keep the socket open after its close (socket.makefile).
            with contextlib.suppress(OSError):  # epoll did not take it
                self._owner.loop.unwatch(self.socket.fileno())
            super().close(outcome)

    def abandon(self) -> None:
        """End it without waiting for its thread: the loop has ended."""
        if self._release_thread():
            self._end(self._ending or "done")

    def _abort(self, outcome: Outcome) -> None:
        if not self._aborted:
            self._aborted = True
            self._ending = outcome
            with contextlib.suppress(OSError):  # the peer has reset it, or the handler has closed it
                self.socket.shutdown(socket.SHUT_RDWR)
