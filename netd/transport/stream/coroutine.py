"""Handlers that are coroutines, as those of `asyncio.start_server`, in the one loop of asyncio that a worker has.

All is as for a handler in a thread, but that a connection takes no thread, and that its end cancels the handler.
"""

import asyncio
import contextlib
import socket
from typing import Any

from netd.admission.threads import ThreadSlots
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.handler_watch import watch_of
from netd.transport.loop import Loop
from netd.transport.stream.asyncio_loop import Handle, Running, asyncio_of
from netd.transport.stream.connection import Connection, Owner
from netd.transport.stream.counting_socket import CountingSocket
from netd.transport.stream.stream_socket import BareSocket, StreamSocket
from netd.transport.stream.threaded import ThreadedConnection, Threads
from netd.transport.stream.threaded_relay import ThreadedRelay


class Coroutines:
    """The handlers of one listener, each of which calls ``handle``, a coroutine function."""

    def __init__(self, handle: Handle, owner: Loop) -> None:
        self._handle = handle
        self._owner = owner
        self._running: dict[Connection, Running] = {}

    def start(self, connection: "CoroutineConnection | CoroutineRelay", opened: socket.socket) -> None:
        """Have a handler serve this socket. OSError: there is no room for the loop of asyncio."""

        def ended(failure: BaseException | None) -> None:
            self._owner.call(lambda: self._on_end(connection, failure))

        loop = asyncio_of(self._owner)
        loop.running += 1
        self._running[connection] = loop.start(self._handle, opened, connection, ended)
        watch_of(self._owner).look()

    def _on_end(self, connection: "CoroutineConnection | CoroutineRelay", failure: BaseException | None) -> None:
        asyncio_of(self._owner).running -= 1
        self._running.pop(connection, None)
        connection.handler_ended(failure)

    def cancel(self, connection: Connection) -> None:
        """Cancel the handler of a connection, if it has one. Safe from any thread."""
        if running := self._running.get(connection):
            running.cancel()

    def finish(self) -> None:
        """Give those that were cancelled a moment to end. Netd's loop has ended."""
        if self._running:
            asyncio_of(self._owner).finish(self._running.values())
        for connection in self._running:
            if isinstance(connection, CoroutineRelay):
                connection.take_back()


class _NoSlots(ThreadSlots):
    """Stands for the slots of threads: a coroutine takes none."""

    def __init__(self) -> None:
        """There is nothing to count."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _addresses(peer: Peer, client_address: Any) -> tuple[Any, Any]:
    """The local and the remote address, as the socket module has them. ``client_address`` has the interface."""
    if peer.family == "unix":
        return peer.local_host, peer.host
    local, remote = (peer.local_host, peer.local_port), (peer.host, peer.port)
    if peer.family == "ipv4":
        return local, remote
    return (*local, 0, 0), (*remote, *(tuple(client_address)[2:] or (0, 0)))


def _is_unfinished(failure: BaseException | None) -> bool:
    """Whether the client has left in the middle of what the handler wanted (`StreamReader.readexactly`)."""
    return isinstance(failure, asyncio.IncompleteReadError)


class CoroutineConnection(ThreadedConnection):
    """A connection that a coroutine serves."""

    __slots__ = ("_coroutines", "addresses")

    def __init__(
        self, owner: Owner, request: BareSocket, peer: Peer, client_address: Any, coroutines: Coroutines
    ) -> None:
        self._coroutines = coroutines
        self.addresses = _addresses(peer, client_address)
        super().__init__(owner, request, peer, client_address, _THREADLESS, _HandedSocket)

    def _start_handler(self) -> None:
        self._coroutines.start(self, self.socket)

    def handler_ended(self, failure: BaseException | None) -> None:
        """The coroutine has ended, with this exception or without one. Called once, in the thread of the loop."""
        if _is_unfinished(failure):
            self._ending = self._ending or "peer_error"
            failure = None
        self._on_handler_exit(failure)

    def _finish(self, outcome: Outcome) -> None:
        with contextlib.suppress(OSError):  # asyncio has shut it down for sending already
            self.socket.shutdown(socket.SHUT_WR)
        self._await_end(outcome)

    def exceed(self) -> None:
        self._abort("bytes")  # without an exception, which would hold the buffer that asyncio is sending

    def _abort(self, outcome: Outcome) -> None:
        super()._abort(outcome)
        self._coroutines.cancel(self)

    @property
    def is_handled(self) -> bool:
        """Whether its handler runs."""
        return self._handling


class _HandedSocket(CountingSocket):
    """The socket that asyncio gets. It is shut down where asyncio closes it, and netd closes it later."""

    __slots__ = ("leaves_open",)
    _connection: CoroutineConnection

    def __init__(self, connection: ThreadedConnection, request: socket.socket) -> None:
        super().__init__(connection, request)
        self.leaves_open = False

    def getsockname(self) -> Any:
        return self._connection.addresses[0]

    def getpeername(self) -> Any:
        return self._connection.addresses[1]

    def close(self) -> None:
        if not self._connection.is_handled:
            super().close()
        elif not self.leaves_open:
            with contextlib.suppress(OSError):  # it is broken
                self.shutdown(socket.SHUT_WR)


class CoroutineRelay(ThreadedRelay):
    """A client behind a stream that is wrapped, which is joined with a coroutine."""

    __slots__ = ("_coroutines",)

    def __init__(
        self, owner: Owner, request: StreamSocket, peer: Peer, client_address: Any, coroutines: Coroutines
    ) -> None:
        self._coroutines = coroutines
        super().__init__(owner, request, peer, client_address, _THREADLESS)

    def _start_handler(self) -> None:
        self._theirs = theirs = _PairSocket(fileno=self._theirs.detach())
        theirs.addresses = _addresses(self.peer, self._client_address)
        self._coroutines.start(self, theirs)

    def handler_ended(self, failure: BaseException | None) -> None:
        """As `CoroutineConnection.handler_ended`."""
        if _is_unfinished(failure):
            self._ending = self._ending or "peer_error"
            failure = None
        self.take_back()
        self._on_handler_exit(failure)

    def take_back(self) -> None:
        """Close the socket that asyncio had, which has no use for it any more."""
        if isinstance(self._theirs, _PairSocket):
            self._theirs.is_lent = False
            self._theirs.close()

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        self._coroutines.cancel(self)


class _PairSocket(socket.socket):
    """One end of a socket pair, with the addresses of the connection."""

    addresses: tuple[Any, Any]
    leaves_open = False
    is_lent = True

    def close(self) -> None:
        if not self.is_lent:
            super().close()
        elif not self.leaves_open:
            with contextlib.suppress(OSError):  # it is broken
                self.shutdown(socket.SHUT_WR)

    def getsockname(self) -> Any:
        return self.addresses[0]

    def getpeername(self) -> Any:
        return self.addresses[1]


_THREADLESS = Threads(lambda *arguments: None, client_speaks_first=False, slots=_NoSlots())
