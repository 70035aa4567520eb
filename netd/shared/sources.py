"""How many connections each source has, across workers and in fixed memory.

A count-min sketch: every source has one cell in each of four rows, and never more connections than the least of its
cells says. With N connections open, a cell holds at most e * N / 4096 of others (in 98 of 100 cases; Cormode and
Muthukrishnan, 2005): of 8,192, less than six. So a source may be refused a few connections early, and never gets one
too many. Each worker adds and subtracts in a block of its own, so that no lock is needed, and what a dead one held is
taken back by clearing its block.
"""

from netd.shared.sketch import ROWS, places

WIDTH = 4096
BLOCK = ROWS * WIDTH
"""Cells of one worker."""


class Sources:
    """The connections of one service by source. ``cells`` are those of all workers, block by block."""

    def __init__(self, cells: memoryview, worker: int) -> None:
        self._cells = cells
        self._first = worker * BLOCK

    def add(self, source: bytes, limit: int, workers: int) -> bool:
        """Count a connection of this source, unless it has ``limit``; then nothing is counted.

        It is counted before the blocks of all ``workers`` are added up, so that two of them never take the last one.
        """
        for place in places(source, WIDTH):
            self._cells[self._first + place] += 1
        if self.number(source, workers) <= limit:
            return True
        self.remove(source)
        return False

    def remove(self, source: bytes) -> None:
        """A connection that was counted is over."""
        for place in places(source, WIDTH):
            self._cells[self._first + place] -= 1

    def number(self, source: bytes, workers: int) -> int:
        """How many connections the source has at most."""
        end = workers * BLOCK
        return min(sum(self._cells[place:end:BLOCK]) for place in places(source, WIDTH))


def clear(cells: memoryview, worker: int) -> None:
    """A worker is over, with all its connections."""
    cells[worker * BLOCK : (worker + 1) * BLOCK] = memoryview(bytes(4 * BLOCK)).cast("i")
