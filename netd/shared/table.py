"""The numbers kept for each service, in memory that all processes of netd share.

A service has one `Table`: a column of cells for each process that counts, which alone writes it, so that no addition
needs a lock and none is lost when a worker dies. The sum of the columns is what the service has done. In front stands a
header, and behind the columns the sources of the connections (`netd.shared.sources`).
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from typing import get_args

from netd.reasons import Drop, Outcome, Refusal
from netd.shared import sources
from netd.shared.memory import MOST_WORKERS, SharedMemory

DURATIONS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)
"""How long connections take, in seconds: the upper bounds of the classes in which they are counted. Beyond the last one
there is one more."""

_COMMON = (
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
_LINE = 8  # cells of eight octets in a line of the cache, in which no two processes write


@dataclass(frozen=True)
class Layout:
    """Which numbers a service has, and where each stands in a column: the common ones, then those of its type's own.

    So a common one stands at the same place in all tables. ValueError: two have the same name.
    """

    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.cells) < len(_COMMON) + len(self.own):
            raise ValueError(f"{', '.join(self.own)}: this names a counter twice")

    @cached_property
    def cells(self) -> dict[str, int]:
        """Where each number stands, by name."""
        return {name: number for number, name in enumerate((*_COMMON, *self.own))}

    @cached_property
    def width(self) -> int:
        """How many cells a column has, in whole lines of the cache."""
        return -(-len(self.cells) // _LINE) * _LINE

    @cached_property
    def digest(self) -> bytes:
        """What tells one layout from another, in a table's header."""
        return blake2b(repr((_ROLES, MOST_WORKERS, *self.cells)).encode(), digest_size=_DIGEST).digest()


COMMON = Layout()
"""The layout of a service type that has no numbers of its own."""

CELL = COMMON.cells
"""Where each common number stands in a column, by name: ``accepted``, ``closed.idle``."""


class Role(Enum):
    """A process that is no worker, and the number of its column."""

    SUPERVISOR = 0


SUPERVISOR = Role.SUPERVISOR

_ROLES = 8  # columns, in front of those of the workers; some are left for roles to come
_HEADER = _LINE  # cells
_DIGEST = 16  # octets of it, at its start
_WORKERS = 2  # of its cells: how many there are
_TOTAL_RATE = 3  # when the bucket of `limits.total_rate` is full


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
    own: Counter[str] = field(default_factory=Counter)
    """What only services of this type count, by name."""

    @property
    def answered(self) -> int:
        """Connections taken and datagrams answered."""
        return self.accepted + self.datagrams_out

    def summary(self) -> dict[str, object]:
        """What is not zero, for a log line."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items() if value}


class Table(SharedMemory):
    """The counters of one service. ``descriptor`` is that of a table made by another process; else one is made.

    ValueError: it is none of this layout.
    """

    def __init__(self, descriptor: int | None = None, layout: Layout = COMMON) -> None:
        self.layout = layout
        first = _HEADER + _ROLES * layout.width  # of the workers' cells
        cells = first + MOST_WORKERS * layout.width
        super().__init__("netd-counters", cells * 8 + MOST_WORKERS * sources.BLOCK * 4, descriptor)
        numbers = self.octets[: cells * 8].cast("q")
        self._header = numbers[:_HEADER]
        self._of_roles = numbers[_HEADER:first]
        self._of_workers = numbers[first:]
        self.total_rate = self._header[_TOTAL_RATE : _TOTAL_RATE + 1]
        """The bucket of `limits.total_rate` (`netd.shared.rates`), which all workers write."""
        self.sources = self.octets[cells * 8 :].cast("i")
        """How many connections each source has (`netd.shared.sources`)."""
        if descriptor is None:
            self._sign()
        elif self.octets[:_DIGEST] != layout.digest:
            raise ValueError("these are counters of another layout")

    def _sign(self) -> None:
        self.octets[:_DIGEST] = self.layout.digest

    def column(self, process: int | Role) -> memoryview:
        """The cells that a process writes: a worker by its number (0 to `MOST_WORKERS` - 1), another by its role."""
        columns, number = (self._of_roles, process.value) if isinstance(process, Role) else (self._of_workers, process)
        return columns[number * self.layout.width : (number + 1) * self.layout.width]

    def all(self, cell: int) -> memoryview:
        """One number of all workers."""
        return self._of_workers[cell :: self.layout.width]

    def read(self) -> "Counts":
        """All numbers, over all processes."""
        counts = Counts()
        # What stands there may be any worker's, also one that has gone wrong.
        workers = min(max(self.workers, 0), MOST_WORKERS)
        columns = [self.column(process) for process in (*Role, *range(workers))]
        for name, number in zip(self.layout.cells, map(sum, zip(*columns, strict=True)), strict=False):
            if number:
                kind, dot, reason = name.partition(".")
                if name not in CELL:
                    counts.own[name] = number
                elif dot:
                    getattr(counts, kind)[reason] = number
                else:
                    setattr(counts, name, number)
        return counts

    @property
    def workers(self) -> int:
        """How many workers' columns have been in use."""
        return self._header[_WORKERS]

    @workers.setter
    def workers(self, number: int) -> None:
        self._header[_WORKERS] = max(number, self._header[_WORKERS])

    def reap_counters(self, worker: int) -> int:
        """After a worker died: its open connections are over, lost with it. Returns how many.

        It may have died between any two of its additions, so what counts is which connections have no end.
        """
        self._sign()  # whatever it has written there, the next worker can read it
        column = self.column(worker)
        if not any(column):
            return 0  # nor has it touched the sources
        sources.clear(self.sources, worker)
        lost = column[CELL["accepted"]] - sum(column[cell] for name, cell in CELL.items() if name.startswith("closed."))
        column[CELL["active"]] = 0
        column[CELL["closed.lost"]] = min(max(column[CELL["closed.lost"]] + lost, _LEAST), _MOST)
        return int(lost)
