"""The numbers kept for each service, in memory that all processes of netd share.

A service has one `Table`: a column of cells for each worker, which alone writes it, so that no addition needs a lock
and none is lost when a worker dies. Whoever wants to know adds the columns up.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

from netd.reasons import Drop, Outcome, Refusal
from netd.shared import sources
from netd.shared.memory import MOST_WORKERS, SharedMemory

DURATIONS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)
"""How long connections take, in seconds: the upper bounds of the classes in which they are counted. Beyond the last one
there is one more."""

_CELLS = (
    "accepted",
    "active",
    "failed",
    "loops",
    "checks",
    "bytes_in",
    "bytes_out",
    "datagrams_in",
    "datagrams_out",
    "duration_us",
    *(f"durations.{bound:g}" for bound in (*DURATIONS, math.inf)),  # one after the other
    *(f"closed.{outcome}" for outcome in get_args(Outcome)),
    *(f"refused.{reason}" for reason in get_args(Refusal)),
    *(f"dropped.{reason}" for reason in get_args(Drop)),
)
_LEAST, _MOST = -(2**63), 2**63 - 1  # what a cell can hold
_COLUMN = 64  # cells of eight octets: room for a few more, and no two workers in one line of the cache
_WORKERS = _COLUMN - 1  # of the first column: how many there are
_TOTAL_RATE = _COLUMN - 2  # of the first column: when the bucket of `limits.total_rate` is full
assert len(_CELLS) < _TOTAL_RATE
SUPERVISOR = MOST_WORKERS
"""The column after those of the workers."""

CELL = {name: number for number, name in enumerate(_CELLS)}
"""Where each number stands in a column, by name: ``accepted``, ``closed.idle``."""


@dataclass(slots=True)
class Counts:
    """What one service has done since it was switched on, as of one moment."""

    accepted: int = 0
    """Connections taken."""
    active: int = 0
    """Connections open now."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections ended, by `Outcome`."""
    refused: Counter[str] = field(default_factory=Counter)
    """Connections closed before a word, by `Refusal`."""
    failed: int = 0
    """Conversations and datagrams lost to a bug in the service."""
    loops: int = 0
    """Peers that sent back what they were answered, hundreds of times on end."""
    checks: int = 0
    """Connections that came and went without an octet: a load balancer's, say."""
    duration_us: int = 0
    """How long ended connections took together, in microseconds."""
    durations: Counter[str] = field(default_factory=Counter)
    """Ended connections by how long they took: those up to one of `DURATIONS`, which is the key, and above the one
    before; ``inf`` for the longest."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Octets received and sent, of ended connections and of datagrams."""
    datagrams_in: int = 0
    datagrams_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams not taken, or answers not sent, by `Drop`."""

    @property
    def answered(self) -> int:
        """Connections taken and datagrams answered."""
        return self.accepted + self.datagrams_out

    def summary(self) -> dict[str, object]:
        """What is not zero, for a log line."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items() if value}


class Table(SharedMemory):
    """The counters of one service. ``descriptor`` is that of a table made by another process; else one is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        numbers = (MOST_WORKERS + 1) * _COLUMN * 8
        size = numbers + MOST_WORKERS * sources.BLOCK * 4
        super().__init__("netd-counters", size, descriptor)
        self.cells = self.octets[:numbers].cast("q")
        self.total_rate = self.cells[_TOTAL_RATE : _TOTAL_RATE + 1]
        """The bucket of `limits.total_rate` (`netd.shared.rates`), which all workers write."""
        self.sources = self.octets[numbers:].cast("i")
        """How many connections each source has (`netd.shared.sources`)."""

    def column(self, worker: int) -> memoryview:
        """The cells that this worker writes (0 to `MOST_WORKERS` - 1, or `SUPERVISOR`)."""
        return self.cells[worker * _COLUMN : (worker + 1) * _COLUMN]

    def all(self, cell: int) -> memoryview:
        """One number of all workers."""
        return self.cells[cell::_COLUMN]

    def read(self) -> "Counts":
        """All numbers, over all workers."""
        counts = Counts()
        # What stands there may be any worker's, also one that has gone wrong.
        workers = min(max(self.workers, 0), MOST_WORKERS)
        columns = [self.column(number) for number in (*range(workers), SUPERVISOR)]
        for name, number in zip(CELL, map(sum, zip(*columns, strict=True)), strict=False):
            if number:
                kind, dot, reason = name.partition(".")
                if dot:
                    getattr(counts, kind)[reason] = number
                else:
                    setattr(counts, name, number)
        return counts

    @property
    def workers(self) -> int:
        """How many columns have been in use."""
        return self.cells[_WORKERS]

    @workers.setter
    def workers(self, number: int) -> None:
        self.cells[_WORKERS] = max(number, self.cells[_WORKERS])

    def settle(self, worker: int) -> int:
        """After a worker died: its open connections are over, lost with it. Returns how many.

        It may have died between any two of its additions, so what counts is which connections have no end.
        """
        column = self.column(worker)
        if not any(column[: len(_CELLS)]):
            return 0  # nor has it touched the sources
        sources.forget(self.sources, worker)
        lost = column[CELL["accepted"]] - sum(column[cell] for name, cell in CELL.items() if name.startswith("closed."))
        column[CELL["active"]] = 0
        column[CELL["closed.lost"]] = min(max(column[CELL["closed.lost"]] + lost, _LEAST), _MOST)
        return int(lost)
