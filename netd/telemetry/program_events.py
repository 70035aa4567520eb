"""The events of the programs of one service: the counters and the log lines of their starts and ends."""

import signal
import time
from collections.abc import Callable
from typing import Literal

from netd.contract import End
from netd.peer import Peer
from netd.shared.table import Layout, Role, Table
from netd.telemetry.throttle import ThrottledLog

How = Literal["success", "failure", "signal", "unknown"]
"""How a program has ended: with exit code 0, with another one, by a signal; or it is not known, since the process
that has started it was killed."""

COUNTERS = (
    "programs_started",
    "programs_not_started",
    "programs_ended.success",
    "programs_ended.failure",
    "programs_ended.signal",
    "programs_ended.unknown",
    "programs_cpu_us",
    "error_lines",
)
"""What a service type with programs counts beside the common counters."""

LINES_RATE, LINES_BURST = 20.0, 100.0
"""Lines of standard error that are logged a second for a service, and how many at once."""


def how_ended(end: End) -> How:
    """The class of an end."""
    if end.code is None:
        return "unknown"
    return "signal" if end.code < 0 else "failure" if end.code else "success"


def _ended_by(end: End) -> dict[str, object]:
    """``code``, or ``signal`` by its name."""
    if end.code is None:
        return {}
    if end.code >= 0:
        return {"code": end.code}
    try:
        return {"signal": signal.Signals(-end.code).name}
    except ValueError:  # a real-time signal has no name
        return {"signal": str(-end.code)}


def _of_peer(peer: Peer | str) -> dict[str, object]:
    text = peer if isinstance(peer, str) else peer.remote
    return {"peer": text} if text else {}


class ProgramEvents(ThrottledLog):
    """The events of the programs of a service. ``column`` holds the counters that this process writes, if it has some.

    ``is_logged`` says whether the start and the end of one are logged at info; else at debug.
    """

    def __init__(
        self,
        service: str,
        table: Table | None = None,
        process: int | Role = 0,
        is_logged: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, service=service)
        table = table or Table(layout=Layout(COUNTERS))
        self._cells = table.column(process)
        self._cell = table.layout.cells
        self._is_logged = is_logged
        self._lines = LINES_BURST
        self._lines_at = clock()

    def program_started(self, peer: Peer | str, pid: int) -> None:
        """A program has started for this peer; for one that accepts connections itself the peer is empty."""
        self._cells[self._cell["programs_started"]] += 1
        if log := self._logger():
            log("program_started", **_of_peer(peer), pid=pid)

    def program_ended(self, peer: Peer | str, pid: int, end: End) -> How:
        """A program has ended."""
        how = how_ended(end)
        self._cells[self._cell[f"programs_ended.{how}"]] += 1
        self._cells[self._cell["programs_cpu_us"]] += int((end.user + end.system) * 1e6)
        if log := self._logger():
            fields = {**_of_peer(peer), "pid": pid, **_ended_by(end), "duration": round(end.seconds, 6)}
            if end.code is not None:
                fields |= {"user": round(end.user, 6), "system": round(end.system, 6)}
            if end.memory:
                fields["memory"] = end.memory
            if end.timed_out:
                fields["reason"] = "lifetime"
            log("program_ended", **fields)
        return how

    def _logger(self) -> Callable[..., object] | None:
        """What logs a start or an end; None: nothing does."""
        return self._log.info if self._is_logged() else self._debug

    def program_not_started(self, peer: str, error: str) -> None:
        """A program could not be started. Each error is logged, then at most once a minute."""
        self._cells[self._cell["programs_not_started"]] += 1
        self._log_throttled(error, "", 1, "error", "program_not_started", peer=peer, error=error)

    def error_line(self, peer: str, pid: int, line: str) -> None:
        """A program has written a line to its standard error. `LINES_RATE` lines a second are logged, all counted."""
        self._cells[self._cell["error_lines"]] += 1
        now = self._clock()
        self._lines = min(LINES_BURST, self._lines + (now - self._lines_at) * LINES_RATE)
        self._lines_at = now
        if self._lines < 1:
            return self._log_throttled("error_lines", "", 1, "warning", "program_errors_skipped")
        self._lines -= 1
        self._log.info("program_error", **_of_peer(peer), pid=pid, line=line)
