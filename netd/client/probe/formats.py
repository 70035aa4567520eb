"""A run as JSON, CSV, or text for the textfile collector of Prometheus' node_exporter. Values only."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime

from netd.client.probe.figures import Summary, Times
from netd.client.probe.outcomes import Outcome
from netd.client.probe.probing import Probe
from netd.reasons import FORMAT_VERSION

_COUNTS = {
    "sent": "Questions that were due.",
    "received": "Questions with a right answer in time.",
    "lost": "Questions without one.",
    "late": "Right answers after the time-out.",
    "duplicated": "Right answers to questions that had one.",
    "reordered": "Answers that came after the answer to a later question.",
    "corrupted": "Answers that were not right.",
}


def as_json(summaries: Sequence[Summary], seconds: float, **more: object) -> str:
    """An object with an entry for each target. Times are in seconds, shares from 0 to 1."""
    targets = [asdict(summary) for summary in summaries]
    return json.dumps({"format_version": FORMAT_VERSION, "targets": targets, "seconds": seconds, **more}, indent=2)


def as_csv(probes: Sequence[Probe], epoch: int) -> str:
    """A row for each question: when it was due, in seconds after the first one, its outcome, and the time it took.

    The last column is the time at which it was due, in UTC. ``epoch``: the wall clock minus the monotonic one.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["target", "service", "number", "due", "outcome", "rtt", "time"])
    first = min(probe.began for probe in probes)
    for probe in probes:
        for number, result in probe.tally.results():
            if result == Outcome.ABANDONED:
                continue
            took = f"{result / 1e9:.9f}" if result >= 0 else ""
            outcome = "received" if result >= 0 else Outcome(result).word
            due = probe.due(number)
            after = f"{(due - first) / 1e9:.6f}"
            rows.writerow([probe.target.name, probe.service, number, after, outcome, took, _utc(due + epoch)])
    return text.getvalue().removesuffix("\n")


def _utc(nanoseconds: int) -> str:
    """A time as in netd's log: ``2026-11-21T09:14:07.000000Z``."""
    when = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_prometheus(summaries: Sequence[Summary], now: float) -> str:
    """Gauges of this run, for a file in the directory of the textfile collector."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Callable[..., Gauge]:
        made = Gauge(f"netd_probe_{name}", text, ("target", "service", *labels), registry=registry)
        return lambda summary, *values: made.labels(summary.target, summary.service, *values)

    success = gauge("success", "Whether the target answered, and no answer was wrong.")
    counts = {name: gauge(name, text) for name, text in _COUNTS.items()}
    losses = gauge("losses", "Questions without a right answer, by reason.", "reason")
    rtt = gauge("rtt_seconds", "How long answers took.", "figure")
    connect = gauge("connect_seconds", "How long connections took to be made.", "figure")
    handshake = gauge("handshake_seconds", "How long TLS handshakes took, after the connection was made.", "figure")
    offset = gauge("clock_offset_seconds", "How far the target's clock is ahead of this host's.")
    for summary in summaries:
        success(summary).set(summary.good)
        for name in _COUNTS:
            counts[name](summary).set(getattr(summary, name))
        for reason, number in summary.losses.items():
            losses(summary, reason).set(number)
        for measured, found in ((rtt, summary.rtt), (connect, summary.connect), (handshake, summary.handshake)):
            for field in fields(Times):
                if (value := getattr(found, field.name)) is not None:
                    measured(summary, field.name).set(value)
        if summary.offset is not None:
            offset(summary).set(summary.offset)
    Gauge("netd_probe_time_seconds", "When the last run ended, in Unix time.", registry=registry).set(now)
    return generate_latest(registry).decode().removesuffix("\n")
