"""The status in the formats of Prometheus: the response to `netd status` in, text out.

Labels are few: a service, a transport, a reason. No label is data from a peer, so the number of series is bounded. All
reasons have a series from the start, with 0, so that `rate()` counts the first event.

This module imports prometheus_client, which takes a while. Import it only where metrics are requested.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from netd.reasons import Drop, Outcome, Refusal
from netd.telemetry.forward_events import Why
from netd.telemetry.program_events import How

Answer = Mapping[str, Any]

_OPEN_METRICS, _TEXT = "application/openmetrics-text", "text/plain"
_RANGE = re.compile(
    r"\s*(?P<type>[^;]*?)\s*(?:;(?!\s*q=)[^;]*)*(?:;\s*q=(?P<weight>[01](?:\.[0-9]{0,3})?)\s*(?:;.*)?)?", re.I
)
_UNITS = ("seconds", "bytes")

_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]
_GAUGE, _COUNTER = GaugeMetricFamily, CounterMetricFamily  # prometheus_client appends _total to the name of a counter

_DAEMON: tuple[tuple[_Family, str, str, Callable[[Answer], float]], ...] = (
    (_GAUGE, "daemon_start_time_seconds", "When netd started, in Unix time.", lambda status: status["started"]),
    (_GAUGE, "daemon_healthy", "Whether every worker answers heartbeats.", lambda status: status["healthy"]),
    (_GAUGE, "daemon_ready", "Whether every enabled service is served.", lambda status: status["ready"]),
    (
        _GAUGE,
        "daemon_workers",
        "Worker processes that serve.",
        lambda status: sum(not worker["leaving"] for worker in status["workers"]),
    ),
    (_GAUGE, "config_generation", "How many configs have been applied.", lambda status: status["generation"]),
    (
        _GAUGE,
        "config_last_reload_successful",
        "Whether the last config that was loaded was applied.",
        lambda status: status["last_reload_successful"],
    ),
    (_GAUGE, "bans_active", "Sources that are banned now.", lambda status: status["banned_sources"]),
    (
        _COUNTER,
        "log_lines_lost",
        "Log lines that could not be written.",
        lambda status: status["counters"]["log_lines_lost"],
    ),
    (_COUNTER, "workers_lost", "Workers that exited unexpectedly.", lambda status: status["counters"]["workers_lost"]),
    (_COUNTER, "reloads_applied", "Configs applied by a reload.", lambda status: status["counters"]["reloads_applied"]),
    (
        _COUNTER,
        "reloads_rejected",
        "Configs rejected by a reload.",
        lambda status: status["counters"]["reloads_rejected"],
    ),
    (_COUNTER, "sources_banned", "Bans of sources.", lambda status: status["counters"]["sources_banned"]),
    (
        _COUNTER,
        "control_refused",
        "Connections to the control socket without permission.",
        lambda status: status["counters"]["control_refused"],
    ),
)
"""Metrics of the daemon: type, name, help, and the value in the status."""

_SERVICE: tuple[tuple[_Family, str, str], ...] = (
    (_GAUGE, "connections_active", "Connections open now."),
    (_COUNTER, "connections_accepted", "Connections accepted."),
    (_COUNTER, "connections_checks", "Connections closed without an octet received or sent."),
    (
        _COUNTER,
        "connections_requests",
        "Requests on connections: what arrived at once, or a closed connection on which nothing arrived.",
    ),
    (_COUNTER, "received_bytes", "Octets received, on connections and in datagrams."),
    (_COUNTER, "sent_bytes", "Octets sent, on connections and in datagrams."),
    (_COUNTER, "datagrams_received", "Datagrams received."),
    (_COUNTER, "datagrams_answered", "Datagrams answered."),
    (_COUNTER, "conversations_failed", "Conversations and datagrams that failed by a bug in the service."),
    (_COUNTER, "loops_detected", "Peers that kept sending back the answers they received."),
)
"""Metrics of each service: type, name, which is that of its counter (`netd.telemetry.counters`), and help."""

_PROGRAMS: tuple[tuple[_Family, str, str], ...] = (
    (_COUNTER, "programs_started", "Programs started."),
    (_COUNTER, "programs_not_started", "Programs that could not be started."),
    (_COUNTER, "programs_cpu_seconds", "Processor time of programs that have ended, and of their children."),
    (_COUNTER, "programs_error_lines", "Lines that programs have written to standard error, where netd reads it."),
)
"""Metrics of each service that starts programs. Those that run are its open connections, or so is each program that
accepts connections by itself."""

_REASONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("connections_closed", "Connections closed, by outcome.", get_args(Outcome)),
    ("connections_refused", "Connections refused, by reason.", get_args(Refusal)),
    ("datagrams_dropped", "Datagrams dropped, or their answers not sent, by reason.", get_args(Drop)),
)
"""Counters with a reason: name, help, and all reasons."""


def exposition(status: Answer, accept: str) -> tuple[bytes, str]:
    """A status in the format that an Accept header selects, Prometheus' text or OpenMetrics, and its media type."""
    # Only this choice: prometheus_client would copy parameters of the header into the media type it returns.
    weight = _weight(accept, _OPEN_METRICS)
    preferred = weight > 0 and weight >= _weight(accept, _TEXT)
    encode, media_type = choose_encoder(_OPEN_METRICS if preferred else "")
    return encode(_Status(status)), media_type


def _weight(accept: str, media_type: str) -> float:
    """The weight of a media type that an Accept header names (RFC 9110, 12.4.2 and 12.5.1); 0: it does not."""
    ranges = [match for part in accept.split(",") if (match := _RANGE.fullmatch(part)) is not None]
    return max((float(match["weight"] or 1) for match in ranges if match["type"].lower() == media_type), default=0.0)


class _Status(Collector):
    """The numbers of one status, as prometheus_client collects them."""

    def __init__(self, status: Answer) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status, services = self._status, self._status["services"]
        yield InfoMetricFamily("netd_build", "The version of netd.", value={"version": status["version"]})
        for family, name, explanation, value in _DAEMON:
            yield family(f"netd_{name}", explanation, value=float(value(status)), unit=_unit(name))
        yield _sockets(services)
        enabled = _GAUGE("netd_service_enabled", "Whether a service is switched on.", labels=("service",))
        for one in services:
            enabled.add_metric((one["service"],), float(one["enabled"]))
        yield enabled
        for family, name, explanation in _SERVICE:
            metric = family(f"netd_{name}", explanation, labels=("service",), unit=_unit(name))
            for one in services:
                metric.add_metric((one["service"],), one["counters"][name])
            yield metric
        for name, explanation, reasons in _REASONS:
            metric = _COUNTER(f"netd_{name}", explanation, labels=("service", "reason"))
            for one in services:
                numbers = one["counters"][name]
                for reason in reasons:
                    metric.add_metric((one["service"], reason), numbers.get(reason, 0))
            yield metric
        yield _durations("connections_duration_seconds", "Duration of closed connections.", services)
        if programs := [one for one in services if "programs_started" in one["counters"]]:
            yield from _of_programs(programs)
        if forwards := [one for one in services if "forward_connects" in one["counters"]]:
            yield from _of_forwards(forwards)


def _unit(name: str) -> str:
    """The unit at the end of a name, which OpenMetrics repeats in a UNIT line."""
    last = name.rpartition("_")[2]
    return last if last in _UNITS else ""


def _sockets(services: list[Answer]) -> Metric:
    metric = _GAUGE("netd_service_sockets", "Sockets on which a service listens.", labels=("service", "transport"))
    for one in services:
        transports = Counter(url.partition(":")[0] for url in one["endpoints"] if one["enabled"])
        for transport, number in sorted(transports.items()):
            metric.add_metric((one["service"], transport), number)
    return metric


def _of_programs(services: list[Answer]) -> Iterator[Metric]:
    for family, name, explanation in _PROGRAMS:
        metric = family(f"netd_{name}", explanation, labels=("service",), unit=_unit(name))
        for one in services:
            metric.add_metric((one["service"],), one["counters"][name])
        yield metric
    ended = _COUNTER("netd_programs_ended", "Programs that have ended, by how.", labels=("service", "how"))
    failing = _GAUGE("netd_programs_failing", "Whether the last program of a service failed.", labels=("service",))
    for one in services:
        for how in get_args(How):
            ended.add_metric((one["service"], how), one["counters"]["programs_ended"].get(how, 0))
        failing.add_metric((one["service"],), float(bool(one["failing"])))
    yield ended
    yield failing
    yield _durations("programs_duration_seconds", "Run time of programs that have ended.", services)


def _of_forwards(services: list[Answer]) -> Iterator[Metric]:
    connects = _COUNTER("netd_forward_connects", "Connections to targets that were begun.", labels=("service",))
    failures = _COUNTER("netd_forward_failures", "Those that failed, by reason.", labels=("service", "reason"))
    for one in services:
        connects.add_metric((one["service"],), one["counters"]["forward_connects"])
        for why in get_args(Why):
            failures.add_metric((one["service"], why), one["counters"]["forward_failures"].get(why, 0))
    yield connects
    yield failures


def _durations(name: str, explanation: str, services: list[Answer]) -> Metric:
    metric = HistogramMetricFamily(f"netd_{name}", explanation, labels=("service",), unit=_unit(name))
    for one in services:
        durations = one["counters"][name]
        metric.add_metric((one["service"],), list(durations["buckets"].items()), sum_value=durations["sum"])
    return metric
