"""The events of the code of `python` services: what it prints, and what it logs with `logging`."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from netd.telemetry.throttle import LONGEST_LINE, LineLimit, ThrottledLog
from netd.text import printable


class CodeEvents(ThrottledLog):
    """The lines that the code of one service prints and logs; without a ``service``, code that belongs to no known one.

    Any thread may call it. It never waits for the log (`Sink`). `LineLimit` says how many lines are logged.
    """

    def __init__(self, service: str = "", clock: Callable[[], float] = time.monotonic, **context: object) -> None:
        super().__init__(clock, **({"service": service} if service else {}), **context)
        self.service = service
        self._limit = LineLimit(clock)
        self._renew_lock()
        _ALL.add(self)

    def _renew_lock(self) -> None:
        """Have a lock that nothing has: in a forked process a thread of the parent may have the one before."""
        self._lock = threading.RLock()  # the thread that has it may run a finalizer, which may print

    def lines_printed(self, stream: str, peer: str, lines: Sequence[str]) -> None:
        """A line that the code of a service of the type `python` has printed, or written to standard error.

        ``peer`` is the one that it served, if that is known.
        """
        if not self._logs_at(_LEVELS["info"]):
            return
        with self._lock:
            logged = lines[: self._take(len(lines))]
        for line in logged:
            self._log.info("line_printed", **_of(peer), stream=stream, line=_shown(line))

    def line_logged(self, level: int, peer: str, logger: str, line: str, error: BaseException | None) -> None:
        """A message that the code of such a service has logged with the module logging; at the level of that."""
        name = next((name for name, least in _LEVELS.items() if level >= least), "debug")
        if not self._logs_at(_LEVELS[name]):
            return
        with self._lock:
            if not self._take(1):
                return
        log = getattr(self._log, name)
        fields = _of(peer) | ({"exc_info": error} if error else {})
        log("line_logged", logger=_shown(logger), line=_shown(line), **fields)

    def _take(self, wanted: int) -> int:
        """How many of so many lines are logged; the others are counted."""
        taken = self._limit.take(wanted)
        if skipped := wanted - taken:
            self.lines_skipped(skipped)
        return taken

    def lines_skipped(self, number: int) -> None:
        """More lines of both kinds, which are not logged: a service has 100 at once, and 20 a second."""
        self._log_throttled("lines", "", number, "warning", "lines_skipped")

    def log_pending(self, *, final: bool = False) -> None:
        with self._lock:
            super().log_pending(final=final)


_ALL: weakref.WeakSet[CodeEvents] = weakref.WeakSet()


def _renew_locks() -> None:
    for events in list(_ALL):
        events._renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


_LEVELS = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10}
"""The lowest level of `logging` that is logged at each level of netd."""


def _of(peer: str) -> dict[str, object]:
    return {"peer": peer} if peer else {}


def _shown(line: str) -> str:
    return printable(line[:LONGEST_LINE])[:LONGEST_LINE]
