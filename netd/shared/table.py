"""The counters of each service, in memory that all processes of netd share.

A service has one `Table` with a column of cells for each worker. Only that worker writes it, so that no addition
needs a lock and none is lost when a worker dies. The value of a counter is its sum over the columns. A header precedes
the columns, and the connections by source (`netd.shared.sources`) follow them. The supervisor's column is in its own
memory.

An attacker in control of a worker can write all of the shared memory. The supervisor believes no number in it, and
removes what is impossible when the worker has ended (`Table.settle`).
"""

import math
import mmap
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from typing import get_args

from netd.reasons import Drop, HandshakeFailure, Outcome, Refusal
from netd.shared import sources, targets
from netd.shared.memory import MOST_COUNTED, MOST_WORKERS, SharedMemory

DURATIONS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)
"""The upper bounds of the classes in which connections are counted by their duration, in seconds. One more class, for
longer connections, follows."""

_COMMON = (
    "accepted",
    "active",
    "threads",
    "hanging",
    "failed",
    "loops",
    "checks",
    "requests",
    "bytes_in",
    "bytes_out",
    "datagrams_in",
    "datagrams_out",
    "duration_us",
    *(f"durations.{bound:g}" for bound in (*DURATIONS, math.inf)),  # in this order, without a gap
    *(f"closed.{outcome}" for outcome in get_args(Outcome)),
    *(f"refused.{reason}" for reason in get_args(Refusal)),
    *(f"dropped.{reason}" for reason in get_args(Drop)),
    "handshakes",
    "handshakes_resumed",
    *(f"handshakes_failed.{reason}" for reason in get_args(HandshakeFailure)),
)
_LINE = 8  # cells of eight octets in a cache line; no two processes write to the same line


@dataclass(frozen=True)
class Layout:
    """The counters of a service and their cells in a column: the common ones first, then those of its service type.

    So a common counter has the same cell in all tables. A name that begins with ``_`` is that of a number of each
    process, which is no sum. ValueError: two counters have the same name.
    """

    own: tuple[str, ...] = ()
    targets: bool = False
    """Whether the state of targets follows (`netd.shared.targets`)."""

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
        return blake2b(repr((MOST_WORKERS, self.targets, *self.cells)).encode(), digest_size=_DIGEST).digest()


COMMON = Layout()
"""The layout of a service type without counters of its own."""

CELL = COMMON.cells
"""The cell of each common counter, by name: ``accepted``, ``closed.idle``."""


class Role(Enum):
    """A process other than a worker, and the number of its column, which is in its own memory."""

    SUPERVISOR = 0


SUPERVISOR = Role.SUPERVISOR

_HEADER = _LINE  # cells
_SOURCES_BLOCK = sources.BLOCK * 4  # octets
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
    threads: int = 0
    """Threads of handlers that run now."""
    hanging: int = 0
    """Handlers that hang now."""
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
    requests: int = 0
    """Requests on connections: what one recv(2) returned, or a closed connection on which nothing was received."""
    duration_us: int = 0
    """The total duration of closed connections, in microseconds."""
    durations: Counter[str] = field(default_factory=Counter)
    """Closed connections by duration. The key is the upper bound of the class, one of `DURATIONS` or ``inf``."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Octets received and sent, on connections and in datagrams."""
    datagrams_in: int = 0
    datagrams_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams dropped, or their answers not sent, by `Drop`."""
    handshakes: int = 0
    """TLS handshakes that were completed."""
    handshakes_resumed: int = 0
    """Those of them that resumed an earlier session."""
    handshakes_failed: Counter[str] = field(default_factory=Counter)
    """TLS handshakes that failed, by `HandshakeFailure`."""
    own: Counter[str] = field(default_factory=Counter)
    """The counters of the service type, by name."""

    @property
    def all_requests(self) -> int:
        """Requests on connections, and datagrams that were passed to the service."""
        return self.requests + self.datagrams_in

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
        cells = _HEADER + MOST_WORKERS * layout.width
        # Whole pages, which `clear` releases.
        self._sources_start = -(-cells * 8 // mmap.PAGESIZE) * mmap.PAGESIZE
        self._targets_start = self._sources_start + MOST_WORKERS * _SOURCES_BLOCK
        size = self._targets_start + layout.targets * targets.CELLS * 8
        super().__init__("netd-counters", size, descriptor)
        numbers = self.octets[: cells * 8].cast("q")
        self._header = numbers[:_HEADER]
        self._of_workers = numbers[_HEADER:]
        self._of_roles = memoryview(bytearray(len(Role) * layout.width * 8)).cast("q")
        self._known_workers = 0
        self.total_rate = self._header[_TOTAL_RATE : _TOTAL_RATE + 1]
        """The bucket of `limits.total_rate` (`netd.shared.rates`), one cell that all workers write."""
        self.sources = self.octets[self._sources_start : self._targets_start].cast("i")
        """The cells of the connections by source (`netd.shared.sources`)."""
        self.targets: targets.TargetCells | None = None
        """The state of the targets of a service that forwards."""
        if layout.targets:
            workers = self._header[_WORKERS : _WORKERS + 1]
            self.targets = targets.TargetCells(self.octets[self._targets_start :].cast("q"), workers)
        if descriptor is None:
            self._sign()
        elif self.octets[:_DIGEST] != layout.digest:
            raise ValueError("the counters have another layout")

    def _sign(self) -> None:
        self.octets[:_DIGEST] = self.layout.digest
        self._header[_WORKERS] = self._known_workers

    def column(self, process: int | Role) -> memoryview:
        """The cells that a process writes: a worker by its number (0 to `MOST_WORKERS` - 1), others by their role."""
        columns, number = (self._of_roles, process.value) if isinstance(process, Role) else (self._of_workers, process)
        return columns[number * self.layout.width : (number + 1) * self.layout.width]

    def all(self, cell: int) -> memoryview:
        """One cell of each worker."""
        return self._of_workers[cell :: self.layout.width]

    def read(self) -> "Counts":
        """The sums of all counters over the workers that this process knows of, and its own roles."""
        counts = Counts()
        columns = [self.column(process) for process in (*Role, *range(self._known_workers))]
        for name, total in zip(self.layout.cells, map(sum, zip(*columns, strict=True)), strict=False):
            if total and name[0] != "_":
                number = min(max(total, 0), MOST_COUNTED)
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
        """The number of workers' columns that have been used, as the header says. Any worker can write any number."""
        return self._header[_WORKERS]

    @workers.setter
    def workers(self, number: int) -> None:
        self._known_workers = max(number, self._known_workers)
        self._header[_WORKERS] = max(self._known_workers, self._header[_WORKERS])

    def settle(self, running: Container[int]) -> int:
        """Count the open connections of workers that have ended as ``closed.lost``. Return their number.

        Only these numbers belong to ``running`` workers. A number that no counter can reach is discarded in all
        columns, and the bucket of the total rate is full afterwards.
        """
        self._sign()
        self.total_rate[0] = 0
        lost = 0
        for worker in range(self._known_workers):
            column = self.column(worker)
            _discard_impossible(column)
            if worker not in running:
                lost += _close_connections(column)
                self._clear_sources(worker, worker + 1)
        unused = (_HEADER + self._known_workers * self.layout.width) * 8
        self.clear(unused, self._sources_start)
        self._clear_sources(self._known_workers, MOST_WORKERS)
        if self.targets:
            self.targets.settle(running, self._known_workers)
            unused = targets.first_unused(self._known_workers) * 8
            self.clear(self._targets_start + unused, len(self.octets))
        return lost

    def _clear_sources(self, worker: int, end: int) -> None:
        self.clear(self._sources_start + worker * _SOURCES_BLOCK, self._sources_start + end * _SOURCES_BLOCK)


def _discard_impossible(column: memoryview) -> None:
    if min(column) < 0 or max(column) > MOST_COUNTED:
        for cell, number in enumerate(column):
            if not 0 <= number <= MOST_COUNTED:
                column[cell] = 0


def _close_connections(column: memoryview) -> int:
    """Count the open connections in a column as ``closed.lost``. Return their number.

    The worker may have ended between two additions, so the number is that of its accepted connections minus its closed
    ones, not ``active``.
    """
    closed = sum(column[cell] for name, cell in CELL.items() if name.startswith("closed."))
    lost = max(0, column[CELL["accepted"]] - closed)
    column[CELL["active"]] = column[CELL["threads"]] = column[CELL["hanging"]] = 0
    column[CELL["closed.lost"]] = min(column[CELL["closed.lost"]] + lost, MOST_COUNTED)
    return int(lost)
