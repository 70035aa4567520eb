"""Sessions that carry many questions at once: over one datagram socket, or over one connection."""

import contextlib
import os
import select
import socket
import time
from collections import deque
from typing import Protocol

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Tagged, describe_wrong
from netd.client.probe.sockets import TlsSocket, classify, connect, open_socket
from netd.client.probe.tally import Tally
from netd.client.probe.targets import Address
from netd.tls.client import ClientTls

_BUFFER = bytearray(2**17)  # for one receive; larger than the longest datagram
_BUFFER_VIEW = memoryview(_BUFFER)
_MAX_RECEIVES = 64  # in a row, before the loop serves the other targets
_LONGEST_GREETING = 1024  # octets


class SessionListener(Protocol):
    """Callbacks of a session."""

    tally: Tally
    timeout: int
    """Nanoseconds for an answer."""

    def outstanding(self) -> list[int]:
        """The questions that were sent and have no outcome yet, the oldest first."""

    def due(self, number: int) -> int:
        """When a question was due, in nanoseconds of the monotonic clock."""

    def on_open(self, took: int | None) -> None:
        """The session can send. ``took``: nanoseconds to connect; None for datagrams."""

    def on_open_error(self, outcome: Outcome, reason: str) -> None:
        """The session could not connect."""

    def on_send(self, number: int, now: int) -> None:
        """The session is about to send a question."""

    def on_answer(self, number: int, now: int, clock: int | None) -> None:
        """A right answer arrived. ``clock``: the seconds since 1970 in it, if it has them."""

    def wake(self) -> None:
        """A question that could not be sent can be tried again."""


class Session(Protocol):
    """Sends questions to one target, and receives the answers."""

    lingers: bool
    """Whether a second answer can arrive after the first."""

    @property
    def address(self) -> Address:
        """The address of the name that is asked: the first one, or after an error the next."""

    def open(self) -> None:
        """Open the socket. Calls `on_open` or `on_open_error` of the listener, maybe before this returns."""

    def compose(self, number: int, due: int) -> bytes:
        """The octets of a question. A separate step, so that it is not in the time of the answer."""

    def ask(self, number: int, data: bytes) -> bool:
        """Send a question. False where it cannot be sent now."""

    def on_timeout(self, number: int) -> None:
        """A question has timed out."""

    def close(self) -> None: ...


class _Socket:
    """Common part of both sessions: one socket at a time, to one address of a name after the other."""

    def __init__(
        self, listener: SessionListener, question: Tagged, addresses: tuple[Address, ...], poller: Poller
    ) -> None:
        self._listener = listener
        self._question = question
        self._addresses = deque(addresses)
        self._poller = poller
        self._socket: socket.socket | None = None

    @property
    def address(self) -> Address:
        return self._addresses[0]

    def compose(self, number: int, due: int) -> bytes:
        return self._question.question(number, due)

    def _next_address(self) -> bool:
        """Change to the next address of the name, if there is one and no address has answered yet."""
        if len(self._addresses) == 1 or self._listener.tally.received:
            return False
        self._addresses.popleft()
        return True

    def close(self) -> None:
        if self._socket:
            self._poller.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None


class Datagrams(_Socket):
    """A session over one connected socket: the kernel drops datagrams of other senders, and reports ICMP errors."""

    lingers = True

    def open(self) -> None:
        self._connect()
        self._listener.on_open(None)

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
                self._poller.watch(attempt.fileno(), select.EPOLLIN, self._on_ready)
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
            error = failure.with_traceback(None)  # which has this frame
        if error:
            self._listener.tally.lose(number, *classify(error))
            self._listener.wake()
            if self._addresses[0][0] == socket.AF_UNIX:
                self.close()  # the other end was closed; the next question connects anew
        return True

    def _send(self, number: int, data: bytes) -> None:
        assert self._socket
        try:
            self._listener.on_send(number, time.monotonic_ns())
            self._socket.send(data)
        except ConnectionRefusedError as error:
            if self._addresses[0][0] == socket.AF_UNIX:
                raise
            # The pending error of an earlier question (ip(7)).
            self._refused(error)
            if self._socket:
                self._socket.send(data)

    def _refused(self, error: OSError) -> None:
        """Handle an ICMP error. It does not say for which question, so the oldest one gets it."""
        outstanding = self._listener.outstanding()
        if self._next_address():
            self.close()
            for number in outstanding:
                self.ask(number, self.compose(number, self._listener.due(number)))
        elif outstanding:
            self._listener.tally.lose(outstanding[0], *classify(error))

    def _on_ready(self, mask: int, now: int) -> None:
        assert self._socket
        if mask & select.EPOLLOUT:
            self._poller.change(self._socket.fileno(), select.EPOLLIN)
            self._listener.wake()
        for _ in range(_MAX_RECEIVES):
            try:
                size = self._socket.recv_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
                self._listener.wake()
                return
            self._handle_answer(bytes(_BUFFER_VIEW[:size]), now)
            now = time.monotonic_ns()  # the next datagram may have arrived only now

    def _handle_answer(self, answer: bytes, now: int) -> None:
        tally = self._listener.tally
        number = self._question.number(answer)
        asked = number is not None and tally.was_asked(number)
        if number is not None and asked and self._question.right(answer, number, self._listener.due(number)):
            self._listener.on_answer(number, now, self._question.clock(answer))
        else:
            tally.corrupt(describe_wrong(self._question, answer))

    def on_timeout(self, number: int) -> None:
        pass


class Stream(_Socket):
    """A session over one connection, on which answers arrive in the order of the questions."""

    lingers = False

    def __init__(
        self,
        listener: SessionListener,
        question: Tagged,
        addresses: tuple[Address, ...],
        poller: Poller,
        tls: ClientTls | None = None,
    ) -> None:
        super().__init__(listener, question, addresses, poller)
        self._tls = tls
        self._connected = False
        self._began = 0
        self._took = 0
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._awaited: deque[int] = deque()
        """Questions sent on this connection, also those that have timed out: their answers may still arrive."""
        self._greeting = False
        self._astray = False
        """Whether an answer on this connection was wrong, so that octets behind it may be a part of it."""

    def open(self) -> None:
        address = self._addresses[0]
        self._socket = open_socket(address, socket.SOCK_STREAM, self._tls)
        self._connected = False
        self._poller.watch(self._socket.fileno(), select.EPOLLOUT, self._on_ready)
        self._began = time.monotonic_ns()
        try:
            connect(self._socket, address)
        except BlockingIOError as error:
            if address[0] == socket.AF_UNIX:  # EAGAIN: its queue is full, and no event will follow (connect(2))
                self._on_open_error(error)
        except OSError as error:
            self._on_open_error(error)
        else:
            self._on_connected(time.monotonic_ns())

    def _on_connected(self, now: int) -> None:
        assert self._socket
        self._took = now - self._began
        if isinstance(self._socket, TlsSocket):
            self._shake(self._socket)
        else:
            self._on_open()

    def _shake(self, encrypted: TlsSocket) -> None:
        try:
            mask = encrypted.shake() if encrypted.is_shaking else encrypted.begin(self._listener.tally)
        except OSError as error:
            return self._on_open_error(error)
        if mask:
            self._poller.change(encrypted.fileno(), mask)
        else:
            self._on_open()

    def _on_open(self) -> None:
        assert self._socket
        self._connected = True
        self._greeting = self._question.greets
        self._poller.change(self._socket.fileno(), select.EPOLLIN)
        self._listener.on_open(self._took)

    def _on_open_error(self, error: OSError) -> None:
        self.close()
        if self._next_address():
            self.open()
        else:
            self._listener.on_open_error(*classify(error))

    def ask(self, number: int, data: bytes) -> bool:
        if not self._socket:
            self.open()
        # open() may have failed at once, and given this question its outcome.
        if not self._listener.tally.is_waiting(number):
            return True
        if not self._connected or self._unsent:
            return False
        assert self._socket
        sent = None
        try:
            self._listener.on_send(number, time.monotonic_ns())
            sent = self._socket.send(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(*classify(error))
            return False  # it is sent again on the next connection
        if sent is not None:
            self._awaited.append(number)
            self._unsent = memoryview(data)[sent:]
        if sent != len(data):
            self._poller.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return sent is not None

    def _on_ready(self, mask: int, now: int) -> None:
        assert self._socket
        if not self._connected:
            if isinstance(self._socket, TlsSocket) and self._socket.is_shaking:
                self._shake(self._socket)
            elif number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._on_open_error(OSError(number, os.strerror(number)))
            else:
                self._on_connected(now)
            return
        if mask & ~select.EPOLLOUT:
            self._receive(now)
        if mask & select.EPOLLOUT and self._socket:
            self._flush()

    def _flush(self) -> None:
        assert self._socket
        with contextlib.suppress(OSError):  # the next receive reports the error
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if not self._unsent:
            self._poller.change(self._socket.fileno(), select.EPOLLIN)
            self._listener.wake()

    def _receive(self, now: int) -> None:
        for _ in range(_MAX_RECEIVES):
            if not self._socket:
                return
            try:
                size = self._socket.recv_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                return self._fail(*classify(error))
            if not size:
                return self._fail(Outcome.CLOSED, "")
            self._received += _BUFFER_VIEW[:size]
            self._handle_answers(now)
            if size < len(_BUFFER):
                return
            now = time.monotonic_ns()

    def _handle_answers(self, now: int) -> None:
        tally = self._listener.tally
        if self._greeting and (end := self._received.find(b"\n") + 1):
            if self._question.number(bytes(self._received[:end])) is None:
                del self._received[:end]
            self._greeting = False
        while not self._greeting and (length := self._question.length(self._received)):
            answer = bytes(self._received[:length])
            del self._received[:length]
            if not self._awaited:
                if not self._astray:
                    tally.corrupt(describe_wrong(self._question, answer))
                return self._fail(Outcome.WRONG, tally.wrong)
            number = self._awaited.popleft()
            if self._question.right(answer, number, self._listener.due(number)):
                self._listener.on_answer(number, now, self._question.clock(answer))
            else:
                self._astray = True
                tally.corrupt(describe_wrong(self._question, answer))
                tally.lose(number, Outcome.WRONG, tally.wrong)
        if len(self._received) > self._question.longest + _LONGEST_GREETING:
            tally.corrupt(describe_wrong(self._question, bytes(self._received)))
            self._fail(Outcome.WRONG, tally.wrong)

    def _fail(self, outcome: Outcome, reason: str) -> None:
        """Close the connection: all questions on it are lost."""
        awaited = list(self._awaited)
        self.close()
        for number in awaited:
            self._listener.tally.lose(number, outcome, reason)
        self._listener.wake()

    def on_timeout(self, number: int) -> None:
        if not self._connected and time.monotonic_ns() - self._began >= self._listener.timeout:
            self.close()  # the next question connects anew, since the kernel retries ever more slowly

    def close(self) -> None:
        super().close()
        self._connected = False
        self._astray = False
        self._unsent = memoryview(b"")
        self._received.clear()
        self._awaited.clear()
