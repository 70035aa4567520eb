"""The counts and times of the questions to one target. Values only: no input, no output.

Memory is bounded, whatever the length of a run: counts, sums, minimum and maximum are of all questions, and single
results are kept for the last `KEPT`.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

from netd.client.probe.outcomes import Outcome

KEPT = 2**20
"""Results kept of a target: an hour of 290 questions a second, and 8 MB for each figure of them."""


class Series:
    """Times in nanoseconds, in the order in which they were measured."""

    def __init__(self, limit: int = KEPT) -> None:
        self.number = 0
        self.sum = 0
        self.least = 0
        self.most = 0
        self.last = 0
        self.steps = 0
        """The sum of the differences between each value and the one before."""
        self._kept = array("q")
        self._limit = limit

    def add(self, value: int) -> None:
        if self.number:
            self.least = min(self.least, value)
            self.most = max(self.most, value)
            self.steps += abs(value - self.last)
        else:
            self.least = self.most = value
        if len(self._kept) < self._limit:
            self._kept.append(value)
        else:
            self._kept[self.number % self._limit] = value
        self.number += 1
        self.sum += value
        self.last = value

    def recent(self, number: int) -> list[int]:
        """The last values, at most so many."""
        return [self._kept[place % self._limit] for place in range(max(0, self.number - number), self.number)]

    def kept(self) -> list[int]:
        """The last values, in no particular order."""
        return self._kept.tolist()


class Tally:
    """The results of one target. Questions are numbered from 0, without gaps."""

    def __init__(self, limit: int = KEPT, *, in_order: bool = True) -> None:
        """``in_order``: whether answers come on one socket, so that one can overtake another."""
        self.asked = 0
        """Questions that were due so far; the next one gets this number."""
        self.abandoned = 0
        self.lost: Counter[Outcome] = Counter()
        self.reasons: dict[Outcome, str] = {}
        """The last error text of the system for each outcome that had one."""
        self.late = 0
        """Right answers to questions that had timed out; those stay lost."""
        self.duplicated = 0
        self.reordered = 0
        """Answers that arrived after the answer to a later question (RFC 4737)."""
        self.corrupted = 0
        """Answers that were not right."""
        self.wrong = ""
        """What was expected, and what came instead, of the last of these."""
        self.rtt = Series(limit)
        self.lag = Series(limit)
        """The delay of each question sent, by this process alone."""
        self.connect = Series(limit)
        self.handshake = Series(limit)
        """The time that each TLS handshake took, from the connection to its end."""
        self.offset = Offset()
        self._results = array("q")
        self._limit = limit
        self._in_order = in_order
        self._latest = -1

    @property
    def sent(self) -> int:
        """Questions that were due, including those that could not be sent before their time-out."""
        return self.asked - self.abandoned

    @property
    def received(self) -> int:
        return self.rtt.number

    def ask(self) -> int:
        """Add a question that is due. Its number."""
        number = self.asked
        self.asked += 1
        if len(self._results) < self._limit:
            self._results.append(Outcome.WAITING)
        else:
            self._results[number % self._limit] = Outcome.WAITING
        return number

    def is_waiting(self, number: int) -> bool:
        """Whether this question has neither an answer nor another outcome yet."""
        return self._result(number) == Outcome.WAITING

    def was_asked(self, number: int) -> bool:
        """Whether the results that are kept include this question."""
        return max(0, self.asked - self._limit) <= number < self.asked

    def answer(self, number: int, took: int) -> bool:
        """Record a right answer. False where the question had an outcome already."""
        result = self._result(number)
        if result == Outcome.WAITING:
            self._results[number % self._limit] = took
            self.rtt.add(took)
            if self._in_order and number < self._latest:
                self.reordered += 1
            self._latest = max(self._latest, number)
            return True
        if result >= 0:
            self.duplicated += 1
        else:
            self.late += 1
        return False

    def corrupt(self, wrong: str) -> None:
        """Count an answer that is not right. ``wrong``: what was expected, and what came."""
        self.corrupted += 1
        self.wrong = wrong

    def lose(self, number: int, outcome: Outcome, reason: str = "") -> None:
        """Record the loss of a question, unless it has an outcome already."""
        if self.is_waiting(number):
            self._results[number % self._limit] = outcome
            self.lost[outcome] += 1
            if reason:
                self.reasons[outcome] = reason

    def abandon(self) -> None:
        """End the run: outstanding questions count neither as sent nor as lost."""
        for number, result in self.results():
            if result == Outcome.WAITING:
                self._results[number % self._limit] = Outcome.ABANDONED
                self.abandoned += 1

    def results(self) -> Iterator[tuple[int, int]]:
        """Number and result of the questions that are kept. A result is nanoseconds, or an `Outcome`."""
        for number in range(max(0, self.asked - self._limit), self.asked):
            yield number, self._results[number % self._limit]

    def _result(self, number: int) -> int:
        return self._results[number % self._limit]


class Offset:
    """The offset of a clock with whole seconds from the one of this host: two bounds, which each answer narrows.

    An answer S was made between sending and receiving, at a time from S to S + 1 of the other clock. So that clock is
    ahead by S - received at least, and by S + 1 - sent at most.
    """

    def __init__(self) -> None:
        self._low: float | None = None
        self._high = 0.0

    def add(self, clock: int, sent: float, received: float) -> None:
        """Add an answer. ``clock``: its seconds; ``sent`` and ``received``: times of this host."""
        low, high = clock - received, clock + 1 - sent
        if self._low is not None:
            low, high = max(low, self._low), min(high, self._high)
            if low > high:  # one of the clocks was set, or has drifted: begin again
                low, high = clock - received, clock + 1 - sent
        self._low, self._high = low, high

    @property
    def seconds(self) -> float | None:
        """How far the other clock is ahead: the middle between the bounds."""
        return None if self._low is None else (self._low + self._high) / 2

    @property
    def margin(self) -> float | None:
        """The greatest possible error of `seconds`."""
        return None if self._low is None else (self._high - self._low) / 2
