"""Throttled logging of events that a peer can cause as often as it likes.

The first event is logged at once, then one line a minute with the number of events since the last line. Each source has
its own line for one kind of event. Beyond 16 sources at a time the others share a line, so a flood from any number of
forged sources writes only a few lines a minute.
"""

import logging
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from netd.telemetry.structured import structlog

QUIET = 60.0
"""Seconds between two log lines about one key."""
_MOST_SOURCES = 16  # with their own lines, for one kind of event in one minute

LONGEST_LINE = 1000
"""Characters of a line of a program, or of code, in the log."""
LINES_RATE, LINES_BURST = 20.0, 100.0
"""Lines of a program, or of code, that are logged a second for a service, and how many at once."""

Key = tuple[str, str]
"""A kind of event, and its source; empty if the source does not matter, or if there are too many."""


class Throttle:
    """Counts events by key, and decides when a line is due. ``clock`` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[Key, float] = {}
        self._since: dict[Key, int] = {}
        self._sources: Counter[str] = Counter()  # the number of sources in `_next`, by kind

    def key(self, kind: str, source: str) -> Key:
        """The key under which an event of this kind from this source is counted."""
        key = (kind, source)
        if not source or key in self._next:
            return key
        return key if self._sources[kind] < _MOST_SOURCES else (kind, "")

    def count(self, key: Key, number: int = 1, *, final: bool = False) -> int:
        """Count ``number`` events. Return the number since the last line if one is due now, or ``final``; else 0."""
        since = self._since.get(key, 0) + number
        now = self._clock()
        if not final and now < self._next.get(key, 0.0):
            self._since[key] = since
            return 0
        if key[1] and key not in self._next:
            self._sources[key[0]] += 1
        self._next[key], self._since[key] = now + QUIET, 0
        return since

    def pending(self, key: Key) -> int:
        """The number of events since the last line."""
        return self._since.get(key, 0)

    def expire(self) -> None:
        """Remove keys without an event for a minute, so that other sources get lines of their own."""
        now = self._clock()
        for key in [key for key, when in self._next.items() if when <= now and not self.pending(key)]:
            del self._next[key], self._since[key]
            if key[1]:
                self._sources[key[0]] -= 1


class LineLimit:
    """Limits the lines of one service to `LINES_RATE` and `LINES_BURST`. ``clock`` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = LINES_BURST
        self._since = clock()

    def take(self, wanted: int) -> int:
        """How many of so many lines may be logged now."""
        now = self._clock()
        self._left = min(LINES_BURST, self._left + (now - self._since) * LINES_RATE)
        self._since = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken


class ThrottledLog:
    """A logger with throttled events. ``clock`` returns monotonic seconds; each line has the keys of ``context``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, **context: object) -> None:
        self._context = context
        self._clock = clock
        self._throttle = Throttle(clock)
        # Of each key the last line that was not due: level, event and details.
        self._pending: dict[Key, tuple[str, str, dict[str, object]]] = {}
        self._log: Any
        self._debug: Callable[..., object] | None
        """What logs at debug; None if that level is off, so that nothing has to be put together for it."""
        self.bind_logger()
        _ALL.add(self)

    def bind_logger(self) -> None:
        """Use the logger as it is configured now."""
        self._log = structlog.get_logger().bind(**self._context)
        self._debug = self._log.debug if self._log.is_enabled_for(logging.DEBUG) else None

    def _logs_at(self, level: int) -> bool:
        """Whether events of this level, a number of `logging`, are logged."""
        return bool(self._log.is_enabled_for(level))

    def _log_throttled(self, kind: str, source: str, number: int, level: str, event: str, /, **details: object) -> None:
        """Log ``number`` events if a line is due; else `log_pending` logs them once it is."""
        key = self._throttle.key(kind, source)
        if counted := self._throttle.count(key, number):
            getattr(self._log, level)(event, number=counted, **details)
        else:
            details.pop("exc_info", None)  # the traceback would keep the objects of the conversation alive
            self._pending[key] = (level, event, details)

    def log_pending(self, *, final: bool = False) -> None:
        """Log the events since the last lines that are a minute old; if ``final``, all of them.

        Call it about once a second, and at the end.
        """
        for key, (level, event, details) in list(self._pending.items()):
            if not self._throttle.pending(key):
                del self._pending[key]
            elif counted := self._throttle.count(key, 0, final=final):
                getattr(self._log, level)(event, number=counted, **details)
        self._throttle.expire()


_ALL: weakref.WeakSet[ThrottledLog] = weakref.WeakSet()


def rebind_loggers() -> None:
    """Bind the logger of every `ThrottledLog` again: a bound logger keeps the level that it was bound with."""
    for log in _ALL:
        log.bind_logger()
