"""A socket for each question: for services that say one thing and close, and for connecting alone.

Their answers do not say to which question they are, so the socket has to.
"""

import os
import select
import socket
import time
from collections import deque

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Plain
from netd.client.probe.sessions import SessionListener, open_socket, verdict
from netd.client.probe.targets import Address


class OneShotSessions:
    """The questions that are under way to one target, ``most`` of them at once."""

    lingers = False

    def __init__(
        self,
        account: SessionListener,
        question: Plain,
        addresses: tuple[Address, ...],
        poller: Poller,
        kind: socket.SocketKind,
        most: int,
    ) -> None:
        self.account = account
        self.question = question
        self.poller = poller
        self.kind = kind
        self.under_way: dict[int, OneShotSession] = {}
        self._addresses = deque(addresses)
        self._most = most

    def open(self) -> None:
        self.account.opened(None)

    def compose(self, number: int, due: int) -> bytes:
        return b""  # anything will do over UDP, and nothing is least (RFC 867, RFC 868)

    def ask(self, number: int, data: bytes) -> bool:
        if len(self.under_way) >= self._most:
            return False
        OneShotSession(self, number).go(self._addresses[0])
        return True

    def next_address(self, tried: Address) -> Address | None:
        """Where else to go; nowhere once one address has answered."""
        if self._addresses[0] == tried and len(self._addresses) > 1 and not self.account.tally.received:
            self._addresses.popleft()
        return self._addresses[0] if self._addresses[0] != tried else None

    def give_up(self, number: int) -> None:
        if errand := self.under_way.get(number):
            errand.close()

    def close(self) -> None:
        for errand in list(self.under_way.values()):
            errand.close()


class OneShotSession:
    """One question and its socket."""

    def __init__(self, errands: OneShotSessions, number: int) -> None:
        self._errands = errands
        self._number = number
        self._said = b""
        self._connected = False

    def go(self, address: Address) -> None:
        self._address = address
        self._socket = open_socket(address, self._errands.kind)
        self._errands.under_way[self._number] = self
        self._errands.poller.watch(self._socket.fileno(), select.EPOLLOUT, self._ready)
        self._began = time.monotonic_ns()
        self._errands.account.sends(self._number, self._began)
        try:
            self._socket.connect(address[1])
            self._opened(time.monotonic_ns())
        except BlockingIOError as error:
            if address[0] == socket.AF_UNIX:  # its queue is full; it will not call back (connect(2))
                self._failed(error)
        except OSError as error:
            self._failed(error)

    def _opened(self, now: int) -> None:
        self._connected = True
        if self._errands.kind == socket.SOCK_DGRAM:
            self._socket.send(b"")
        else:
            self._errands.account.tally.connect.add(now - self._began)
        if not self._errands.question.longest:
            self._answered(now)
        else:
            self._errands.poller.change(self._socket.fileno(), select.EPOLLIN)

    def _failed(self, error: OSError) -> None:
        self.close()
        if other := self._errands.next_address(self._address):
            self.go(other)
        else:
            self._errands.account.tally.lose(self._number, *verdict(error))
            self._errands.account.wake()

    def _ready(self, events: int, now: int) -> None:
        try:
            if number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            if self._connected:
                self._receive(now)
            else:
                self._opened(now)
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error)

    def _receive(self, now: int) -> None:
        piece = self._socket.recv(65536)
        self._said += piece
        if self._errands.kind == socket.SOCK_STREAM and piece and len(self._said) <= self._errands.question.longest:
            return  # it is all said when it closes
        self._answered(now)

    def _answered(self, now: int) -> None:
        account, question = self._errands.account, self._errands.question
        self.close()
        if question.right(self._said):
            account.answered(self._number, now, question.clock(self._said, time.time()))
        elif self._said:
            account.tally.corrupted += 1
            account.tally.lose(self._number, Outcome.WRONG)
        else:
            account.tally.lose(self._number, Outcome.CLOSED)
        account.wake()

    def close(self) -> None:
        self._errands.poller.forget(self._socket.fileno())
        self._socket.close()
        self._errands.under_way.pop(self._number, None)
