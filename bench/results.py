"""The results of a run, and their statistics. Values only: no process, no file."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from bench.workloads import Workload

LIMIT = "C"
"""The peer with which the others are compared."""

FULL = 0.9
"""Share of its core above which the server, and not the load, counts as the bottleneck."""


@dataclass(frozen=True)
class Figure:
    """One measurement: one server, one workload, one round."""

    seconds: float
    answers: int
    bytes: int
    lost: int
    p50: float
    p90: float
    p99: float
    p999: float
    """Percentiles of the time of an answer, in microseconds."""
    most: float
    processor: float
    """Seconds of processor time that the server used."""
    memory: int
    """Growth of the server's memory, in octets."""

    @property
    def load(self) -> float:
        """The share of a core that the server used."""
        return self.processor / self.seconds


@dataclass
class Cell:
    """One server in one workload: a figure per round (None where it failed), and the reason of a failure."""

    rounds: list[Figure | None] = field(default_factory=list)
    failure: str | None = None

    @property
    def figures(self) -> list[Figure]:
        return [figure for figure in self.rounds if figure]


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Results:
    """A whole run."""

    when: str
    quick: bool
    rounds: int
    seconds: float
    machine: dict[str, str]
    missing: dict[str, str]
    """Peers that could not be started, with the program or package that is missing."""
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    """By workload and peer, in the order in which they were measured."""
    footprint: dict[str, list[float]] = field(default_factory=dict)
    """Start, commands and memory of netd; see footprint.py."""


def counts(workload: Workload) -> Callable[[Figure], float]:
    """The value that a workload measures, as a function of a figure."""
    if workload.measure == "bytes":
        return lambda figure: figure.bytes / figure.seconds
    if workload.measure == "delay":
        return lambda figure: figure.p99
    if workload.measure == "idle":
        return lambda figure: figure.memory / workload.connections
    if workload.measure == "cost":
        return lambda figure: figure.answers / max(figure.processor, 1e-6)
    return lambda figure: figure.answers / figure.seconds


def spread(cell: Cell, of: Callable[[Figure], float]) -> Spread | None:
    """The spread of a value over the rounds; None where every round failed."""
    values = [of(figure) for figure in cell.figures]
    return Spread.of(values) if values else None


def ratio(cell: Cell, other: Cell, of: Callable[[Figure], float]) -> Spread | None:
    """The ratio to the value of another server, taken round by round: a machine is not equally fast in every round."""
    ratios = [mine / theirs for mine, theirs in _pairs(cell, other, of) if theirs > 0]
    return Spread.of(ratios) if ratios else None


def difference(cell: Cell, other: Cell, of: Callable[[Figure], float]) -> Spread | None:
    """The difference to the value of another server, taken round by round."""
    differences = [mine - theirs for mine, theirs in _pairs(cell, other, of)]
    return Spread.of(differences) if differences else None


def _pairs(cell: Cell, other: Cell, of: Callable[[Figure], float]) -> list[tuple[float, float]]:
    return [(of(mine), of(theirs)) for mine, theirs in zip(cell.rounds, other.rounds, strict=False) if mine and theirs]


def unsaturated(workload: Workload, cell: Cell) -> bool:
    """Whether the server had idle time although requests were always waiting, so that its rate is a lower bound."""
    load = spread(cell, attrgetter("load"))
    return workload.saturates and load is not None and load.median < FULL
