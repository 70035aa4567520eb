"""Rates: token buckets for any number of sources, in fixed memory that all workers share.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm of ITU-T I.371): each
token taken moves it ahead by the interval between two tokens, and at most ``burst`` intervals lie ahead of the clock.
The buckets of all sources share 4 rows of 65,536 such numbers. Each source has one cell in each row, of which the least
counts. So a source never gets more than its rate; it gets less only if other sources have advanced all four of its
cells. With 300,000 datagrams a second from sources that each send one, at 50/s a cell is ahead of the clock for a tenth
of the time, by a hundredth of a burst of 100. The lower the rate, the sooner the cells are full: at `1/m burst 1`, with
3,000 forged sources a second, most new sources are refused, and at a burst of 5 none.

Workers write the same cells without a lock. Of two that take from one bucket in the same microsecond, one token may be
lost from the count; so with several workers a source may get more than its rate, at worst times their number, and never
less.
"""

from netd.shared.sketch import ROWS, places
from netd.values import Rate

WIDTH = 65536
CELLS = ROWS * WIDTH
"""The number of cells, of 8 octets each."""


def taken(full: int, now: int, rate: Rate, number: int) -> tuple[int, int]:
    """Take up to ``number`` tokens from a bucket that is full again at ``full``. Return how many, and the new ``full``.

    Times are in nanoseconds.
    """
    interval = rate.interval
    # A bucket from a slower rate counts as empty, and refills at this rate.
    full = now if full < now else min(full, now + rate.depth)
    given = min(number, (now + rate.depth - full) // interval)
    return (given, full + given * interval) if given > 0 else (0, full)


class Rates:
    """The buckets of all keys. ``cells`` are `CELLS` numbers of 8 octets, zero at first."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def take(self, key: bytes, rate: Rate, now: float) -> bool:
        """Take a token of a key. Return whether there was one. ``now`` is in seconds of a monotonic clock."""
        cells = self._cells
        a, b, c, d = places(key, WIDTH)
        before = min(cells[a], cells[b], cells[c], cells[d])
        given, full = taken(before, int(now * 1e9), rate, 1)
        if given:
            # Only cells that are behind are advanced, so that other keys in these cells lose as little as possible.
            for place in (a, b, c, d):
                if cells[place] < full:
                    cells[place] = full
        return bool(given)

    def left(self, key: bytes, rate: Rate, now: float) -> int:
        """The number of tokens that a key has now."""
        return taken(min(self._cells[place] for place in places(key, WIDTH)), int(now * 1e9), rate, rate.burst)[0]
