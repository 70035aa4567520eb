"""The schedule of questions: the loop over all targets.

The loop is open: a question is sent when it is due, whatever the outcome of earlier ones. Where it cannot be sent then,
since there is no connection or the buffer is full, the time of its answer counts from when it was due: a service that
hangs for a second is slow for every question of that second. (A closed loop, which sends a question only after an
answer, omits those: coordinated omission.) Where only this process is late, the time counts from sending, and the
delay is reported apart.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from netd.client.probe.one_shot import OneShotSessions
from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Plain, Tagged
from netd.client.probe.sessions import Datagrams, Session, Stream
from netd.client.probe.tally import Tally
from netd.client.probe.targets import Address, Target

_NEVER = 2**63 - 1
_MAX_SOCKETS = 512
_SPARE_DESCRIPTORS = 64
# Questions sent in a row. Fewer than the answers received in a row, or the receive buffer would overflow.
_MAX_SENDS = 32
_PROGRESS_INTERVAL = 250_000_000  # ns between two calls of ``progress``


@dataclass(frozen=True, slots=True)
class Plan:
    """When questions are due. Times are in nanoseconds."""

    interval: int
    timeout: int
    count: int | None
    """Questions to each target; None: until a signal."""
    duration: int | None = None
    """Questions are due only within this time from the first one; None: no limit."""

    @property
    def number(self) -> int | None:
        """Questions to each target; None: no limit."""
        within = None if self.duration is None else -(-self.duration // self.interval)
        return min((n for n in (self.count, within) if n is not None), default=None)


class Probe:
    """The questions to one target, and their state. It is the listener of its session."""

    def __init__(
        self,
        target: Target,
        service: str,
        question: Tagged | Plain,
        plan: Plan,
        poller: Poller,
        max_sockets: int,
        delay: int,
    ) -> None:
        self.target = target
        self.service = service
        self.tally = Tally(in_order=isinstance(question, Tagged))
        self.timeout = plan.timeout
        self.wakes = 0
        """When to call `advance` (monotonic, nanoseconds)."""
        self.began = 0
        """When the first question was due."""
        self._plan = plan
        self._number = _NEVER if plan.number is None else plan.number
        self._delay = delay
        self._oldest = 0  # question that may be outstanding
        self._unsent = 0  # the next question to send
        self._lags: list[int] = []  # not in the tally yet
        self._blocked_below = 0  # questions with lower numbers could not be sent when they were due,
        self._blocked_since = 0  # since this time
        self._started: dict[int, int] = {}  # from when the time of the answer counts, for outstanding questions
        self._opening: int | None = None
        self._ends: int | None = None
        self._session = _session(self, question, poller, max_sockets)

    @property
    def address(self) -> Address | None:
        """The address that was asked last: of a name with several, the one that answers, if one does."""
        return self._session.address if self._session else None

    def due(self, number: int) -> int:
        return self.began + number * self._plan.interval

    def open(self) -> None:
        self._opening = time.monotonic_ns()
        if self._session:
            self._session.open()
        else:
            # There is no address, and a retry would only be another query to the resolver.
            self._number = 1
            self.on_open_error(Outcome.UNRESOLVED, self.target.problem)

    def on_open(self, took: int | None) -> None:
        if took is not None:
            self.tally.connect.add(took)
        if self._opening is not None:
            # The time of the first connection is not part of the first answer.
            self._opening = None
            self.began = time.monotonic_ns() + self._delay
        self.wake()

    def on_open_error(self, outcome: Outcome, reason: str) -> None:
        if self._opening is not None:
            self._opening = None
            self.began = time.monotonic_ns()
            self.tally.ask()
        for number in range(self._unsent, self.tally.asked):
            if self.tally.is_waiting(number):
                self.tally.lose(number, outcome, reason)
                break
        self.wake()

    def on_send(self, number: int, now: int) -> None:
        if number >= self._blocked_below:
            self._started[number] = now

    def on_answer(self, number: int, now: int, clock: int | None) -> None:
        wall = time.time()
        took = now - self._started.get(number, now)
        if self.tally.answer(number, took) and clock is not None:
            self.tally.offset.add(clock, wall - took / 1e9, wall)
        if self._oldest == number:
            self.wake()

    def outstanding(self) -> list[int]:
        return [number for number in range(self._oldest, self._unsent) if self.tally.is_waiting(number)]

    def wake(self) -> None:
        self.wakes = 0

    def advance(self, now: int) -> bool:
        """Add the questions that are due, expire others, and set `wakes`. Whether there are questions to send."""
        self.wakes = _NEVER
        for lag in self._lags:
            self.tally.lag.add(lag)
        self._lags.clear()
        if self._opening is not None:
            if now < self._opening + self.timeout:
                self.wakes = self._opening + self.timeout
                return False
            self.stop()
            self.on_open_error(Outcome.TIMED_OUT, "")
        while self.tally.asked < self._number and self.due(self.tally.asked) <= now:
            self.tally.ask()
        self._expire(now)
        self.wakes = min(self.wakes, self._next_wake(now))
        return self._unsent < self.tally.asked

    def _expire(self, now: int) -> None:
        while self._oldest < self.tally.asked:
            if self.tally.is_waiting(self._oldest):
                if now < self._deadline(self._oldest):
                    break
                tried = self._oldest < max(self._unsent, self._blocked_below)
                self.tally.lose(self._oldest, Outcome.TIMED_OUT if tried else Outcome.UNSENT)
                if self._session:
                    self._session.on_timeout(self._oldest)
            self._started.pop(self._oldest, None)
            self._oldest += 1

    def _deadline(self, number: int) -> int:
        return self._started.get(number, self.due(number)) + self.timeout

    def _next_wake(self, now: int) -> int:
        waited = self._oldest < self.tally.asked
        if self.tally.asked < self._number:
            due = self.due(self.tally.asked)
            return min(due, self._deadline(self._oldest)) if waited else due
        if waited:
            return self._deadline(self._oldest)
        if self._session and self._session.lingers:
            # Wait for a second answer as long as the slowest first one took.
            self._ends = self._ends or now + min(self.tally.rtt.most, self.timeout)
            if now < self._ends:
                return self._ends
        return _NEVER

    def send(self) -> None:
        """Send the questions that are due and have not timed out.

        Nothing else is done here, since the service may wait for this processor.
        """
        last = self._unsent + _MAX_SENDS
        timed_out = time.monotonic_ns() - self.timeout
        while self._unsent < self.tally.asked:
            if self._unsent == last:
                return self.wake()
            number = self._unsent
            if self.tally.is_waiting(number) and self._session:
                due = self.due(number)
                if due <= timed_out and number >= self._blocked_below:
                    self.tally.lose(number, Outcome.UNSENT)
                    self._unsent = number + 1
                    continue
                data = self._session.compose(number, due)
                self._started[number] = max(due, self._blocked_since) if number < self._blocked_below else due
                if not self._session.ask(number, data):
                    if number >= self._blocked_below:
                        self._blocked_since = time.monotonic_ns()
                    self._blocked_below = self.tally.asked
                    return
                self._lags.append(self._started[number] - due)
            self._unsent = number + 1

    def stop(self) -> None:
        if self._session:
            self._session.close()


def _session(probe: Probe, question: Tagged | Plain, poller: Poller, max_sockets: int) -> Session | None:
    endpoint, addresses, tls = probe.target.endpoint, probe.target.addresses, probe.target.tls
    if not addresses:
        return None
    if isinstance(question, Plain):
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        return OneShotSessions(probe, question, addresses, poller, kind, max_sockets, tls)
    if endpoint.streams:
        return Stream(probe, question, addresses, poller, tls)
    return Datagrams(probe, question, addresses, poller)


class Probing:
    """A run: all targets, until every question has an outcome, or a signal ends it."""

    def __init__(self, asked: Sequence[tuple[Target, str, Tagged | Plain]], plan: Plan) -> None:
        self._poller = Poller()
        available = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS) // max(1, len(asked))
        sockets = max(1, min(_MAX_SOCKETS, available))
        self.probes = [
            # The targets' questions are spread over the interval, so that they do not delay each other.
            Probe(target, service, question, plan, self._poller, sockets, plan.interval * place // len(asked))
            for place, (target, service, question) in enumerate(asked)
        ]
        self.interrupted = False
        self.seconds = 0.0
        self.epoch = time.time_ns() - time.monotonic_ns()
        """The wall clock minus the monotonic one when the run began, in nanoseconds."""

    def run(self, progress: Callable[[Sequence[Probe]], None] | None = None) -> None:
        """Send all questions and wait for their outcomes. ``progress`` is called four times a second."""
        began = reported = time.monotonic_ns()
        with _signals_handled(self._poller, self._stop), _without_collector():
            for probe in self.probes:
                probe.open()
            while not self.interrupted:
                now = time.monotonic_ns()
                senders = [probe for probe in self.probes if probe.wakes <= now and probe.advance(now)]
                until = min(probe.wakes for probe in self.probes)
                if until == _NEVER:
                    break
                if progress:
                    if now >= reported + _PROGRESS_INTERVAL:
                        reported = now
                        progress(self.probes)
                    until = min(until, reported + _PROGRESS_INTERVAL)
                for probe in senders:
                    probe.send()
                    until = min(until, probe.wakes)
                self._poller.wait(until)
        self.seconds = (time.monotonic_ns() - began) / 1e9
        for probe in self.probes:
            probe.stop()
            probe.tally.abandon()
        self._poller.close()

    def _stop(self) -> None:
        self.interrupted = True


@contextlib.contextmanager
def _signals_handled(poller: Poller, stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``stop``, so that the run ends with its figures; a second one ends the process."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    before = [signal.signal(number, handle) for number in numbers]
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def ready(mask: int, now: int) -> None:
        if set(numbers) & set(os.read(reader, 4096)):  # a byte for each signal that has a Python handler
            stop()

    poller.watch(reader, select.EPOLLIN, ready)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        poller.unwatch(reader)
        os.close(reader)
        os.close(writer)
        for number, handler in zip(numbers, before, strict=True):
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Turn the cycle collector off: a collection takes milliseconds, in which answers wait. A run makes no cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
