"""Rates: token buckets for any number of sources, in fixed memory that all workers share.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm of ITU-T I.371): what
is taken moves it on by the time in which one token comes, and no more than ``burst`` of these lie ahead. The buckets of
all sources share 4 rows of 65,536 such numbers. Each source has one in each row, of which the least counts, so it is
never believed to have taken less than it has; others make it look as if it had taken more only where they have pushed
all four of its cells. With 300,000 datagrams a second from sources that each come once, at 50/s a cell is ahead of the
clock for a tenth of the time, by a hundredth of a burst of 100. The lower the rate, the sooner the cells are full: at
`1/m burst 1`, 3,000 forged sources a second have most sources refused that come for the first time, and at a burst of 5
none.

Workers write the same cells without a lock. Two that take from one bucket in the same microsecond may count one of
both; so with several workers a source may get more than its rate, in the worst case by their number, and never less.
"""

from netd.shared.sketch import ROWS, places
from netd.values import Rate

WIDTH = 65536
CELLS = ROWS * WIDTH
"""Cells of 8 octets that the buckets need."""


def taken(full: int, now: int, rate: Rate, number: int) -> tuple[int, int]:
    """How many of ``number`` a bucket gives that is full again at ``full``, and when it is full after that.

    Times are nanoseconds.
    """
    interval = rate.interval
    # A bucket that was filled at a slower rate is empty, and not for longer than this one needs.
    full = now if full < now else min(full, now + rate.depth)
    given = min(number, (now + rate.depth - full) // interval)
    return (given, full + given * interval) if given > 0 else (0, full)


class Rates:
    """The buckets. ``cells`` are `CELLS` numbers of 8 octets, zero at first."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def take(self, key: bytes, rate: Rate, now: float) -> bool:
        """Take a token for a key now (seconds, steady); whether there was one."""
        cells = self._cells
        a, b, c, d = places(key, WIDTH)
        before = min(cells[a], cells[b], cells[c], cells[d])
        given, full = taken(before, int(now * 1e9), rate, 1)
        if given:
            # No more than needed to remember this, so that others in these cells notice as little as possible.
            for place in (a, b, c, d):
                if cells[place] < full:
                    cells[place] = full
        return bool(given)

    def left(self, key: bytes, rate: Rate, now: float) -> int:
        """How many tokens there are for a key now."""
        return taken(min(self._cells[place] for place in places(key, WIDTH)), int(now * 1e9), rate, rate.burst)[0]
