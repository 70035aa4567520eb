"""The checks of the targets of a service that forwards: each is connected to again and again, and asked something.

One worker checks for all. It leaves what it finds in the memory that all share, and writes that anew after each check,
since every worker can write there.
"""

import socket
from collections.abc import Callable
from select import EPOLLIN

from netd.services.forward import Forward
from netd.services.forward.health import Check, Health
from netd.services.forward.target import Target
from netd.telemetry.forward_events import CheckWhy, ForwardEvents
from netd.text import shown
from netd.transport.datagram.upstream import connected
from netd.transport.loop import Loop, Timer
from netd.transport.stream.connecting import Attempt, ConnectError, Connecting
from netd.transport.stream.proxy_header import proxy_header
from netd.transport.stream.stream_socket import StreamSocket

_MOST = 16 * 1024  # octets of an answer
_QUOTED = 48  # octets of an answer that the log has
_REFUSAL = 0.5
"""Seconds for a target over TLS to refuse: with TLS 1.3, it sees the client's certificate after the handshake."""


class _UnexpectedError(Exception):
    """The target has answered something else."""

    why: CheckWhy = "unexpected"


_Failure = ConnectError | _UnexpectedError


class TargetChecks:
    """Checks the targets of a service that has a ``check``."""

    def __init__(self, loop: Loop, service: Forward, check: Check, events: ForwardEvents) -> None:
        number = len(service.options.to)
        # Not all at the same moment.
        self._checks = [
            _TargetChecks(loop, service, check, events, one, one * check.every / number) for one in range(number)
        ]

    def start(self) -> None:
        """Begin. A target that is down, as the checks of another process have found, stays so until it has risen."""
        for one in self._checks:
            one.start()

    def close(self) -> None:
        """Check no more: no target is down."""
        for one in self._checks:
            one.close()


class _TargetChecks:
    """The checks of one target, one after the other."""

    def __init__(
        self, loop: Loop, service: Forward, check: Check, events: ForwardEvents, number: int, delay: float
    ) -> None:
        self._loop = loop
        self._service = service
        self._check = check
        self._events = events
        self._number = number
        self._target = service.options.to[number]
        self._delay = delay
        self._found = service.targets.found_down(number, loop.now)
        self._health = Health(check, is_down=self._found is not None)
        self._timer: Timer | None = None
        self._run: _Run | None = None
        self._began = 0.0

    def start(self) -> None:
        self._service.targets.set_down(self._number, self._found)
        self._timer = self._loop.later(self._delay, self._begin)

    def close(self) -> None:
        if self._timer:
            self._loop.wheel.drop(self._timer)
        if self._run:
            self._run.close()
        self._service.targets.set_down(self._number, None)

    def _begin(self) -> None:
        self._timer = None
        self._began = self._loop.now
        self._run = _Run(self._loop, self._service, self._target, self._check, self._events, self._on_result)
        self._run.begin()

    def _on_result(self, failure: _Failure | None) -> None:
        self._run = None
        targets, url = self._service.targets, str(self._target)
        # A lack of descriptors or memory says nothing of the target.
        fails = failure is not None and failure.why != "no_resources" and self._health.failed()
        rises = failure is None and self._health.passed()
        if failure and fails:
            self._found = failure.why, self._loop.now
        elif rises:
            self._found = None
        targets.set_down(self._number, self._found)
        if failure and fails:
            self._events.target_check_failed(url, failure.why, str(failure))
            for call in self._service.on_down:
                call(self._number)
        elif rises:
            self._events.target_check_passed(url)
            if targets.succeeded(self._number):
                self._events.target_recovered(url)
        self._timer = self._loop.later(max(0.0, self._began + self._check.every - self._loop.now), self._begin)


class _Run:
    """One check of one target. ``done`` is called once, with why it has failed, if it has; after `close` it is not."""

    def __init__(
        self,
        loop: Loop,
        service: Forward,
        target: Target,
        check: Check,
        events: ForwardEvents,
        done: Callable[[_Failure | None], object],
    ) -> None:
        self._loop = loop
        self._service = service
        self._options = service.options
        self._target = target
        self._check = check
        self._events = events
        self._done = done
        self._attempt: Connecting | None = None
        self._socket: StreamSocket | None = None
        self._answer = b""
        self._until = loop.now + check.timeout
        self._timer: Timer | None = None
        self._late = "the name was not resolved in time"
        self._is_over = False

    def begin(self) -> None:
        target = self._target
        try:
            if target.kind == "stream":
                attempt: Connecting
                if target.transport == "tls":
                    timeout, header = self._check.timeout, self._header()
                    secure = self._service.tls[target]
                    attempt = secure(self._loop, timeout, header, self._new_attempt, self._on_connected)
                else:
                    attempt = self._new_attempt(self._on_connected)
                if opened := attempt.begin():
                    self._on_connected(opened)
                else:
                    self._attempt = attempt
            elif not target.is_name:
                self._ask_by_datagram((target.host,))
            elif (hosts := self._resolve(self._ask_by_datagram)) is not None:
                self._ask_by_datagram(hosts)
            else:
                self._start_timer()
        except ConnectError as error:
            self._end(error)

    def close(self) -> None:
        self._is_over = True
        if self._attempt:
            self._attempt.close()
        if self._timer:
            self._loop.wheel.drop(self._timer)
        if self._socket:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _end(self, failure: _Failure | None = None) -> None:
        self.close()
        self._done(failure)

    def _resolve(self, then: Callable[[tuple[str, ...]], object]) -> tuple[str, ...] | None:
        return self._service.names.addresses(self._target.host, self._loop.now, self._events, then)

    def _start_timer(self) -> None:
        if not self._timer:
            self._timer = self._loop.later(self._until - self._loop.now, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        self._end(self._unexpected() if self._answer else ConnectError("timeout", self._late))

    def _new_attempt(self, done: Callable[[socket.socket | ConnectError], object]) -> Attempt:
        return Attempt(self._loop, self._target, self._check.timeout, self._options.bind, self._resolve, done)

    def _header(self) -> bytes:
        version = self._options.proxy_protocol
        return proxy_header(1 if version == "v1" else 2, None) if version else b""

    def _on_connected(self, result: StreamSocket | ConnectError) -> None:
        self._attempt = None
        if isinstance(result, ConnectError):
            return self._end(result)
        self._socket = result
        header = b"" if self._target.transport == "tls" else self._header()
        return self._ask(result, header + self._check.question)

    def _ask_by_datagram(self, hosts: tuple[str, ...]) -> None:
        if self._is_over:
            return
        if not hosts:
            return self._end(ConnectError("unresolved", f"{self._target.host} has no address"))
        try:
            self._socket = connected(self._target, hosts[0], self._options.bind)
        except OSError as error:
            return self._end(ConnectError.of(error.errno or 0))
        return self._ask(self._socket, self._check.question)

    def _ask(self, opened: StreamSocket, question: bytes) -> None:
        """Send the question, which fits into the buffer of a new socket, and wait for the answer."""
        self._late = "it did not answer in time"
        try:
            if question or self._target.kind == "datagram":
                opened.send(question)
        except OSError as error:
            return self._end(ConnectError.of(error.errno or 0))
        if self._check.wants_answer:
            self._loop.watch(opened.fileno(), EPOLLIN, self._on_readable)
            return self._start_timer()
        if self._target.transport != "tls":
            return self._end()
        self._loop.watch(opened.fileno(), EPOLLIN, self._on_word)
        self._timer = self._loop.later(min(_REFUSAL, max(0.0, self._until - self._loop.now)), self._on_silence)
        return None

    def _on_silence(self) -> None:
        self._timer = None
        self._end()

    def _on_word(self, mask: int) -> None:
        """A target over TLS has sent something: a session ticket, octets, its end, or the alert of a refusal."""
        assert self._socket
        try:
            self._socket.recv(_MOST)
        except BlockingIOError:
            pass
        except OSError as error:
            return self._end(self._lost(error))
        except MemoryError:
            return self._end(ConnectError("no_resources", "ENOMEM"))
        return self._end()

    def _lost(self, error: OSError) -> ConnectError:
        """The connection is lost: why, in the words of TLS where that has failed."""
        fault = getattr(self._socket, "fault", "")
        return ConnectError("tls", fault) if fault else ConnectError.of(error.errno or 0)

    def _on_readable(self, mask: int) -> None:
        assert self._socket
        try:
            data = self._socket.recv(_MOST - len(self._answer))
        except BlockingIOError:
            return
        except OSError as error:
            return self._end(self._lost(error))
        except MemoryError:
            return self._end(ConnectError("no_resources", "ENOMEM"))
        is_datagram = self._target.kind == "datagram"
        self._answer += data
        if (is_datagram or self._answer) and self._check.expected in self._answer:
            self._end()
        elif is_datagram or not data or len(self._answer) == _MOST:
            self._end(self._unexpected())

    def _unexpected(self) -> _UnexpectedError:
        expected = shown(self._check.expect) if self._check.expect else "an answer"
        got = shown(self._answer[:_QUOTED].decode("latin-1")) if self._answer else "the end of the connection"
        return _UnexpectedError(f"expected {expected}, got {got}")
