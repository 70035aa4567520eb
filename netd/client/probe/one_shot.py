"""Sessions with a socket for each question: for services that send one answer and close, and for `connect`.

Their answers carry no number, so the socket identifies the question.
"""

import os
import select
import socket
import time
from collections import deque

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Plain, describe_wrong
from netd.client.probe.sessions import SessionListener
from netd.client.probe.sockets import TlsSocket, classify, connect, open_socket
from netd.client.probe.targets import Address
from netd.tls.client import ClientTls


class OneShotSessions:
    """The outstanding questions to one target, at most ``limit`` at once."""

    lingers = False

    def __init__(
        self,
        listener: SessionListener,
        question: Plain,
        addresses: tuple[Address, ...],
        poller: Poller,
        kind: socket.SocketKind,
        limit: int,
        tls: ClientTls | None = None,
    ) -> None:
        self.listener = listener
        self.question = question
        self.poller = poller
        self.kind = kind
        self.tls = tls
        self.open_sessions: dict[int, OneShotSession] = {}
        self._addresses = deque(addresses)
        self._limit = limit

    @property
    def address(self) -> Address:
        return self._addresses[0]

    def open(self) -> None:
        self.listener.on_open(None)

    def compose(self, number: int, due: int) -> bytes:
        return b""  # over UDP any datagram is a question, also an empty one (RFC 867, RFC 868)

    def ask(self, number: int, data: bytes) -> bool:
        if len(self.open_sessions) >= self._limit:
            return False
        OneShotSession(self, number).connect(self._addresses[0])
        return True

    def next_address(self, tried: Address) -> Address | None:
        """Another address to try after an error; None once an address has answered."""
        if self._addresses[0] == tried and len(self._addresses) > 1 and not self.listener.tally.received:
            self._addresses.popleft()
        return self._addresses[0] if self._addresses[0] != tried else None

    def on_timeout(self, number: int) -> None:
        if session := self.open_sessions.get(number):
            session.close()

    def close(self) -> None:
        for session in list(self.open_sessions.values()):
            session.close()


class OneShotSession:
    """One question and its socket."""

    def __init__(self, owner: OneShotSessions, number: int) -> None:
        self._owner = owner
        self._number = number
        self._received = b""
        self._connected = False

    def connect(self, address: Address) -> None:
        self._address = address
        self._socket = open_socket(address, self._owner.kind, self._owner.tls)
        self._owner.open_sessions[self._number] = self
        self._owner.poller.watch(self._socket.fileno(), select.EPOLLOUT, self._on_ready)
        self._began = time.monotonic_ns()
        self._owner.listener.on_send(self._number, self._began)
        try:
            connect(self._socket, address)
            self._on_connected(time.monotonic_ns())
        except BlockingIOError as error:
            if address[0] == socket.AF_UNIX:  # EAGAIN: its queue is full, and no event will follow (connect(2))
                self._on_error(error)
        except OSError as error:
            self._on_error(error)

    def _on_connected(self, now: int) -> None:
        tally = self._owner.listener.tally
        if self._owner.kind == socket.SOCK_DGRAM:
            self._socket.send(b"")
        else:
            tally.connect.add(now - self._began)
        if isinstance(self._socket, TlsSocket):
            self._shake(self._socket)
        else:
            self._on_open(now)

    def _shake(self, encrypted: TlsSocket) -> None:
        if mask := encrypted.shake() if encrypted.is_shaking else encrypted.begin(self._owner.listener.tally):
            self._owner.poller.change(encrypted.fileno(), mask)
        else:
            self._on_open(time.monotonic_ns())

    def _on_open(self, now: int) -> None:
        self._connected = True
        if not self._owner.question.longest:
            self._on_answer(now)
        else:
            self._owner.poller.change(self._socket.fileno(), select.EPOLLIN)

    def _on_error(self, error: OSError) -> None:
        self.close()
        if other := self._owner.next_address(self._address):
            self.connect(other)
        else:
            self._owner.listener.tally.lose(self._number, *classify(error))
            self._owner.listener.wake()

    def _on_ready(self, mask: int, now: int) -> None:
        try:
            if isinstance(self._socket, TlsSocket) and self._socket.is_shaking and not self._connected:
                self._shake(self._socket)
            elif number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            elif self._connected:
                self._receive(now)
            else:
                self._on_connected(now)
        except BlockingIOError:
            pass
        except OSError as error:
            self._on_error(error)

    def _receive(self, now: int) -> None:
        piece = self._socket.recv(65536)
        self._received += piece
        if self._owner.kind == socket.SOCK_STREAM and piece and len(self._received) <= self._owner.question.longest:
            return  # the answer is complete when the service closes
        self._on_answer(now)

    def _on_answer(self, now: int) -> None:
        listener, question = self._owner.listener, self._owner.question
        self.close()
        if question.right(self._received):
            listener.on_answer(self._number, now, question.clock(self._received, time.time()))
        elif self._received:
            listener.tally.corrupt(describe_wrong(question, self._received))
            listener.tally.lose(self._number, Outcome.WRONG, listener.tally.wrong)
        else:
            listener.tally.lose(self._number, Outcome.CLOSED)
        listener.wake()

    def close(self) -> None:
        self._owner.poller.unwatch(self._socket.fileno())
        self._socket.close()
        self._owner.open_sessions.pop(self._number, None)
