"""Sockets on which many questions are under way at once: one for datagrams, one connection for a stream."""

import contextlib
import os
import select
import socket
import time
from collections import deque
from typing import Protocol

from netd.client.probe.outcomes import Outcome, outcome_of
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Tagged
from netd.client.probe.tally import Tally
from netd.client.probe.targets import Address
from netd.errors import OpenError

_ROOM = bytearray(2**17)  # what one call receives; more than the longest datagram
_ROOM_VIEW = memoryview(_ROOM)
_TURN = 64  # receives in a row, after which others have their turn
_LONGEST_GREETING = 1024  # octets


class SessionListener(Protocol):
    """Whom a session tells what happened."""

    tally: Tally
    timeout: int
    """Nanoseconds a question may take."""

    def waiting(self) -> list[int]:
        """Questions that have been sent and are waited for, the one due first first."""

    def due(self, number: int) -> int:
        """When a question was due."""

    def opened(self, took: int | None) -> None:
        """There is something to ask on now; a connection took so many nanoseconds."""

    def unopened(self, outcome: Outcome, reason: str) -> None:
        """There is nothing to ask on, and why."""

    def sends(self, number: int, now: int) -> None:
        """A question is sent at this moment, or tried to be."""

    def answered(self, number: int, now: int, told: int | None) -> None:
        """A right answer came at this moment, and told these seconds."""

    def wake(self) -> None:
        """What could not be sent can be tried again."""


class Session(Protocol):
    """A way to ask one target."""

    lingers: bool
    """Whether a second answer can come after the first."""

    def open(self) -> None:
        """Get ready to ask; the account is told when that is done, maybe before this returns."""

    def compose(self, number: int, due: int) -> bytes:
        """What to send, made before the clock is looked at."""

    def ask(self, number: int, data: bytes) -> bool:
        """Send a question; False where that cannot be done now."""

    def give_up(self, number: int) -> None:
        """A question has timed out."""

    def close(self) -> None: ...


def open_socket(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket that does not block. OpenError where this host has none left."""
    family, _ = address
    try:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise OpenError([f"cannot open a socket: {error.strerror}"]) from None
    if kind == socket.SOCK_STREAM and family != socket.AF_UNIX:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    elif kind == socket.SOCK_DGRAM and family == socket.AF_UNIX:
        made.bind("")  # an abstract name of the kernel's choice (unix(7)), to which the answers go
    return made


def verdict(error: OSError) -> tuple[Outcome, str]:
    """What an error says of the question, and in words; one that is not the target's fault is raised."""
    outcome = outcome_of(error)
    if outcome is None:
        raise OpenError([f"cannot go on: {error.strerror or error}"]) from None
    return outcome, error.strerror or str(error)


class _Socket:
    """What both kinds have: one socket at a time, to one address of a name after the other."""

    def __init__(
        self, account: SessionListener, question: Tagged, addresses: tuple[Address, ...], poller: Poller
    ) -> None:
        self._account = account
        self._question = question
        self._addresses = deque(addresses)
        self._poller = poller
        self._socket: socket.socket | None = None

    def compose(self, number: int, due: int) -> bytes:
        return self._question.question(number, due)

    def _next_address(self) -> bool:
        """Go on to the next address of the name, as long as nothing has answered from this one."""
        if len(self._addresses) == 1 or self._account.tally.received:
            return False
        self._addresses.popleft()
        return True

    def close(self) -> None:
        if self._socket:
            self._poller.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class Datagrams(_Socket):
    """One socket, connected: so the kernel throws away what others send, and tells of ICMP errors."""

    lingers = True

    def open(self) -> None:
        self._connect()
        self._account.opened(None)

    def _connect(self) -> OSError | None:
        """Open a socket to the first address that has a route."""
        while True:
            attempt = open_socket(self._addresses[0], socket.SOCK_DGRAM)
            try:
                attempt.connect(self._addresses[0][1])
            except OSError as error:
                attempt.close()
                if not self._next_address():
                    return error
            else:
                self._socket = attempt
                self._poller.watch(attempt.fileno(), select.EPOLLIN, self._ready)
                return None

    def ask(self, number: int, data: bytes) -> bool:
        error = None if self._socket else self._connect()
        try:
            if error is None:
                self._send(number, data)
        except BlockingIOError:
            assert self._socket
            self._poller.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return False
        except OSError as failure:
            error = failure
        if error:
            self._account.tally.lose(number, *verdict(error))
            self._account.wake()
            if self._addresses[0][0] == socket.AF_UNIX:
                self.close()  # the other end is gone for good; the next question looks for a new one
        return True

    def _send(self, number: int, data: bytes) -> None:
        assert self._socket
        try:
            self._account.sends(number, time.monotonic_ns())
            self._socket.send(data)
        except ConnectionRefusedError as error:
            if self._addresses[0][0] == socket.AF_UNIX:
                raise
            # This is the answer to an earlier question, and waited for somebody to hear it.
            self._refused(error)
            if self._socket:
                self._socket.send(data)

    def _refused(self, error: OSError) -> None:
        """An ICMP message came; it does not say to which question, so it is for the one that waited longest."""
        waiting = self._account.waiting()
        if self._next_address():
            self.close()
            for number in waiting:
                self.ask(number, self.compose(number, self._account.due(number)))
        elif waiting:
            self._account.tally.lose(waiting[0], *verdict(error))

    def _ready(self, events: int, now: int) -> None:
        assert self._socket
        if events & select.EPOLLOUT:
            self._poller.change(self._socket.fileno(), select.EPOLLIN)
            self._account.wake()
        for _ in range(_TURN):
            try:
                size = self._socket.recv_into(_ROOM)
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
                self._account.wake()
                return
            self._take(bytes(_ROOM_VIEW[:size]), now)
            now = time.monotonic_ns()  # what comes next may not have been there before

    def _take(self, answer: bytes, now: int) -> None:
        tally = self._account.tally
        number = self._question.number(answer)
        asked = number is not None and tally.was_asked(number)
        if number is not None and asked and self._question.right(answer, number, self._account.due(number)):
            self._account.answered(number, now, self._question.clock(answer))
        else:
            tally.corrupted += 1

    def give_up(self, number: int) -> None:
        pass


class Stream(_Socket):
    """One connection for all questions, whose answers come in their order."""

    lingers = False

    def __init__(
        self, account: SessionListener, question: Tagged, addresses: tuple[Address, ...], poller: Poller
    ) -> None:
        super().__init__(account, question, addresses, poller)
        self._connected = False
        self._began = 0
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._awaited: deque[int] = deque()
        """What has been asked on this connection, timed out or not: its answer comes all the same."""
        self._greeting = False

    def open(self) -> None:
        address = self._addresses[0]
        self._socket = open_socket(address, socket.SOCK_STREAM)
        self._connected = False
        self._poller.watch(self._socket.fileno(), select.EPOLLOUT, self._ready)
        self._began = time.monotonic_ns()
        try:
            self._socket.connect(address[1])
        except BlockingIOError as error:
            if address[0] == socket.AF_UNIX:  # its queue is full; it will not call back (connect(2))
                self._unopened(error)
        except OSError as error:
            self._unopened(error)
        else:
            self._opened(time.monotonic_ns())

    def _opened(self, now: int) -> None:
        assert self._socket
        self._connected = True
        self._greeting = self._question.greets
        self._poller.change(self._socket.fileno(), select.EPOLLIN)
        self._account.opened(now - self._began)

    def _unopened(self, error: OSError) -> None:
        self.close()
        if self._next_address():
            self.open()
        else:
            self._account.unopened(*verdict(error))

    def ask(self, number: int, data: bytes) -> bool:
        if not self._socket:
            self.open()
        # To open may have failed at once, which was the end of this question.
        if not self._account.tally.is_waiting(number):
            return True
        if not self._connected or self._unsent:
            return False
        assert self._socket
        try:
            self._account.sends(number, time.monotonic_ns())
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(*verdict(error))
            return False  # it will be asked on the next connection
        if sent:
            self._awaited.append(number)
            self._unsent = memoryview(data)[sent:]
        if sent < len(data):
            self._poller.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return sent > 0

    def _ready(self, events: int, now: int) -> None:
        assert self._socket
        if not self._connected:
            if number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._unopened(OSError(number, os.strerror(number)))
            else:
                self._opened(now)
            return
        if events & ~select.EPOLLOUT:
            self._receive(now)
        if events & select.EPOLLOUT and self._socket:
            self._flush()

    def _flush(self) -> None:
        assert self._socket
        with contextlib.suppress(OSError):  # what broke is said when it is read
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if not self._unsent:
            self._poller.change(self._socket.fileno(), select.EPOLLIN)
            self._account.wake()

    def _receive(self, now: int) -> None:
        for _ in range(_TURN):
            if not self._socket:
                return
            try:
                size = self._socket.recv_into(_ROOM)
            except BlockingIOError:
                return
            except OSError as error:
                return self._broken(*verdict(error))
            if not size:
                return self._broken(Outcome.CLOSED, "")
            self._received += _ROOM_VIEW[:size]
            self._take(now)
            if size < len(_ROOM):
                return
            now = time.monotonic_ns()

    def _take(self, now: int) -> None:
        tally = self._account.tally
        if self._greeting and (end := self._received.find(b"\n") + 1):
            del self._received[:end]
            self._greeting = False
        while not self._greeting and (length := self._question.length(self._received)):
            answer = bytes(self._received[:length])
            del self._received[:length]
            if not self._awaited:
                tally.corrupted += 1
                return self._broken(Outcome.WRONG, "")
            number = self._awaited.popleft()
            if self._question.right(answer, number, self._account.due(number)):
                self._account.answered(number, now, self._question.clock(answer))
            else:
                tally.corrupted += 1
                tally.lose(number, Outcome.WRONG)
        if len(self._received) > self._question.longest + _LONGEST_GREETING:
            tally.corrupted += 1
            self._broken(Outcome.WRONG, "")

    def _broken(self, outcome: Outcome, reason: str) -> None:
        """The connection is over, and with it all that was asked on it."""
        awaited = list(self._awaited)
        self.close()
        for number in awaited:
            self._account.tally.lose(number, outcome, reason)
        self._account.wake()

    def give_up(self, number: int) -> None:
        if not self._connected and time.monotonic_ns() - self._began >= self._account.timeout:
            self.close()  # the next question tries anew, since the kernel asks ever more rarely

    def close(self) -> None:
        super().close()
        self._connected = False
        self._unsent = memoryview(b"")
        self._received.clear()
        self._awaited.clear()
