"""The state of targets: which of them get connections, and how many each has.

A target that fails rests: 1 second at first, and twice as long after each further failure, up to 30 seconds. Then one
connection tries it, while it goes on resting for all others. The operator may take a target out of service, and so does
its check.

All workers share the state (`netd.shared.targets`), in which times are microseconds of the clock of the loop.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from netd.services.forward.target import Target
from netd.shared import targets as shared
from netd.shared.targets import ACTIVE, DOWN, FAILURES, IS_TRIED, REST, RESTS_UNTIL, SAID, SERVED, SINCE, WHY
from netd.telemetry.forward_events import CheckWhy

FIRST_REST = 1.0
"""Seconds that a target rests after its first failure."""
LONGEST_REST = 30.0
"""Seconds that it rests at most."""

Said = Literal["enabled", "drain", "disabled"]
"""What the operator said of a target: it is used; it gets no new connections; and those it has are closed."""
Condition = Literal["up", "resting", "down", "drain", "disabled"]
"""The state of a target: it is used; it could not be reached, and rests; its check found it down; as `Said`."""

_SAID = get_args(Said)
_WHY = ("", *get_args(CheckWhy))
_MICRO = 1_000_000
_LONGEST = round(LONGEST_REST * _MICRO)


@dataclass(frozen=True, slots=True)
class TargetState:
    """The state of one target, read at one moment."""

    condition: Condition
    since: float | None
    """When that began (CLOCK_MONOTONIC); None: it is not known, or it has always been so."""
    why: str
    """Why it rests or is down."""
    active: int
    """Connections and sessions that are open now."""
    served: int
    """All that there have been."""
    failures: int
    """How often it could not be reached."""
    rests_until: float


class Targets:
    """The targets of a service, by number. Times are those of the loop.

    Until `share` is called, the state is that of this process alone. ``is_checked``: there is a check.
    """

    def __init__(self, targets: Sequence[Target], *, is_checked: bool = False) -> None:
        self.targets = tuple(targets)
        self._is_checked = is_checked
        self._is_shared = False
        self._set(shared.TargetCells(), range(len(self.targets)), 0)

    def share(self, memory: shared.TargetCells, numbers: Sequence[int], worker: int) -> None:
        """Use the state that all workers share: these rows of it, and the column of this worker."""
        self._is_shared = True
        self._set(memory, numbers, worker)

    def _set(self, memory: shared.TargetCells, numbers: Iterable[int], worker: int) -> None:
        self._memory = memory
        self._numbers = tuple(numbers)
        self._rows = [memory.row(number) for number in self._numbers]
        self._counters = [memory.counter(number, 0) for number in self._numbers]
        self._cells = memory.cells
        self._column = memory.column(worker)

    def take_over(self, before: "Targets") -> None:
        """Continue with the states of the same targets in another object, the connections of which count on.

        What all workers share needs nothing: each target keeps its row.
        """
        if not self._is_shared:
            known = dict(zip(before.targets, before._numbers, strict=True))
            rows = rows_for(self.targets, known, before._memory)
            self._set(before._memory, [rows[target] for target in self.targets], 0)

    def usable(self, now: float, numbers: Sequence[int]) -> list[int]:
        """Those of these targets that are in service and do not rest."""
        cells, rows, time = self._cells, self._rows, round(now * _MICRO)
        latest = time + _LONGEST  # a later end was written by a faulty worker
        found = [number for number in numbers if not time < cells[rows[number] + RESTS_UNTIL] <= latest]
        return self.in_service(found)

    def resting(self, now: float, numbers: Sequence[int]) -> list[int]:
        """Those of these targets that are in service and rest, in the order in which their rests end."""
        time = round(now * _MICRO)
        ends = {number: self._cells[self._rows[number] + RESTS_UNTIL] for number in numbers}
        found = [number for number in numbers if time < ends[number] <= time + _LONGEST]
        return sorted(self.in_service(found), key=lambda number: ends[number])

    def in_service(self, numbers: Sequence[int]) -> list[int]:
        """Those of these targets that neither the operator nor the check has taken out of service."""
        cells, rows = self._cells, self._rows
        if self._is_checked:
            numbers = [number for number in numbers if cells[rows[number] + DOWN] != 1]
        return [number for number in numbers if not cells[rows[number] + SAID]]

    def active(self) -> list[int]:
        """The connections and sessions of each target, over all workers."""
        return [self._memory.total(number, ACTIVE) for number in self._numbers]

    def trying(self, number: int, now: float, seconds: float) -> None:
        """A connection tries this target, which takes at most so many seconds. If it has failed before, others wait."""
        cells, row = self._cells, self._rows[number]
        if cells[row + WHY] and cells[row + RESTS_UNTIL] <= round(now * _MICRO):
            cells[row + RESTS_UNTIL] = round((now + min(seconds, LONGEST_REST)) * _MICRO)
            cells[row + IS_TRIED] = 1

    def succeeded(self, number: int) -> bool:
        """It can be reached. Returns whether it could not before."""
        cells, row = self._cells, self._rows[number]
        if not cells[row + WHY]:
            return False
        for cell in (REST, RESTS_UNTIL, IS_TRIED, SINCE, WHY):
            cells[row + cell] = 0
        return True

    def failed(self, number: int, why: str, now: float) -> bool:
        """It could not be reached. Returns whether it could before."""
        cells, row = self._cells, self._rows[number]
        self._column[self._counters[number] + FAILURES] += 1
        is_first = not cells[row + WHY]
        if not is_first and not cells[row + IS_TRIED]:
            return False  # a connection that began before it rested
        rest = 0 if is_first else min(max(cells[row + REST], 0), _LONGEST)
        cells[row + REST] = rest = min(2 * rest, _LONGEST) or round(FIRST_REST * _MICRO)
        time = round(now * _MICRO)
        cells[row + RESTS_UNTIL] = time + rest
        cells[row + IS_TRIED] = 0
        if is_first:
            cells[row + SINCE] = time
        cells[row + WHY] = number_of(why)
        return is_first

    def found_down(self, number: int, now: float) -> tuple[str, float] | None:
        """Why and since when its check has found this target down; None: it has not."""
        cells = self._cells[self._rows[number] : self._rows[number] + shared.ROW]
        since = cells[shared.DOWN_SINCE] / _MICRO
        return (text_of(cells[shared.DOWN_WHY]), since if 0 < since <= now else now) if cells[DOWN] == 1 else None

    def set_down(self, number: int, found: tuple[str, float] | None) -> None:
        """Have all workers take the target for down, for this reason and since then; None: it is not."""
        cells, row = self._cells, self._rows[number]
        if found:
            cells[row + shared.DOWN_WHY] = number_of(found[0])
            cells[row + shared.DOWN_SINCE] = round(found[1] * _MICRO)
        cells[row + DOWN] = int(found is not None)

    def opened(self, number: int) -> None:
        """It has one connection more."""
        place = self._counters[number]
        self._column[place + ACTIVE] += 1
        self._column[place + SERVED] += 1

    def closed(self, number: int) -> None:
        """It has one connection less."""
        self._column[self._counters[number] + ACTIVE] -= 1

    def states(self, now: float) -> list[TargetState]:
        """The state of each target."""
        return [self._state(number, now) for number in range(len(self.targets))]

    def _state(self, number: int, now: float) -> TargetState:
        row, total = self._rows[number], self._memory.total
        cells, slot = self._cells[row : row + shared.ROW], self._numbers[number]
        condition: Condition = "up"
        since, why = 0, 0
        if said := cells[SAID]:
            condition = _SAID[said] if said in (1, 2) else "disabled"
        elif self._is_checked and cells[DOWN] == 1:
            condition, since, why = "down", cells[shared.DOWN_SINCE], cells[shared.DOWN_WHY]
        elif cells[WHY]:
            condition, since, why = "resting", cells[SINCE], cells[WHY]
        return TargetState(
            condition,
            since / _MICRO if 0 < since <= now * _MICRO else None,
            text_of(why),
            total(slot, ACTIVE),
            total(slot, SERVED),
            total(slot, FAILURES),
            cells[RESTS_UNTIL] / _MICRO,
        )


def number_of(why: str) -> int:
    """A reason as a number of the shared memory."""
    return _WHY.index(why if why in _WHY else "error")


def text_of(number: int) -> str:
    """The reason that has this number. A faulty worker may have written any."""
    return _WHY[number] if 0 <= number < len(_WHY) else "error"


def rows_for(targets: Iterable[Target], known: Mapping[Target, int], memory: shared.TargetCells) -> dict[Target, int]:
    """The rows of targets: those that are ``known``, and for the others free ones, cleared."""
    rows = dict(known)
    for target in targets:
        if target not in rows:
            rows[target] = memory.free_row(rows.values())
    return rows
