"""When a process that keeps being lost is started again. Pure: the caller has the clock."""

import math

DELAYS = (0.0, 0.25, 1.0, 4.0, 15.0, 30.0)
"""Seconds until a process is started again, after so many losses in a row."""
RESTS = (0.0, 0.25, 1.0, 4.0, 15.0, 60.0, 300.0)
"""The same, of a worker that serves one service alone: the others go on without it."""

_STABLE = 60.0  # seconds after a loss until which the next one is in a row with it


class Losses:
    """The losses of a process, and of those in its place. Times are in seconds of CLOCK_MONOTONIC."""

    def __init__(self, delays: tuple[float, ...] = DELAYS) -> None:
        self.until = 0.0
        """When the delay after the last loss ends."""
        self._delays = delays
        self._in_a_row = -1  # after the first one
        self._last = -math.inf

    def lost(self, now: float, since: float | None = None) -> float:
        """A process was lost. Returns the seconds until another one is to be started.

        The loss is a first one a minute after the one before, or, if that is given, after ``since``.
        """
        stable = now - (self._last if since is None else since) >= _STABLE
        self._in_a_row = 0 if stable else self._in_a_row + 1
        return self._delay(now)

    def not_started(self, now: float) -> float:
        """A start has failed, which is never a first loss. Returns as `lost`."""
        self._in_a_row = max(self._in_a_row, 0) + 1
        return self._delay(now)

    def _delay(self, now: float) -> float:
        self._last = now
        delay = self._delays[min(self._in_a_row, len(self._delays) - 1)]
        self.until = now + delay
        return delay
