"""Blocking request handlers, as those of `socketserver`: each connection has a thread, for a limited time.

Threads are few (`MOST_THREADS`), and a connection has one for `limits.lifetime` at most: from the start, or, where the
service declares `client_speaks_first`, from the first octet, so that a silent client occupies no thread. The loop
handles time-outs; it ends a handler by shutting the socket down, on which a blocking call of the handler returns. The
loop alone writes the counters: a thread writes to its connection alone.
"""

import contextlib
import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream.connection import IN, Connection, Owner, outcome_of
from netd.transport.stream.stream_socket import BareSocket
from netd.transport.tap import Taps

MOST_THREADS = 32
"""Connections of one listener that are handled at the same time. The next one is refused."""
_FIRST_BYTE_TIMEOUT = 10.0
"""Seconds that a client that speaks first has for that: time to type a line, and short enough for a stop to wait."""
# What the kernel says of a client that has vanished, and connect(2) of a server that the handler cannot reach.
_UNREACHABLE = {errno.ETIMEDOUT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}
_TCP_CLOSE = 7  # tcp_states.h: the state of a connection that is broken, the first octet of struct tcp_info


Handle = Callable[[Any, Any], object]
"""Called with a socket and the client's address. Returns when the connection is served."""


class ThreadSlots:
    """The number of threads of one listener, up to `MOST_THREADS`. For the thread of the loop."""

    def __init__(self) -> None:
        self.taken = 0

    def __bool__(self) -> bool:
        """Whether a slot is free."""
        return self.taken < MOST_THREADS

    def acquire(self) -> bool:
        """Take a slot. False: all are taken."""
        is_free = bool(self)
        self.taken += is_free
        return is_free

    def release(self) -> None:
        """Free a slot that was taken."""
        assert self.taken > 0, "a slot was taken"
        self.taken -= 1


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of one listener, each of which calls ``handle``.

    ``client_speaks_first``: a thread starts at the first octet of the peer.
    """

    handle: Handle
    client_speaks_first: bool
    slots: ThreadSlots = field(default_factory=ThreadSlots)


class ThreadedConnection(Connection):
    """A connection that a handler serves in a thread, with blocking calls."""

    socket: "CountingSocket"
    __slots__ = ("_aborted", "_client_address", "_handling", "_taps", "_threads")

    def __init__(self, owner: Owner, request: BareSocket, peer: Peer, client_address: Any, threads: Threads) -> None:
        self._client_address = client_address
        self._threads = threads
        self._handling = False
        self._taps: Taps = ()
        self._aborted = False  # the socket is shut down, and the handler has not returned yet
        super().__init__(owner, CountingSocket(self, request), peer)

    def start(self) -> None:
        loop = self._owner.loop
        if self._threads.client_speaks_first:
            loop.watch(self.descriptor, IN, self._on_first_byte)
            until = self.opened + _FIRST_BYTE_TIMEOUT
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
        self.socket.setblocking(True)
        if not self._threads.slots.acquire():
            self._owner.events.connection_refused("threads", self.peer.credentials or self.peer.host)
            return self.close("done")  # it was counted as accepted already
        self._handling = True
        try:
            threading.Thread(target=self._handle, name=f"netd-{self.service_name}", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # the system has no thread left
            self._owner.events.accept_paused(str(error))
            self._abort("failed")
            self._on_handler_exit(None)

    def _release_thread(self) -> bool:
        """Release the slot of the thread, if it has one: whether it had."""
        if not self._handling:
            return False
        self._handling = False
        self._threads.slots.release()
        return True

    def _handle(self) -> None:
        """The function of the thread."""
        failure: BaseException | None = None
        try:
            self._threads.handle(self.socket, self._client_address)
        except BaseException as error:  # an exception of a handler, SystemExit too, ends this connection alone
            failure = error
        if self._aborted:
            self.socket.close()  # the loop may have ended by now
        self._owner.loop.call(lambda: self._on_handler_exit(failure))

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
        if self._aborted or failure or self.descriptor < 0:
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

    def trace(self, taps: Taps) -> None:
        self._taps = taps

    def received(self, data: bytes | memoryview) -> None:
        """The thread has received this."""
        for tap in self._taps:
            tap.record(self.peer, "in" if data else "end", len(data), data)
        self._record(len(data), 0)

    def sent(self, data: memoryview) -> None:
        """The thread has sent this."""
        for tap in self._taps:
            tap.record(self.peer, "out", len(data), data)
        self._record(0, len(data))

    def _record(self, received: int, sent: int) -> None:
        self.active = monotonic()  # `Loop.now` stands still while the loop waits
        if not self._count(received, sent):
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


class CountingSocket(socket.socket):
    """A socket that passes what it receives and sends to its connection, to be counted and traced."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ThreadedConnection, request: socket.socket) -> None:
        super().__init__(request.family, request.type, request.proto, request.detach())
        self._connection = connection

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if not flags & socket.MSG_PEEK:
            self._connection.received(data)
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        number = super().recv_into(buffer, size, flags)
        if not flags & socket.MSG_PEEK:
            with memoryview(buffer).cast("B") as octets:
                self._connection.received(octets[:number])
        return number

    def send(self, data: Any, *arguments: Any) -> int:
        number = super().send(data, *arguments)
        with memoryview(data).cast("B") as octets:
            self._connection.sent(octets[:number])
        return number

    def sendall(self, data: Any, *arguments: Any) -> None:
        with memoryview(data).cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.send(octets[sent:], *arguments)
