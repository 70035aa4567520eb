"""The state of the targets of a service that forwards, in memory that all its processes share.

A target has a row with what holds for all processes, and in the column of each worker a few counters, which that worker
alone writes. Three processes write to a row, each to a cache line of its own: the supervisor what the operator said,
one worker what its check found, and every worker when a connection has failed. So nothing needs a lock; of two workers
that write the same cell at the same moment, one is believed.

An attacker in control of a worker can write all of it, and so take targets out of service or bring them back. A process
bounds each number that it reads.
"""

from collections.abc import Collection, Container

from netd.shared.memory import MOST_COUNTED, MOST_WORKERS

ROWS = 128
"""Twice as many as a service has targets: those of a config that is prepared have theirs beside those in force."""

SAID = 0
"""What the operator said: 0 is nothing, so that the target is used."""
DOWN = 8
"""1: the check found that the target is down."""
DOWN_WHY = 9
DOWN_SINCE = 10
"""Why and since when: a number that the service type explains, and microseconds of CLOCK_MONOTONIC."""
WHY = 16
"""Why no connection reaches the target, as far as is known; 0: it can be reached."""
SINCE = 17
"""Since when: microseconds of CLOCK_MONOTONIC, as are the following."""
REST = 18
"""How long it rests after its last failure."""
RESTS_UNTIL = 19
IS_TRIED = 20
"""1: a connection tries it after a rest."""
ROW = 24
"""The cells of a row: three cache lines."""

ACTIVE = 0
"""In a column: connections and sessions that are open now."""
SERVED = 1
"""All that there have been."""
FAILURES = 2
"""How often the target could not be reached."""
_COUNTERS = 4  # cells of a target in a column

COLUMN = ROWS * _COUNTERS
_FIRST_COLUMN = ROWS * ROW
CELLS = _FIRST_COLUMN + MOST_WORKERS * COLUMN
"""Cells of eight octets for the targets of a service."""


class TargetCells:
    """The cells. ``cells`` and ``workers``, one cell with the number of workers, are shared memory.

    Without them it is memory of this process alone, with one column.
    """

    def __init__(self, cells: memoryview | None = None, workers: memoryview | None = None) -> None:
        if cells is None:
            cells = memoryview(bytearray((_FIRST_COLUMN + COLUMN) * 8)).cast("q")
        self.cells = cells
        """A cell of the row of a target is at `row` and its number from there."""
        self._workers = workers
        self._columns = cells[_FIRST_COLUMN:]

    @staticmethod
    def row(number: int) -> int:
        """Where the row with this number (0 to `ROWS` - 1) begins."""
        return number * ROW

    def column(self, worker: int) -> memoryview:
        """The cells that a worker writes. A counter of a target is at `counter`."""
        return self._columns[worker * COLUMN : (worker + 1) * COLUMN]

    @staticmethod
    def counter(number: int, counter: int) -> int:
        """Where in a column a counter of the target in this row is."""
        return number * _COUNTERS + counter

    def total(self, number: int, counter: int) -> int:
        """The sum of a counter over all workers."""
        workers = min(max(self._workers[0], 1), MOST_WORKERS) if self._workers is not None else 1
        cells = self._columns[number * _COUNTERS + counter : workers * COLUMN : COLUMN]
        return min(max(sum(cells), 0), MOST_COUNTED)

    def free_row(self, taken: Collection[int]) -> int:
        """A row that is not ``taken``, cleared for another target.

        One without connections, if there is one: those of a target that a reload has removed go on.
        """
        number = min((one for one in range(ROWS) if one not in taken), key=lambda one: self.total(one, ACTIVE))
        self.cells[self.row(number) : self.row(number + 1)] = memoryview(bytes(ROW * 8)).cast("q")
        for counter in (SERVED, FAILURES):
            place = self.counter(number, counter)
            for start in range(place, len(self._columns), COLUMN):
                if self._columns[start]:
                    self._columns[start] = 0
        return number

    def settle(self, running: Container[int], known: int) -> None:
        """Of ``known`` workers close the connections of those that are not ``running``, in these counters.

        A number that no counter can reach is discarded in all of them.
        """
        for worker in range(known):
            column = self.column(worker)
            if min(column) < 0 or max(column) > MOST_COUNTED:
                for place, number in enumerate(column):
                    if not 0 <= number <= MOST_COUNTED:
                        column[place] = 0
            if worker not in running:
                for place in range(ACTIVE, COLUMN, _COUNTERS):
                    if column[place]:
                        column[place] = 0


def first_unused(known: int) -> int:
    """The first cell behind the columns of so many workers."""
    return _FIRST_COLUMN + known * COLUMN
