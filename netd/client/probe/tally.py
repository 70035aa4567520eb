"""What became of the questions to one target: counts, and how long each answer took. Only values.

Memory is bounded however long a run goes on: counts, sums, the smallest and the largest are of all questions, and
single results are kept of the last `KEPT`.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

from netd.client.probe.outcomes import Outcome

KEPT = 2**20
"""Results kept of a target: an hour of 290 questions a second, and 8 MB for each figure of them."""


class Series:
    """Nanoseconds in the order they were measured."""

    def __init__(self, most: int = KEPT) -> None:
        self.number = 0
        self.sum = 0
        self.least = 0
        self.most = 0
        self.last = 0
        self.steps = 0
        """The sum of how far each is from the one before."""
        self._kept = array("q")
        self._room = most

    def add(self, value: int) -> None:
        if self.number:
            self.least = min(self.least, value)
            self.most = max(self.most, value)
            self.steps += abs(value - self.last)
        else:
            self.least = self.most = value
        if len(self._kept) < self._room:
            self._kept.append(value)
        else:
            self._kept[self.number % self._room] = value
        self.number += 1
        self.sum += value
        self.last = value

    def kept(self) -> list[int]:
        """The last ones, in no order."""
        return self._kept.tolist()


class Tally:
    """The account of one target. Questions are numbered from 0, without gaps."""

    def __init__(self, most: int = KEPT) -> None:
        self.asked = 0
        """Questions that were due; the next one gets this number."""
        self.abandoned = 0
        self.lost: Counter[Outcome] = Counter()
        self.reasons: dict[Outcome, str] = {}
        """What the system said last, for outcomes of which it said something."""
        self.late = 0
        """Right answers to questions that had timed out by then; they stay lost."""
        self.duplicated = 0
        self.reordered = 0
        """Answers to a question before one that was answered already (RFC 4737)."""
        self.corrupted = 0
        """Answers that were not right."""
        self.rtt = Series(most)
        self.lag = Series(most)
        """How late the probe itself was with each question it sent."""
        self.connect = Series(most)
        self.offset = Offset()
        self._results = array("q")
        self._room = most
        self._latest = -1

    @property
    def sent(self) -> int:
        """Questions that were due, with those that could not be sent before their time was over."""
        return self.asked - self.abandoned

    @property
    def received(self) -> int:
        return self.rtt.number

    def ask(self) -> int:
        """A question is due: its number."""
        number = self.asked
        self.asked += 1
        if len(self._results) < self._room:
            self._results.append(Outcome.WAITING)
        else:
            self._results[number % self._room] = Outcome.WAITING
        return number

    def is_waiting(self, number: int) -> bool:
        return self._result(number) == Outcome.WAITING

    def was_asked(self, number: int) -> bool:
        """Whether there is such a question, of those that are remembered."""
        return max(0, self.asked - self._room) <= number < self.asked

    def answer(self, number: int, took: int) -> bool:
        """A right answer came; whether it was the one waited for."""
        result = self._result(number)
        if result == Outcome.WAITING:
            self._results[number % self._room] = took
            self.rtt.add(took)
            if number < self._latest:
                self.reordered += 1
            self._latest = max(self._latest, number)
            return True
        if result >= 0:
            self.duplicated += 1
        else:
            self.late += 1
        return False

    def lose(self, number: int, outcome: Outcome, reason: str = "") -> None:
        """No right answer will come, or has to be waited for; nothing if one was there already."""
        if self.is_waiting(number):
            self._results[number % self._room] = outcome
            self.lost[outcome] += 1
            if reason:
                self.reasons[outcome] = reason

    def abandon(self) -> None:
        """The run ends here: what is still waited for was neither answered nor lost, and is as if it was never sent."""
        for number, result in self.results():
            if result == Outcome.WAITING:
                self._results[number % self._room] = Outcome.ABANDONED
                self.abandoned += 1

    def results(self) -> Iterator[tuple[int, int]]:
        """Number and result of the questions that are remembered: nanoseconds, or an `Outcome`."""
        for number in range(max(0, self.asked - self._room), self.asked):
            yield number, self._results[number % self._room]

    def _result(self, number: int) -> int:
        return self._results[number % self._room]


class Offset:
    """How far a clock that tells whole seconds is from ours, between two bounds that each answer brings nearer.

    An answer S was made between sending and receiving, at a time from S to S + 1 of the other clock. So that clock is
    ahead by S - received at least, and by S + 1 - sent at most.
    """

    def __init__(self) -> None:
        self._low: float | None = None
        self._high = 0.0

    def add(self, told: int, sent: float, received: float) -> None:
        """The clock told so many seconds; sent and received by ours."""
        low, high = told - received, told + 1 - sent
        if self._low is not None:
            low, high = max(low, self._low), min(high, self._high)
            if low > high:  # one of the clocks was set, or has drifted: what was known is no more
                low, high = told - received, told + 1 - sent
        self._low, self._high = low, high

    @property
    def seconds(self) -> float | None:
        """How far the other clock is ahead; the middle of what is possible."""
        return None if self._low is None else (self._low + self._high) / 2

    @property
    def margin(self) -> float | None:
        """How far the truth may be from that."""
        return None if self._low is None else (self._high - self._low) / 2
