"""When something is worth a line, and who writes it.

What a peer can cause at will is told on the edge: the first time, then once a minute with the number since. The same
thing from the same source is one line a minute; of more than a few sources at a time only the sum is told, so a flood
writes no more than a handful of lines, whoever it seems to come from.
"""

import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from netd.telemetry.structured import structlog

QUIET = 60.0
"""Seconds between two log lines about the same thing."""
_MOST_SOURCES = 16  # of one fact in one minute that get lines of their own

Key = tuple[str, str]
"""A fact and the source it came from; the source is empty where it does not matter, or where there are too many."""


class Throttle:
    """Says when something that keeps happening is worth a line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[Key, float] = {}
        self._since: dict[Key, int] = {}
        self._sources: Counter[str] = Counter()  # by fact, how many of them are in `_next`

    def key(self, fact: str, source: str) -> Key:
        """What to count a fact under, from this source."""
        key = (fact, source)
        if not source or key in self._next:
            return key
        return key if self._sources[fact] < _MOST_SOURCES else (fact, "")

    def count(self, key: Key, number: int = 1, *, final: bool = False) -> int:
        """How many to speak of now: all since the last line, or 0 for silence; not if this is ``final``."""
        since = self._since.get(key, 0) + number
        now = self._clock()
        if not final and now < self._next.get(key, 0.0):
            self._since[key] = since
            return 0
        if key[1] and key not in self._next:
            self._sources[key[0]] += 1
        self._next[key], self._since[key] = now + QUIET, 0
        return since

    def silent(self, key: Key) -> bool:
        """Whether nothing has happened since the last line."""
        return not self._since.get(key)

    def forget(self) -> None:
        """Make room for other sources: forget those of which nothing was heard for a minute."""
        now = self._clock()
        for key in [key for key, when in self._next.items() if when <= now and self.silent(key)]:
            del self._next[key], self._since[key]
            if key[1]:
                self._sources[key[0]] -= 1


class ThrottledLog:
    """Somebody who has something to tell. ``clock`` counts seconds from anywhere, steadily."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, **context: object) -> None:
        self._context = context
        self._clock = clock
        self._edge = Throttle(clock)
        self._pending: dict[Key, tuple[str, str, dict[str, object]]] = {}  # lines that wait for their minute to be over
        self._log: Any
        self.bind()
        _ALL.add(self)

    def bind(self) -> None:
        """Take the logger as it is configured now."""
        self._log = structlog.get_logger().bind(**self._context)

    def _tell(self, fact: str, source: str, number: int, level: str, event: str, **told: object) -> None:
        """Log on the edge; what is not said now, `summarize` says once its minute is over."""
        key = self._edge.key(fact, source)
        if said := self._edge.count(key, number):
            getattr(self._log, level)(event, number=said, **told)
        else:
            told.pop("exc_info", None)  # it would keep what the conversation had alive
            self._pending[key] = (level, event, told)

    def summarize(self, *, final: bool = False) -> None:
        """Say what has happened since the last lines, where they are a minute old, or this is the last chance.

        To be called now and then.
        """
        for key, (level, event, told) in list(self._pending.items()):
            if self._edge.silent(key):
                del self._pending[key]
            elif said := self._edge.count(key, 0, final=final):
                getattr(self._log, level)(event, number=said, **told)
        self._edge.forget()


_ALL: weakref.WeakSet[ThrottledLog] = weakref.WeakSet()


def rebind() -> None:
    """Have everybody take the logger that is configured now: what is bound keeps the level it was bound with."""
    for teller in _ALL:
        teller.bind()
