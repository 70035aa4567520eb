"""What netd is held to, and whether a run reached it. Values only."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from bench import footprint
from bench.results import LIMIT, Figure, Results, Spread, counts, difference, ratio, spread
from bench.workloads import WORKLOADS

Measured = Callable[[Results], Spread | None]
"""None where the run did not measure it."""

_BY_NAME = {workload.name: workload for workload in WORKLOADS}


@dataclass(frozen=True)
class Target:
    """One thing to reach."""

    title: str
    measured: Measured
    sense: Literal["at least", "at most"]
    bound: float
    unit: str = "x"

    def verdict(self, results: Results) -> str:
        """Whether the median of this run is within the bound."""
        measured = self.measured(results)
        if measured is None:
            return "not measured"
        reached = measured.median >= self.bound if self.sense == "at least" else measured.median <= self.bound
        return "reached" if reached else "not reached"


def against(workload: str, other: str, of: Callable[[Figure], float] | None = None) -> Measured:
    """What counts in a workload, or something else of it, beside that of another server."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        if "netd" not in cells or other not in cells:
            return None
        return ratio(cells["netd"], cells[other], of or counts(_BY_NAME[workload]))

    return measured


def behind(workload: str, other: str, of: Callable[[Figure], float]) -> Measured:
    """By how much something of a workload is more than with another server."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        return difference(cells["netd"], cells[other], of) if "netd" in cells and other in cells else None

    return measured


def own(workload: str, of: Callable[[Figure], float] | None = None) -> Measured:
    """What counts in a workload, or something else of it."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        return spread(cells["netd"], of or counts(_BY_NAME[workload])) if "netd" in cells else None

    return measured


def kept(key: str, unit: float = 1) -> Measured:
    """Something of the footprint."""

    def measured(results: Results) -> Spread | None:
        values = results.footprint.get(key)
        return Spread.of([one / unit for one in values]) if values else None

    return measured


def slowest_command(results: Results) -> Spread | None:
    """The command that takes longest."""
    spreads = [Spread.of(values) for key, values in results.footprint.items() if key.startswith("netd ")]
    return max(spreads, key=lambda one: one.median, default=None)


TARGETS = (
    Target("TCP 64 B, 64 connections, against C", against("tcp-64", LIMIT), "at least", 0.85),
    Target("TCP 64 B, 64 connections, against uvloop", against("tcp-64", "uvloop"), "at least", 1.0),
    Target("TCP 64 B, 64 connections, against xinetd", against("tcp-64", "xinetd"), "at least", 1.6),
    Target("TCP 64 B, 1,000 connections, against C", against("tcp-1000", LIMIT), "at least", 0.85),
    Target("TCP 64 B, 1,000 connections, against uvloop", against("tcp-1000", "uvloop"), "at least", 1.0),
    Target("connect, echo, close, against C", against("connect", LIMIT), "at least", 0.85),
    Target("connect, echo, close, against xinetd", against("connect", "xinetd"), "at least", 10.0),
    Target("bulk echo, against C", against("bulk", LIMIT), "at least", 1.1),
    Target("bulk echo, against uvloop", against("bulk", "uvloop"), "at least", 1.0),
    Target("UDP 64 B, 128 in flight, against C", against("udp-128", LIMIT), "at least", 0.95),
    Target("UDP 64 B, 128 in flight, against uvloop", against("udp-128", "uvloop"), "at least", 1.3),
    Target("UDP 64 B, 128 in flight, against stock", against("udp-128", "stock"), "at least", 15.0),
    Target("one connection, p50 more than C", behind("tcp-1", LIMIT, attrgetter("p50")), "at most", 5.0, "us"),
    Target("one connection, p99 more than C", behind("tcp-1", LIMIT, attrgetter("p99")), "at most", 20.0, "us"),
    Target("pingpong lines, against netd's own echo", against("pingpong", "netd echo"), "at least", 0.6),
    Target("pingpong lines, against asyncio", against("pingpong", "asyncio"), "at least", 1.0),
    Target("time lines, against netd's own echo", against("time", "netd echo"), "at least", 0.6),
    Target("time lines, against asyncio", against("time", "asyncio"), "at least", 1.0),
    Target("10,000 idle connections, each", own("idle"), "at most", 1024, "octets"),
    Target("10,000 idle connections, until answered", own("idle", attrgetter("seconds")), "at most", 1.0, "s"),
    Target("10,000 idle connections, memory against asyncio", against("idle", "asyncio"), "at most", 0.4),
    Target("`netd run` until it answers", kept(footprint.START), "at most", 0.5, "s"),
    Target("the slowest command that talks to a running netd", slowest_command, "at most", 0.2, "s"),
    Target("memory of supervisor and worker (PSS)", kept(footprint.MEMORY, 2**20), "at most", 48, "MiB"),
)
