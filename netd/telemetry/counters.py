"""The numbers kept for each service, in memory that all processes of netd share.

A service has one `Table`: a column of cells for each worker, which alone writes it, so that no addition needs a lock
and none is lost when a worker dies. Whoever wants to know adds the columns up.
"""

import mmap
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from netd.admission import sources

Outcome = Literal["done", "reset", "idle", "lifetime", "peer_error", "failed", "kicked", "stopped", "lost"]
"""How a connection ended: the service closed it, the peer broke it off, a limit ended it, the peer broke the rules,
the service has a bug, the operator ended it, netd or the service stops, the worker died."""
Refusal = Literal["connections", "per_source", "no_resources"]
"""Why a connection was closed before a word: too many of the service, or of one source; or the system has no means."""
Drop = Literal["too_long", "no_address", "no_room", "unsendable", "receive_failed"]
"""Why a datagram was not taken, or its answer not sent."""

MOST_WORKERS = 64

_CELLS = (
    "accepted",
    "active",
    "failed",
    "bytes_in",
    "bytes_out",
    "datagrams_in",
    "datagrams_out",
    *(f"closed.{outcome}" for outcome in get_args(Outcome)),
    *(f"refused.{reason}" for reason in get_args(Refusal)),
    *(f"dropped.{reason}" for reason in get_args(Drop)),
)
_COLUMN = 64  # cells of eight octets: room for some more kinds, and no two workers in one line of the processor's cache
_WORKERS = _COLUMN - 1  # of the first column: how many there are
assert len(_CELLS) < _COLUMN

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
    bytes_in: int = 0
    bytes_out: int = 0
    """Octets received and sent, of ended connections and of datagrams."""
    datagrams_in: int = 0
    datagrams_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams not taken, or answers not sent, by `Drop`."""

    def summary(self) -> dict[str, object]:
        """What is not zero, for a log line."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items() if value}


class Table:
    """The counters of one service. ``descriptor`` is that of a table made by another process; else one is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        numbers = MOST_WORKERS * _COLUMN * 8
        size = numbers + MOST_WORKERS * sources.BLOCK * 4  # pages nobody has written take no memory
        if descriptor is None:
            descriptor = os.memfd_create("netd-counters", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        """What another process needs to see the same numbers; kept open until `close_descriptor`."""
        memory = memoryview(mmap.mmap(descriptor, size))
        self.cells = memory[:numbers].cast("q")
        self.sources = memory[numbers:].cast("i")
        """How many connections each source has (`netd.admission.sources`)."""

    def column(self, worker: int) -> memoryview:
        """The cells that this worker writes (0 to `MOST_WORKERS` - 1)."""
        return self.cells[worker * _COLUMN : (worker + 1) * _COLUMN]

    def all(self, cell: int) -> memoryview:
        """One number of all workers."""
        return self.cells[cell::_COLUMN]

    def read(self) -> "Counts":
        """All numbers, over all workers."""
        counts = Counts()
        for name, cell in CELL.items():
            if number := sum(self.all(cell)):
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
        if not any(column):
            return 0  # nor has it touched the sources
        sources.forget(self.sources, worker)
        lost = column[CELL["accepted"]] - sum(column[cell] for name, cell in CELL.items() if name.startswith("closed."))
        column[CELL["active"]] = 0
        column[CELL["closed.lost"]] += lost
        return int(lost)

    def close_descriptor(self) -> None:
        """No other process will be told of this table; the numbers stay."""
        os.close(self.descriptor)
