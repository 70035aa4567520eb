"""The counters of each service, in memory that all processes of netd share.

A service has one `Table` with a column of cells for each process. Only that process writes it, so that no addition
needs a lock and none is lost when a worker dies. The value of a counter is its sum over the columns. A header precedes
the columns, and the connections by source (`netd.shared.sources`) follow them.
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
"""The upper bounds of the classes in which connections are counted by their duration, in seconds. One more class, for
longer connections, follows."""

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
    *(f"durations.{bound:g}" for bound in (*DURATIONS, math.inf)),  # in this order, without a gap
    *(f"closed.{outcome}" for outcome in get_args(Outcome)),
    *(f"refused.{reason}" for reason in get_args(Refusal)),
    *(f"dropped.{reason}" for reason in get_args(Drop)),
)
_LEAST, _MOST = -(2**63), 2**63 - 1  # the range of a cell
_LINE = 8  # cells of eight octets in a cache line; no two processes write to the same line


@dataclass(frozen=True)
class Layout:
    """The counters of a service and their cells in a column: the common ones first, then those of its service type.

    So a common counter has the same cell in all tables. ValueError: two counters have the same name.
    """

    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.cells) < len(_COMMON) + len(self.own):
            raise ValueError(f"{', '.join(self.own)}: this names a counter twice")

    @cached_property
    def cells(self) -> dict[str, int]:
        """The cell of each counter, by name."""
        return {name: number for number, name in enumerate((*_COMMON, *self.own))}

    @cached_property
    def width(self) -> int:
        """The number of cells of a column, in whole cache lines."""
        return -(-len(self.cells) // _LINE) * _LINE

    @cached_property
    def digest(self) -> bytes:
        """A digest of the layout, for a table's header."""
        return blake2b(repr((_ROLES, MOST_WORKERS, *self.cells)).encode(), digest_size=_DIGEST).digest()


COMMON = Layout()
"""The layout of a service type without counters of its own."""

CELL = COMMON.cells
"""The cell of each common counter, by name: ``accepted``, ``closed.idle``."""


class Role(Enum):
    """A process other than a worker, and the number of its column."""

    SUPERVISOR = 0


SUPERVISOR = Role.SUPERVISOR

_ROLES = 8  # columns, before those of the workers; some are unused
_HEADER = _LINE  # cells
_DIGEST = 16  # octets of the header, at its start
_WORKERS = 2  # cell of the header: the number of workers
_TOTAL_RATE = 3  # cell of the header: when the bucket of `limits.total_rate` is full


@dataclass(slots=True)
class Counts:
    """The counters of one service since it was enabled, read at one moment."""

    accepted: int = 0
    """Connections accepted."""
    active: int = 0
    """Connections open now."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections closed, by `Outcome`."""
    refused: Counter[str] = field(default_factory=Counter)
    """Connections closed before any data was exchanged, by `Refusal`."""
    failed: int = 0
    """Conversations and datagrams that failed by a bug in the service."""
    loops: int = 0
    """Peers that sent back the answers they received, hundreds of times in a row."""
    checks: int = 0
    """Connections closed without an octet received or sent, such as a load balancer's health checks."""
    duration_us: int = 0
    """The total duration of closed connections, in microseconds."""
    durations: Counter[str] = field(default_factory=Counter)
    """Closed connections by duration. The key is the upper bound of the class, one of `DURATIONS` or ``inf``."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Octets received and sent, of closed connections and of datagrams."""
    datagrams_in: int = 0
    datagrams_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams dropped, or their answers not sent, by `Drop`."""
    own: Counter[str] = field(default_factory=Counter)
    """The counters of the service type, by name."""

    @property
    def answered(self) -> int:
        """Connections accepted and datagrams answered."""
        return self.accepted + self.datagrams_out

    def summary(self) -> dict[str, object]:
        """The counters that are not zero, for a log line."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items() if value}


class Table(SharedMemory):
    """The counters of one service. ``descriptor`` refers to a table of another process; without it, a new one is made.

    ValueError: the descriptor refers to something else, or to a table of another layout.
    """

    def __init__(self, descriptor: int | None = None, layout: Layout = COMMON) -> None:
        self.layout = layout
        first = _HEADER + _ROLES * layout.width  # the first cell of the workers
        cells = first + MOST_WORKERS * layout.width
        super().__init__("netd-counters", cells * 8 + MOST_WORKERS * sources.BLOCK * 4, descriptor)
        numbers = self.octets[: cells * 8].cast("q")
        self._header = numbers[:_HEADER]
        self._of_roles = numbers[_HEADER:first]
        self._of_workers = numbers[first:]
        self.total_rate = self._header[_TOTAL_RATE : _TOTAL_RATE + 1]
        """The bucket of `limits.total_rate` (`netd.shared.rates`), one cell that all workers write."""
        self.sources = self.octets[cells * 8 :].cast("i")
        """The cells of the connections by source (`netd.shared.sources`)."""
        if descriptor is None:
            self._sign()
        elif self.octets[:_DIGEST] != layout.digest:
            raise ValueError("the counters have another layout")

    def _sign(self) -> None:
        self.octets[:_DIGEST] = self.layout.digest

    def column(self, process: int | Role) -> memoryview:
        """The cells that a process writes: a worker by its number (0 to `MOST_WORKERS` - 1), others by their role."""
        columns, number = (self._of_roles, process.value) if isinstance(process, Role) else (self._of_workers, process)
        return columns[number * self.layout.width : (number + 1) * self.layout.width]

    def all(self, cell: int) -> memoryview:
        """One cell of each worker."""
        return self._of_workers[cell :: self.layout.width]

    def read(self) -> "Counts":
        """The sums of all counters over all processes."""
        counts = Counts()
        # Any worker can write here, also a faulty one.
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
        """The number of workers' columns that have been used."""
        return self._header[_WORKERS]

    @workers.setter
    def workers(self, number: int) -> None:
        self._header[_WORKERS] = max(number, self._header[_WORKERS])

    def reap_counters(self, worker: int) -> int:
        """Count the open connections of a worker that has exited as ``closed.lost``. Return their number.

        The worker may have died between two additions, so the number is that of its accepted connections minus its
        closed ones, not ``active``.
        """
        self._sign()  # the worker may have overwritten it, and the next one has to find it
        column = self.column(worker)
        if not any(column):
            return 0  # then its block of sources is zero too
        sources.clear(self.sources, worker)
        lost = column[CELL["accepted"]] - sum(column[cell] for name, cell in CELL.items() if name.startswith("closed."))
        column[CELL["active"]] = 0
        column[CELL["closed.lost"]] = min(max(column[CELL["closed.lost"]] + lost, _LEAST), _MOST)
        return int(lost)
