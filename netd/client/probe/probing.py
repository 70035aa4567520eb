"""When to ask: the loop over all targets.

It is an open loop. A question is due at its time whatever became of the ones before. Where it cannot be sent then,
since there is no connection or no room, its answer takes from when it was due: a service that hangs for a second is
seen as slow by every question of that second. (To ask the next one only after an answer would leave those out, which
is called coordinated omission.) Where it is only this process that woke up late, the answer takes from when the
question was sent, and how late that was is told apart.
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
from netd.client.probe.targets import Target

_NEVER = 2**63 - 1
_MOST_SOCKETS = 512
_SPARE_DESCRIPTORS = 64
# Questions in a row. They are fewer than the answers read in one, or these would pile up until the kernel drops them.
_TURN = 32
_LOOK = 250_000_000  # ns between two looks at how it goes


@dataclass(frozen=True, slots=True)
class Plan:
    """When questions are due; all times in nanoseconds."""

    interval: int
    timeout: int
    count: int | None
    """None: until told to stop."""
    duration: int | None = None
    """No question is due so long after the first or later."""

    @property
    def number(self) -> int | None:
        """How many questions that makes."""
        within = None if self.duration is None else -(-self.duration // self.interval)
        return min((n for n in (self.count, within) if n is not None), default=None)


class Probe:
    """The questions to one target."""

    def __init__(
        self,
        target: Target,
        service: str,
        question: Tagged | Plain,
        plan: Plan,
        poller: Poller,
        most_sockets: int,
        delay: int,
    ) -> None:
        self.target = target
        self.service = service
        self.tally = Tally()
        self.timeout = plan.timeout
        self.wakes = 0
        """When it wants to be looked after."""
        self.began = 0
        """When the first question was due."""
        self._plan = plan
        self._number = _NEVER if plan.number is None else plan.number
        self._delay = delay
        self._oldest = 0  # of those that may be waited for
        self._unsent = 0  # the next to be sent
        self._lags: list[int] = []  # not counted yet
        self._held = 0  # the ones before could not be sent when that was tried
        self._hold = 0  # since when that is so
        self._started: dict[int, int] = {}  # from when on the answer takes, of what is waited for
        self._opening: int | None = None
        self._ends: int | None = None
        self._session = _session(self, question, poller, most_sockets)

    def due(self, number: int) -> int:
        return self.began + number * self._plan.interval

    def open(self) -> None:
        self._opening = time.monotonic_ns()
        if self._session:
            self._session.open()
        else:
            # Nobody can be asked, and to try again and again would only ask the resolver.
            self._number = 1
            self.unopened(Outcome.UNRESOLVED, self.target.problem)

    def opened(self, took: int | None) -> None:
        if took is not None:
            self.tally.connect.add(took)
        if self._opening is not None:
            # The first connection is not part of the first answer.
            self._opening = None
            self.began = time.monotonic_ns() + self._delay
        self.wake()

    def unopened(self, outcome: Outcome, reason: str) -> None:
        if self._opening is not None:
            self._opening = None
            self.began = time.monotonic_ns()
            self.tally.ask()
        for number in range(self._unsent, self.tally.asked):
            if self.tally.is_waiting(number):
                self.tally.lose(number, outcome, reason)
                break
        self.wake()

    def sends(self, number: int, now: int) -> None:
        if number >= self._held:
            self._started[number] = now

    def answered(self, number: int, now: int, told: int | None) -> None:
        wall = time.time()
        took = now - self._started.get(number, now)
        if self.tally.answer(number, took) and told is not None:
            self.tally.offset.add(told, wall - took / 1e9, wall)
        if self._oldest == number:
            self.wake()

    def waiting(self) -> list[int]:
        return [number for number in range(self._oldest, self._unsent) if self.tally.is_waiting(number)]

    def wake(self) -> None:
        self.wakes = 0

    def advance(self, now: int) -> bool:
        """Find what is due and what is over, and when to come again; whether there is something to send."""
        self.wakes = _NEVER
        for lag in self._lags:
            self.tally.lag.add(lag)
        self._lags.clear()
        if self._opening is not None:
            if now < self._opening + self.timeout:
                self.wakes = self._opening + self.timeout
                return False
            self.stop()
            self.unopened(Outcome.TIMED_OUT, "")
        while self.tally.asked < self._number and self.due(self.tally.asked) <= now:
            self.tally.ask()
        self._time_out(now)
        self.wakes = min(self.wakes, self._next_wake(now))
        return self._unsent < self.tally.asked

    def _time_out(self, now: int) -> None:
        while self._oldest < self.tally.asked:
            if self.tally.is_waiting(self._oldest):
                if now < self._deadline(self._oldest):
                    break
                tried = self._oldest < max(self._unsent, self._held)
                self.tally.lose(self._oldest, Outcome.TIMED_OUT if tried else Outcome.UNSENT)
                if self._session:
                    self._session.give_up(self._oldest)
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
            # A second answer takes no longer than the slowest first one.
            self._ends = self._ends or now + min(self.tally.rtt.most, self.timeout)
            if now < self._ends:
                return self._ends
        return _NEVER

    def send(self) -> None:
        """Send what is due, unless it would be over by now.

        Nothing else is done here, since the one who answers may wait for this very processor.
        """
        last = self._unsent + _TURN
        over = time.monotonic_ns() - self.timeout
        while self._unsent < self.tally.asked:
            if self._unsent == last:
                return self.wake()
            number = self._unsent
            if self.tally.is_waiting(number) and self._session:
                due = self.due(number)
                if due <= over and number >= self._held:
                    self.tally.lose(number, Outcome.UNSENT)
                    self._unsent = number + 1
                    continue
                data = self._session.compose(number, due)
                self._started[number] = max(due, self._hold) if number < self._held else due
                if not self._session.ask(number, data):
                    if number >= self._held:
                        self._hold = time.monotonic_ns()
                    self._held = self.tally.asked
                    return
                self._lags.append(self._started[number] - due)
            self._unsent = number + 1

    def stop(self) -> None:
        if self._session:
            self._session.close()


def _session(probe: Probe, question: Tagged | Plain, poller: Poller, most_sockets: int) -> Session | None:
    endpoint, addresses = probe.target.endpoint, probe.target.addresses
    if not addresses:
        return None
    if isinstance(question, Plain):
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        return OneShotSessions(probe, question, addresses, poller, kind, most_sockets)
    if endpoint.streams:
        return Stream(probe, question, addresses, poller)
    return Datagrams(probe, question, addresses, poller)


class Probing:
    """A run: all targets, until every question is settled or somebody has had enough."""

    def __init__(self, asked: Sequence[tuple[Target, str, Tagged | Plain]], plan: Plan) -> None:
        self._poller = Poller()
        room = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS) // max(1, len(asked))
        sockets = max(1, min(_MOST_SOCKETS, room))
        self.probes = [
            # Targets are asked in turn and not all at once, so that they do not wait for each other.
            Probe(target, service, question, plan, self._poller, sockets, plan.interval * place // len(asked))
            for place, (target, service, question) in enumerate(asked)
        ]
        self.interrupted = False
        self.seconds = 0.0

    def run(self, look: Callable[[Sequence[Probe]], None] | None = None) -> None:
        """Ask all there is to ask; ``look`` is called four times a second."""
        began = looked = time.monotonic_ns()
        with _heard_signals(self._poller, self._stop), _without_collector():
            for probe in self.probes:
                probe.open()
            while not self.interrupted:
                now = time.monotonic_ns()
                senders = [probe for probe in self.probes if probe.wakes <= now and probe.advance(now)]
                until = min(probe.wakes for probe in self.probes)
                if until == _NEVER:
                    break
                if look:
                    if now >= looked + _LOOK:
                        looked = now
                        look(self.probes)
                    until = min(until, looked + _LOOK)
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
def _heard_signals(poller: Poller, heard: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the run, with its figures; a second one ends the process."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    before = [signal.signal(number, handle) for number in numbers]
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def ready(events: int, now: int) -> None:
        if set(numbers) & set(os.read(reader, 4096)):  # there is a byte for every signal that has a handler
            heard()

    poller.watch(reader, select.EPOLLIN, ready)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        poller.forget(reader)
        os.close(reader)
        os.close(writer)
        for number, handler in zip(numbers, before, strict=True):
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A walk through all objects takes milliseconds, in which answers wait; nothing here is left in cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
