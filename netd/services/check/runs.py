"""The runs of a program that checks something: one at a time for all askers, with a result that is kept for a time."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from netd.contract import LOST, Finished, Wait


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What one run has found."""

    finished: Finished
    at: float
    """When the run had ended, on the clock of `Context`."""

    def age(self, now: float) -> float:
        """Seconds since then; negative after the clock was set back."""
        return now - self.at


class Runs:
    """The newest result, or a run under way for which conversations wait."""

    def __init__(
        self,
        start: Callable[[Callable[[Finished], object]], object],
        clock: Callable[[], float],
        cache: float,
        stale: float | None,
    ) -> None:
        """``start`` is called with what to call at the end of the run; never before ``start`` has returned.

        ``cache`` is how many seconds a result stands for a new run; ``stale``, more than ``cache``, how old one may be
        that is returned while a new run is under way. None: then the askers wait.
        """
        self._start = start
        self._clock = clock
        self._cache = cache
        self._stale = stale or 0.0
        self._result: Result | None = None
        self._is_running = False
        self._is_second = False
        # Each asker has a wait of its own, which goes when the asker does: a run may outlast any number of them.
        self._waits: set[Wait] = set()

    def latest(self) -> Generator[Wait, bytes | None, Result]:
        """The result for an asker: ``result = yield from runs.latest()``. Starts the program where that takes a run."""
        result = self._result
        # An age below zero says that the clock was set back, so that nothing is known of the age.
        age = result.age(self._clock()) if result else -1.0
        if result and 0 <= age < self._cache:
            return result
        if not self._is_running:
            self._start(self._ended)
            self._is_running, self._is_second = True, False
        if result and 0 <= age <= self._stale:
            return result
        return (yield from self._next())

    def _next(self) -> Generator[Wait, bytes | None, Result]:
        """The result of the run that is under way."""
        wait = Wait()
        self._waits.add(wait)
        try:
            while not wait.done:
                yield wait
        finally:
            self._waits.discard(wait)
        assert self._result
        return self._result

    def _ended(self, finished: Finished) -> None:
        self._is_running = False
        if finished.error == LOST and not self._is_second:  # that says nothing about the server
            self._start(self._ended)
            self._is_running = self._is_second = True
            return
        self._result = Result(finished, self._clock())
        waits, self._waits = self._waits, set()
        for wait in waits:
            wait.finish()
