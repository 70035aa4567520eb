"""Blocking request handlers behind a stream that is wrapped, as by TLS: a thread gets one end of a socket pair.

So the handler has a socket, and the loop alone encrypts and decrypts.
"""

import contextlib
import socket
from functools import partial
from typing import Any

from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.handler_threads import failure_of
from netd.transport.handler_watch import waits_for_client, watch_of
from netd.transport.stream.connection import Owner
from netd.transport.stream.stream_socket import StreamSocket
from netd.transport.stream.threaded import FIRST_BYTE_TIMEOUT, Threads
from netd.transport.stream.waiting_relay import WaitingRelay


class _WatchedSocket(socket.socket):
    """A socket with methods in which a handler is seen to wait for its client."""

    __slots__ = ()

    def recv(self, *arguments: Any) -> bytes:
        return super().recv(*arguments)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return super().recv_into(buffer, nbytes, flags)

    def send(self, *arguments: Any) -> int:
        return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        return super().sendall(*arguments)


for _method in (_WatchedSocket.recv, _WatchedSocket.recv_into, _WatchedSocket.send, _WatchedSocket.sendall):
    waits_for_client(_method)


class ThreadedRelay(WaitingRelay):
    """A client that is joined with a handler in a thread, which it gets as a `ThreadedConnection` does."""

    __slots__ = ("_client_address", "_has_begun", "_theirs", "_threads")

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer, client_address: Any, threads: Threads) -> None:
        ours, theirs = socket.socketpair()
        self._theirs: socket.socket = _WatchedSocket(fileno=theirs.detach())
        ours.setblocking(False)
        super().__init__(owner, request, peer, ours)
        self._client_address = client_address
        self._threads = threads
        self._has_begun = False

    def start(self) -> None:
        if self._threads.client_speaks_first:
            self._wait_for_first(FIRST_BYTE_TIMEOUT, lambda: self.close("lifetime"))
            super().start()
        else:
            super().start()
            self._begin()

    def _begin(self) -> None:
        self._waits = None
        if self._is_over:
            return
        if not self._threads.slots.acquire():
            self._owner.events.connection_refused("threads", self.peer.credentials or self.peer.host)
            return self.close("done")  # it was counted as accepted already
        self._has_begun = True
        try:
            self._start_handler()
        except (RuntimeError, MemoryError) as error:  # the system has no thread left
            self._owner.events.accept_paused(str(error))
            self._ending = "failed"
            self._on_handler_exit(None)

    def _start_handler(self) -> None:
        watch = watch_of(self._owner.loop)
        watch.look()
        watch.threads.run(self._handle, f"netd-{self.service_name}")

    def _handle(self) -> None:
        """The function of the thread."""
        watch = watch_of(self._owner.loop)
        watch.begin(self)
        failure = failure_of(self._threads.handle, self._theirs, self._client_address)
        watch.end()
        self._owner.loop.call(partial(self._on_handler_exit, failure))
        del failure

    def _on_handler_exit(self, failure: BaseException | None) -> None:
        """The handler has returned: what it has sent is relayed, and then its end."""
        self._threads.slots.release()
        if isinstance(failure, TimeoutError) or (isinstance(failure, ConnectionError) and self._is_over):
            self._ending = self._ending or "reset"
        elif failure:
            self._owner.events.conversation_failed(self.peer, failure)
            self._ending = "failed"
        # A file object of the handler may keep it open (socket.makefile).
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)
        self._theirs.close()

    def _end(self, outcome: Outcome) -> None:
        self._wait_no_more()
        if not self._has_begun:
            self._theirs.close()
        super()._end(outcome)
