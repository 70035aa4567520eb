"""A listener of sessions that records its calls, and a poller that waits for a condition."""

import time
from collections.abc import Callable

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.tally import Tally

HOUR = 3600 * 10**9


class Listener:
    """Records the calls of a session."""

    def __init__(self, timeout: int = HOUR) -> None:
        self.tally = Tally()
        self.timeout = timeout
        self.opened: list[int | None] = []
        self.errors: list[tuple[Outcome, str]] = []
        self.sent: list[int] = []
        """The questions that `ask` of a session has taken; the test adds them."""
        self.answers: list[tuple[int, int | None]] = []
        """Number, and the seconds since 1970 in the answer."""
        self.woken = 0

    def outstanding(self) -> list[int]:
        return [number for number in self.sent if self.tally.is_waiting(number)]

    def due(self, number: int) -> int:
        return number * 1000

    def on_open(self, took: int | None) -> None:
        self.opened.append(took)

    def on_open_error(self, outcome: Outcome, reason: str) -> None:
        self.errors.append((outcome, reason))

    def on_send(self, number: int, now: int) -> None:
        pass

    def on_answer(self, number: int, now: int, clock: int | None) -> None:
        self.tally.answer(number, 1)
        self.answers.append((number, clock))

    def wake(self) -> None:
        self.woken += 1

    @property
    def results(self) -> list[int]:
        """The result of each question: 1 for a right answer, or an `Outcome`."""
        return [result for _, result in self.tally.results()]


def wait_until(poller: Poller, condition: Callable[[], object]) -> None:
    """Handle events until the condition holds."""
    end = time.monotonic_ns() + 10 * 10**9
    while not condition():
        now = time.monotonic_ns()
        assert now < end
        poller.wait(now + 10**7)
