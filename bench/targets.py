"""The targets of netd's performance, and whether a run reached them. Values only."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from bench import footprint
from bench.results import LIMIT, Figure, Results, Spread, counts, difference, ratio, spread
from bench.workloads import WORKLOADS

Measured = Callable[[Results], Spread | None]
"""From the results of a run to a value; None where the run did not measure it."""

_BY_NAME = {workload.name: workload for workload in WORKLOADS}


@dataclass(frozen=True)
class Target:
    """A bound for one value."""

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


def netd_ratio(workload: str, other: str, of: Callable[[Figure], float] | None = None) -> Measured:
    """The value of netd in a workload divided by that of another server; by default the value that `counts` selects."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        if "netd" not in cells or other not in cells:
            return None
        return ratio(cells["netd"], cells[other], of or counts(_BY_NAME[workload]))

    return measured


def netd_excess(workload: str, other: str, of: Callable[[Figure], float], peer: str = "netd") -> Measured:
    """The value of netd, or of a variant of it, in a workload minus that of another server."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        return difference(cells[peer], cells[other], of) if peer in cells and other in cells else None

    return measured


def netd_value(workload: str, of: Callable[[Figure], float] | None = None) -> Measured:
    """The value of netd in a workload; by default the one that `counts` selects."""

    def measured(results: Results) -> Spread | None:
        cells = results.cells.get(workload, {})
        return spread(cells["netd"], of or counts(_BY_NAME[workload])) if "netd" in cells else None

    return measured


def thrift(figure: Figure) -> float:
    """What a server does for a second of its processor time: answers, or octets."""
    return (figure.answers or figure.bytes) / max(figure.processor, 1e-6)


def footprint_value(key: str, unit: float = 1) -> Measured:
    """A value of the footprint, in multiples of ``unit``."""

    def measured(results: Results) -> Spread | None:
        values = results.footprint.get(key)
        return Spread.of([one / unit for one in values]) if values else None

    return measured


def slowest_command(results: Results) -> Spread | None:
    """The time of the slowest command."""
    spreads = [Spread.of(values) for key, values in results.footprint.items() if key.startswith("netd ")]
    return max(spreads, key=lambda one: one.median, default=None)


TARGETS = (
    Target("TCP 64 B, 64 connections, against C", netd_ratio("tcp-64", LIMIT), "at least", 0.85),
    Target("TCP 64 B, 64 connections, against uvloop", netd_ratio("tcp-64", "uvloop"), "at least", 1.0),
    Target("TCP 64 B, 64 connections, against xinetd", netd_ratio("tcp-64", "xinetd"), "at least", 1.6),
    Target("TCP 64 B, 1,000 connections, against C", netd_ratio("tcp-1000", LIMIT), "at least", 0.85),
    Target("TCP 64 B, 1,000 connections, against uvloop", netd_ratio("tcp-1000", "uvloop"), "at least", 1.0),
    Target("connect, echo, close, against C", netd_ratio("connect", LIMIT), "at least", 0.85),
    Target("connect, echo, close, against xinetd", netd_ratio("connect", "xinetd"), "at least", 10.0),
    Target("bulk echo, against C", netd_ratio("bulk", LIMIT), "at least", 1.1),
    Target("bulk echo, against uvloop", netd_ratio("bulk", "uvloop"), "at least", 1.0),
    Target("UDP 64 B, 128 in flight, against C", netd_ratio("udp-128", LIMIT), "at least", 0.95),
    Target("UDP 64 B, 128 in flight, against uvloop", netd_ratio("udp-128", "uvloop"), "at least", 1.3),
    Target("UDP 64 B, 128 in flight, against stock", netd_ratio("udp-128", "stock"), "at least", 15.0),
    Target("one connection, p50 more than C", netd_excess("tcp-1", LIMIT, attrgetter("p50")), "at most", 5.0, "us"),
    Target("one connection, p99 more than C", netd_excess("tcp-1", LIMIT, attrgetter("p99")), "at most", 20.0, "us"),
    Target("pingpong lines, against netd's own echo", netd_ratio("pingpong", "netd echo"), "at least", 0.6),
    Target("pingpong lines, against asyncio", netd_ratio("pingpong", "asyncio"), "at least", 1.0),
    Target("time lines, against netd's own echo", netd_ratio("time", "netd echo"), "at least", 0.6),
    Target("time lines, against asyncio", netd_ratio("time", "asyncio"), "at least", 1.0),
    # One connection waits for the wake-ups of both sides, which differ by more than two servers do.
    Target(
        "lines to a StreamRequestHandler, 1 connection, for its processor time, against stock",
        netd_ratio("handler-1", "stock", thrift),
        "at least",
        1.0,
    ),
    *(
        Target(
            f"lines to a StreamRequestHandler, {number:,} connections, against stock",
            netd_ratio(f"handler-{number}", "stock"),
            "at least",
            1.0,
        )
        for number in (64, 1000)
    ),
    Target(
        "1,000 idle connections of handlers, memory against stock", netd_ratio("handler-idle", "stock"), "at most", 1.0
    ),
    Target("programs, against xinetd", netd_ratio("programs", "xinetd"), "at least", 1.1),
    Target("programs, against tcpserver", netd_ratio("programs", "tcpserver"), "at least", 1.0),
    Target("programs, against systemd", netd_ratio("programs", "systemd"), "at least", 2.0),
    Target("echo beside 200 programs a second, p99", netd_value("beside"), "at most", 1000, "us"),
    Target("memory that a launcher adds (PSS)", footprint_value(footprint.LAUNCHER, 2**20), "at most", 6, "MiB"),
    Target("descriptors for a running program", footprint_value(footprint.DESCRIPTORS), "at most", 2, "descriptors"),
    Target(
        "forwarding 64 B, for its processor time, against HAProxy",
        netd_ratio("forward-64", "HAProxy", thrift),
        "at least",
        0.9,
    ),
    Target(
        "forwarding 64 B, for its processor time, against socat",
        netd_ratio("forward-64", "socat", thrift),
        "at least",
        2.5,
    ),
    Target(
        "forwarding connections, the same, against HAProxy",
        netd_ratio("forward-connect", "HAProxy", thrift),
        "at least",
        0.6,
    ),
    Target(
        "forwarding connections, the same, against socat",
        netd_ratio("forward-connect", "socat", thrift),
        "at least",
        5.0,
    ),
    Target(
        "forwarding connections, the same, against xinetd",
        netd_ratio("forward-connect", "xinetd", thrift),
        "at least",
        5.0,
    ),
    Target(
        "forwarding bulk, the same, against HAProxy", netd_ratio("forward-bulk", "HAProxy", thrift), "at least", 1.3
    ),
    Target(
        "forwarding datagrams, the same, against socat", netd_ratio("udp-forward", "socat", thrift), "at least", 2.0
    ),
    Target(
        "forwarding datagrams, the same, against nginx", netd_ratio("udp-forward", "nginx", thrift), "at least", 0.8
    ),
    Target("4,000 idle forwarded connections, each", netd_value("forward-idle"), "at most", 1536, "octets"),
    Target("TLS handshakes, against HAProxy", netd_ratio("tls-connect", "HAProxy"), "at least", 0.7),
    Target("TLS handshakes, against stunnel", netd_ratio("tls-connect", "stunnel"), "at least", 1.2),
    Target("resumed TLS handshakes, against HAProxy", netd_ratio("tls-resume", "HAProxy"), "at least", 0.7),
    Target("resumed TLS handshakes, against stunnel", netd_ratio("tls-resume", "stunnel"), "at least", 1.2),
    Target("TLS bulk, against nginx", netd_ratio("tls-bulk", "nginx"), "at least", 0.85),
    Target(
        "1,000 idle connections over TLS, each, more than Python's ssl",
        netd_excess("tls-idle", "ssl", counts(_BY_NAME["tls-idle"]), "netd echo"),
        "at most",
        1024,
        "octets",
    ),
    Target("10,000 idle connections, each", netd_value("idle"), "at most", 1024, "octets"),
    Target("10,000 idle connections, until answered", netd_value("idle", attrgetter("seconds")), "at most", 1.0, "s"),
    Target("10,000 idle connections, memory against asyncio", netd_ratio("idle", "asyncio"), "at most", 0.4),
    Target("`netd run` until it answers", footprint_value(footprint.START), "at most", 0.5, "s"),
    Target("the slowest command that talks to a running netd", slowest_command, "at most", 0.2, "s"),
    Target("memory of supervisor and worker (PSS)", footprint_value(footprint.MEMORY, 2**20), "at most", 48, "MiB"),
)
