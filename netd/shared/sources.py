"""The number of connections of each source, over all workers, in fixed memory.

A count-min sketch: every source has one cell in each of four rows, and at most as many connections as the least of its
cells. With N connections open, the least cell counts at most e * N / 4096 of other sources (in 98 of 100 cases; Cormode
and Muthukrishnan, 2005): with 8,192, less than six. So a source may be refused a few connections early, and never gets
one too many. Each worker writes only its own block, so no lock is needed, and the connections of a worker that died are
removed by clearing its block.
"""

from netd.shared.sketch import ROWS, places

WIDTH = 4096
BLOCK = ROWS * WIDTH
"""The number of cells of one worker."""


class Sources:
    """The connections of one service by source. ``cells`` are the blocks of all workers, in order."""

    def __init__(self, cells: memoryview, worker: int) -> None:
        self._cells = cells
        self._first = worker * BLOCK

    def add(self, source: bytes, limit: int, workers: int) -> bool:
        """Add a connection of this source, unless it has ``limit`` already. Return whether it was added.

        It is added before the blocks of all ``workers`` are summed up, so that two workers never both add the last one.
        """
        for place in places(source, WIDTH):
            self._cells[self._first + place] += 1
        if self.number(source, workers) <= limit:
            return True
        self.remove(source)
        return False

    def remove(self, source: bytes) -> None:
        """Remove a connection that was added."""
        for place in places(source, WIDTH):
            self._cells[self._first + place] -= 1

    def number(self, source: bytes, workers: int) -> int:
        """The number of connections of the source: an upper bound."""
        end = workers * BLOCK
        return min(sum(self._cells[place:end:BLOCK]) for place in places(source, WIDTH))
