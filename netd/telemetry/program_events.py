"""The events of the programs of one service: the counters and the log lines of their starts and ends."""

import math
import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeGuard, get_args

from netd.contract import End
from netd.peer import Peer
from netd.shared.table import DURATIONS, SUPERVISOR, Layout, Role, Table
from netd.telemetry import formats, logs
from netd.telemetry.throttle import LONGEST_LINE, LineLimit, ThrottledLog
from netd.text import printable

How = Literal["success", "failure", "signal", "unknown"]
"""How a program has ended: with exit code 0, with another one, by a signal; or it is not known, since the process
that has started it was killed."""

_SUCCEEDED, _FAILED, _FAULT = "_program_succeeded", "_program_failed", "_program_fault"
COUNTERS = (
    "programs_started",
    "programs_not_started",
    *(f"programs_ended.{how}" for how in get_args(How)),
    "programs_cpu_us",
    "programs_error_lines",
    "programs_duration_us",
    *(f"programs_durations.{bound:g}" for bound in (*DURATIONS, math.inf)),  # in this order, without a gap
    _SUCCEEDED,
    _FAILED,
    _FAULT,
)
"""What a service type with programs counts beside the common counters. The last three are no sums: when the last
program has ended well and when one has failed, in microseconds of CLOCK_MONOTONIC, and the `fault_of` that one."""

_SIGNALS = 256  # a fault from here on is a signal
NOT_STARTED = 1024
"""The fault of a program that could not be started."""


def fault_of(end: End, *, expected: bool = False) -> int:
    """What was wrong with the end of a program, as a number: its exit code, or 256 and the signal. 0: nothing.

    ``expected``: netd has ended it, or its exit code is a result.
    """
    if not end.code or expected or end.timed_out:
        return 0
    return end.code if end.code > 0 else _SIGNALS - end.code


class Failure(NamedTuple):
    """The last failure of a program of a service."""

    at: float
    """CLOCK_MONOTONIC."""
    why: str
    is_last: bool
    """Whether no program has ended well since."""


def last_failure(table: Table, now: float) -> Failure | None:
    """The last failure of a program of the service with this table. A worker may have written any numbers to it."""
    own = table.column(SUPERVISOR)
    cells = (table.layout.cells[name] for name in (_SUCCEEDED, _FAILED, _FAULT))
    columns = zip(*((own[cell], *table.all(cell)) for cell in cells), strict=True)
    success, failure, fault = 0, 0, 0
    for succeeded, failed, what in columns:
        if success < succeeded <= now * 1e6:
            success = succeeded
        if failure < failed <= now * 1e6:
            failure, fault = failed, what
    return Failure(failure / 1e6, _described(fault), failure > success) if failure else None


def _described(fault: int) -> str:
    if fault < _SIGNALS:
        return f"exit code {fault}"
    return f"signal {_signal_name(fault - _SIGNALS)}" if fault < NOT_STARTED else "it could not be started"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return str(number)


def how_ended(end: End) -> How:
    """The class of an end."""
    if end.code is None:
        return "unknown"
    return "signal" if end.code < 0 else "failure" if end.code else "success"


def _ended_by(end: End) -> dict[str, object]:
    """``code``, or ``signal`` by its name."""
    if end.code is None:
        return {}
    return {"code": end.code} if end.code >= 0 else {"signal": _signal_name(-end.code)}


def _of_peer(peer: Peer | str) -> dict[str, object]:
    text = peer if isinstance(peer, str) else peer.remote
    return {"peer": text} if text else {}


def _is_usual(peer: Peer | str) -> TypeGuard[Peer]:
    """Whether the text of a peer is an address with its port, in which nothing has to be escaped."""
    return type(peer) is Peer and peer.transport == "tcp" and "%" not in peer.host


class ProgramCounts:
    """Counts the programs of the service with this table, in the column of a process. ``clock`` is CLOCK_MONOTONIC."""

    def __init__(self, table: Table, process: int | Role, clock: Callable[[], float] = time.monotonic) -> None:
        self._cells = table.column(process)
        self._cell = table.layout.cells
        self._shortest = self._cell[f"programs_durations.{DURATIONS[0]:g}"]
        self._clock = clock

    def started(self, number: int = 1) -> None:
        """So many have started."""
        self._cells[self._cell["programs_started"]] += number

    def ended(self, how: How, fault: int, cpu: float, seconds: float) -> None:
        """One has ended, after so many seconds of processor time and of time. ``fault`` is the `fault_of` it."""
        cells, cell = self._cells, self._cell
        cells[cell[f"programs_ended.{how}"]] += 1
        cells[cell["programs_cpu_us"]] += int(cpu * 1e6)
        cells[cell["programs_duration_us"]] += int(seconds * 1e6)
        cells[self._shortest + bisect_left(DURATIONS, seconds)] += 1
        if how != "unknown":
            self._note(fault)

    def not_started(self) -> None:
        """One could not be started."""
        self._cells[self._cell["programs_not_started"]] += 1
        self._note(NOT_STARTED)

    def error_lines(self, number: int) -> None:
        """One has written so many lines to its standard error."""
        self._cells[self._cell["programs_error_lines"]] += number

    def _note(self, fault: int) -> None:
        now = int(self._clock() * 1e6)
        if fault:
            self._cells[self._cell[_FAULT]] = fault
        self._cells[self._cell[_FAILED if fault else _SUCCEEDED]] = now


class ProgramEvents(ThrottledLog):
    """The events of the programs of a service. ``process`` counts them in its column of ``table``, if there is one.

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
        self._counts = ProgramCounts(table or Table(layout=Layout(COUNTERS)), process, clock)
        self._is_logged = is_logged
        self._lines = LineLimit(clock)

    def bind_logger(self) -> None:
        super().bind_logger()
        service = str(self._context["service"])
        self._render_started, self._render_ended = (
            formats.program_started_line(service),
            formats.program_ended_line(service),
        )
        self._write_line = logs.json_writer()

    def program_started(self, peer: Peer | str, pid: int) -> None:
        """A program has started. At info or debug, as `log.connections` or `log_connections` of its service says.

        ``peer`` is empty for one that accepts connections itself.
        """
        self._counts.started()
        if self._write_line and _is_usual(peer) and self._is_logged():
            return self._write_line(self._render_started(peer.remote, pid))
        if log := self._logger():
            log("program_started", **_of_peer(peer), pid=pid)

    def program_ended(self, peer: Peer | str, pid: int, end: End, *, expected: bool = False) -> None:
        """A program has ended, by itself or not; at the level of its start.

        ``expected`` is as of `fault_of`.
        """
        self._counts.ended(how_ended(end), fault_of(end, expected=expected), end.user + end.system, end.seconds)
        has_code = end.code is not None and end.code >= 0
        if has_code and not end.timed_out and self._write_line and _is_usual(peer) and self._is_logged():
            return self._write_line(self._render_ended(peer.remote, pid, end))
        if log := self._logger():
            fields = {**_of_peer(peer), "pid": pid, **_ended_by(end), "duration": round(end.seconds, 6)}
            if end.code is not None:
                fields |= {"user_time": round(end.user, 6), "system_time": round(end.system, 6)}
            if end.memory:
                fields["memory"] = end.memory
            if end.timed_out:
                fields["reason"] = "lifetime"
            log("program_ended", **fields)

    def _logger(self) -> Callable[..., object] | None:
        """What logs a start or an end; None: nothing does."""
        return self._log.info if self._is_logged() else self._debug

    def program_not_started(self, peer: str, error: str) -> None:
        """A program cannot be started. Once a minute for each ``error``."""
        self._counts.not_started()
        self._log_throttled(error, "", 1, "error", "program_not_started", **_of_peer(peer), error=error)

    def error_lines(self, peer: str, pid: int, lines: Sequence[bytes]) -> None:
        """A program has written lines to its standard error. Those that `LineLimit` allows are logged, all are counted.

        A line that is not logged costs next to nothing: a program may write a million of them a second.
        """
        self._counts.error_lines(len(lines))
        logged = lines[: self._lines.take(len(lines))]
        for line in logged:
            self.program_error(peer, pid, line)
        if skipped := len(lines) - len(logged):
            self.program_errors_skipped(skipped)

    def program_error(self, peer: str, pid: int, line: bytes) -> None:
        """A line that a program has written to standard error, with `stderr: log`: 100 at once, and 20 a second, of all
        programs of a service.
        """
        text = printable(line[:LONGEST_LINE].decode(errors="replace"))[:LONGEST_LINE]
        self._log.info("program_error", **_of_peer(peer), pid=pid, line=text)

    def program_errors_skipped(self, number: int) -> None:
        """Programs of a service have written more lines to standard error than these, which are not logged."""
        self._log_throttled("error_lines", "", number, "warning", "program_errors_skipped")
