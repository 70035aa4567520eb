"""The status in the formats of Prometheus: the response to `netd status` in, text out.

Labels are few: a service, a transport, a reason, a target. No label is data from a peer, so the number of series is
bounded. All reasons have a series from the start, with 0, so that `rate()` counts the first event.

This module imports prometheus_client, which takes a while. Import it only where metrics are requested.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from netd.reasons import Drop, HandshakeFailure, Outcome, Refusal
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
    (
        _GAUGE,
        "daemon_healthy",
        "Whether every worker, but those of isolate, answers heartbeats.",
        lambda status: status["healthy"],
    ),
    (_GAUGE, "daemon_ready", "Whether every enabled service is served.", lambda status: status["ready"]),
    (
        _GAUGE,
        "daemon_workers",
        "Worker processes that accept connections; those that only finish theirs are not counted.",
        lambda status: sum(not worker["leaving"] for worker in status["workers"]),
    ),
    (
        _GAUGE,
        "config_generation",
        "How many configs have been in force, that of the start included.",
        lambda status: status["generation"],
    ),
    (
        _GAUGE,
        "config_last_reload_successful",
        "Whether the config that was read last, at the start or by a reload, is in force.",
        lambda status: status["last_reload_successful"],
    ),
    (_GAUGE, "bans_active", "Sources that all services refuse now.", lambda status: status["banned_sources"]),
    (
        _COUNTER,
        "log_lines_lost",
        "Log lines that could not be written, since a pipe or disk was full, or a logger gone.",
        lambda status: status["counters"]["log_lines_lost"],
    ),
    (
        _COUNTER,
        "workers_lost",
        "Workers that exited unexpectedly, or were killed since they did not respond.",
        lambda status: status["counters"]["workers_lost"],
    ),
    (
        _COUNTER,
        "reloads_applied",
        "Configs that a reload has put in force.",
        lambda status: status["counters"]["reloads_applied"],
    ),
    (
        _COUNTER,
        "reloads_rejected",
        "Configs that a reload has rejected, so that the one before stayed in force.",
        lambda status: status["counters"]["reloads_rejected"],
    ),
    (
        _COUNTER,
        "sources_banned",
        "Bans of sources, by a rule or by command.",
        lambda status: status["counters"]["sources_banned"],
    ),
    (
        _COUNTER,
        "control_refused",
        "Connections to the control socket of users without the right to control netd.",
        lambda status: status["counters"]["control_refused"],
    ),
)
"""Metrics of the daemon: type, name, help, and the value in the status."""

_SERVICE: tuple[tuple[_Family, str, str], ...] = (
    (_GAUGE, "connections_active", "Connections, sessions of datagrams and programs that listen, open now."),
    (_GAUGE, "threads_active", "Threads of handlers that run now, of all workers."),
    (
        _GAUGE,
        "handlers_hanging",
        "Handlers that neither read nor write for ten seconds, and do not wait for their client.",
    ),
    (
        _COUNTER,
        "connections_accepted",
        "Connections and sessions that were accepted, counted as they begin, also if they are refused later.",
    ),
    (_COUNTER, "connections_checks", "Connections that ended without an octet received or sent, counted at their end."),
    (
        _COUNTER,
        "connections_requests",
        "Requests on connections: what arrived at once is one, and so is, at its end, a connection without input.",
    ),
    (_COUNTER, "received_bytes", "Octets received, in datagrams and on connections, also on those that are open."),
    (_COUNTER, "sent_bytes", "Octets sent, in datagrams and on connections, also on those that are open."),
    (_COUNTER, "datagrams_received", "Datagrams that the service got; those that were dropped before are not counted."),
    (_COUNTER, "datagrams_answered", "Datagrams that were sent, as answers or without a question."),
    (_COUNTER, "conversations_failed", "Conversations and datagrams that failed by a bug in the service."),
    (_COUNTER, "loops_detected", "Peers that kept sending back the answers they received, counted once a loop."),
)
"""Metrics of each service: type, name, which is that of its counter (`netd.telemetry.counters`), and help."""

_PROGRAMS: tuple[tuple[_Family, str, str], ...] = (
    (_COUNTER, "programs_started", "Programs that were started."),
    (_COUNTER, "programs_not_started", "Programs that could not be started."),
    (
        _COUNTER,
        "programs_cpu_seconds",
        "Processor time of programs that have ended, and of their children that they have waited for.",
    ),
    (_COUNTER, "programs_error_lines", "Lines that programs have written to standard error, with `stderr: log`."),
)
"""Metrics of each service that starts programs. Those that run are its open connections, or so is each program that
accepts connections by itself."""

_TLS: tuple[tuple[_Family, str, str], ...] = (
    (_COUNTER, "tls_handshakes", "TLS handshakes that were completed."),
    (_COUNTER, "tls_handshakes_resumed", "TLS handshakes that were completed and resumed an earlier session."),
)
"""Metrics of each service with TLS."""

_FORWARDS: tuple[tuple[_Family, str, str], ...] = (
    (_COUNTER, "forward_connects", "Connections to targets that were begun, each attempt one."),
    (_COUNTER, "forward_tls_handshakes", "TLS handshakes with targets that were completed."),
    (
        _COUNTER,
        "forward_tls_handshakes_resumed",
        "TLS handshakes with targets that were completed and resumed an earlier session.",
    ),
)
"""Metrics of each service that forwards."""

_REASONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("connections_closed", "Connections and sessions that ended, by outcome, counted at their end.", get_args(Outcome)),
    ("connections_refused", "Connections that were refused, by reason.", get_args(Refusal)),
    ("datagrams_dropped", "Datagrams that were dropped, or the answers to them, by reason.", get_args(Drop)),
)
"""Counters with a reason: name, help, and all reasons."""

LABELS = {
    "file": "The file of a certificate, as in the config.",
    "how": "How a program has ended: `success` (exit code 0), `failure` (another one), `signal`, or `unknown` (the "
    "launcher that has started it was killed).",
    "le": "The upper bound of a bucket, in seconds; `+Inf` for all.",
    "reason": "The outcome or reason, as in the log (docs/logging.md); of a handshake as in docs/tls.md; of a target, "
    f"why it could not be reached: {', '.join(f'`{why}`' for why in get_args(Why))}.",
    "service": "The name of a service in the config.",
    "target": "The URL of a target, as in the config.",
    "transport": "`tcp`, `tls`, `udp`, `unix` or `unixgram`.",
    "version": "The version of netd.",
}
"""What each label means."""


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
        yield from _numbers(_SERVICE, services)
        for name, explanation, reasons in _REASONS:
            metric = _COUNTER(f"netd_{name}", explanation, labels=("service", "reason"))
            for one in services:
                numbers = one["counters"][name]
                for reason in reasons:
                    metric.add_metric((one["service"], reason), numbers.get(reason, 0))
            yield metric
        yield _durations(
            "connections_duration_seconds",
            "How long connections and sessions were open, counted at their end.",
            services,
        )
        if code := [one for one in services if one["type"] == "python"]:
            yield from _of_code(code)
        if with_tls := [one for one in services if any(url.startswith("tls:") for url in one["endpoints"])]:
            yield from _of_tls(with_tls)
        if programs := [one for one in services if "programs_started" in one["counters"]]:
            yield from _of_programs(programs)
        if forwards := [one for one in services if "forward_connects" in one["counters"]]:
            yield from _of_forwards(forwards)


def _unit(name: str) -> str:
    """The unit at the end of a name, which OpenMetrics repeats in a UNIT line."""
    last = name.rpartition("_")[2]
    return last if last in _UNITS else ""


def _sockets(services: list[Answer]) -> Metric:
    metric = _GAUGE("netd_service_sockets", "Sockets on which a service listens now.", labels=("service", "transport"))
    for one in services:
        transports = Counter(url.partition(":")[0] for url in one["endpoints"] if one["enabled"])
        for transport, number in sorted(transports.items()):
            metric.add_metric((one["service"], transport), number)
    return metric


def _of_code(services: list[Answer]) -> Iterator[Metric]:
    lost = _COUNTER(
        "netd_service_workers_lost",
        "Workers that were lost while code of a service ran; it may have been that of several services.",
        labels=("service",),
    )
    rests = _GAUGE(
        "netd_service_resting",
        "Whether a service is not served for a while, since its own worker was lost again and again.",
        labels=("service",),
    )
    for one in services:
        crashes = one.get("crashes", {"number": 0, "rests_until": None})
        lost.add_metric((one["service"],), crashes["number"])
        rests.add_metric((one["service"],), float(crashes["rests_until"] is not None))
    yield lost
    yield rests


def _numbers(metrics: Iterable[tuple[_Family, str, str]], services: list[Answer]) -> Iterator[Metric]:
    """Metrics of services that are one number each."""
    for family, name, explanation in metrics:
        metric = family(f"netd_{name}", explanation, labels=("service",), unit=_unit(name))
        for one in services:
            metric.add_metric((one["service"],), one["counters"][name])
        yield metric


def _of_tls(services: list[Answer]) -> Iterator[Metric]:
    yield from _numbers(_TLS, services)
    failed = _COUNTER(
        "netd_tls_handshakes_failed", "TLS handshakes that failed, by reason.", labels=("service", "reason")
    )
    for one in services:
        for reason in get_args(HandshakeFailure):
            failed.add_metric((one["service"], reason), one["counters"]["tls_handshakes_failed"].get(reason, 0))
    yield failed
    expiry = _GAUGE(
        "netd_tls_certificate_expiry_timestamp_seconds",
        "When a certificate expires, in Unix time.",
        labels=("service", "file"),
        unit="seconds",
    )
    for one in services:
        for certificate in one.get("certificates", ()):
            expiry.add_metric((one["service"], certificate["file"]), certificate["expires"])
    yield expiry


def _of_programs(services: list[Answer]) -> Iterator[Metric]:
    yield from _numbers(_PROGRAMS, services)
    ended = _COUNTER("netd_programs_ended", "Programs that have ended, by how they ended.", labels=("service", "how"))
    failing = _GAUGE("netd_programs_failing", "Whether the last program of a service has failed.", labels=("service",))
    for one in services:
        for how in get_args(How):
            ended.add_metric((one["service"], how), one["counters"]["programs_ended"].get(how, 0))
        failing.add_metric((one["service"],), float(bool(one["failing"])))
    yield ended
    yield failing
    yield _durations("programs_duration_seconds", "How long programs have run, counted at their end.", services)


def _of_forwards(services: list[Answer]) -> Iterator[Metric]:
    yield from _numbers(_FORWARDS, services)
    failures = _COUNTER(
        "netd_forward_failures",
        "Connections to targets that failed to be made, by reason.",
        labels=("service", "reason"),
    )
    for one in services:
        for why in get_args(Why):
            failures.add_metric((one["service"], why), one["counters"]["forward_failures"].get(why, 0))
    yield failures
    labels = ("service", "target")
    up = _GAUGE(
        "netd_forward_target_up",
        "Whether a target gets connections: 0 while it rests, is down, drains or is disabled.",
        labels=labels,
    )
    active = _GAUGE(
        "netd_forward_target_connections", "Connections to and sessions with a target that are open now.", labels=labels
    )
    failed = _COUNTER(
        "netd_forward_target_failures",
        "How often a target could not be reached by a connection or session.",
        labels=labels,
    )
    for one in services:
        for target in one["targets"]:
            values = (one["service"], target["target"])
            up.add_metric(values, float(target["state"] == "up"))
            active.add_metric(values, target["connections"])
            failed.add_metric(values, target["failures"])
    yield from (up, active, failed)


def _durations(name: str, explanation: str, services: list[Answer]) -> Metric:
    metric = HistogramMetricFamily(f"netd_{name}", explanation, labels=("service",), unit=_unit(name))
    for one in services:
        durations = one["counters"][name]
        metric.add_metric((one["service"],), list(durations["buckets"].items()), sum_value=durations["sum"])
    return metric
