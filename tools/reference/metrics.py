"""The metrics of netd, as values: what `netd.telemetry.exposition` makes of a status of each kind of service."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from netd.client.probe.figures import Summary, Times
from netd.client.probe.formats import as_prometheus
from netd.shared.table import Counts
from netd.telemetry.counters import published
from netd.telemetry.exposition import exposition

_SUFFIXES = {"counter": "_total", "histogram": "_bucket"}
_COUNTERS = (
    "workers_lost",
    "reloads_applied",
    "reloads_rejected",
    "sources_banned",
    "control_refused",
    "log_lines_lost",
)
_KINDS = ("plain", "code", "tls", "programs", "forward")


@dataclass(frozen=True)
class Metric:
    """A metric of Prometheus."""

    name: str
    """With its suffix, as in ``netd_connections_accepted_total``."""
    kind: str
    """counter, gauge or histogram."""
    labels: tuple[str, ...]
    meaning: str


def metrics() -> dict[str, list[Metric]]:
    """The metrics by group: those of netd, those of all services, and those of each of `_KINDS` that only it has."""
    daemon = _of(_status())
    groups = {"daemon": [one for one in daemon if "service" not in one.labels]}
    for kind in _KINDS:
        known = [one for group in groups.values() for one in group]
        groups[kind] = [one for one in _of(_status(kind)) if one not in known]
    return groups


def probe_metrics() -> list[Metric]:
    """Those that `netd probe --prometheus` prints."""
    times = Times(**dict.fromkeys(Times.__dataclass_fields__, 0.0))
    found: dict[str, Any] = dict.fromkeys(Summary.__dataclass_fields__, 0)
    found |= {"target": "", "service": "", "rtt": times, "connect": times, "handshake": times, "offset": 0.0}
    text = as_prometheus([Summary(**(found | {"losses": {"refused": 1}, "reasons": {}}))], 0.0)
    return list(_parsed(text))


def _of(status: dict[str, Any]) -> list[Metric]:
    return list(_parsed(exposition(status, "")[0].decode()))


def _parsed(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):
        if not family.samples:
            continue  # it has one for each service
        labels = sorted({name for sample in family.samples for name in sample.labels})
        name = f"{family.name}{_SUFFIXES.get(family.type, '')}"
        yield Metric(name, family.type, tuple(labels), family.documentation)


def _status(kind: str = "") -> dict[str, Any]:
    """A status with one service of a kind, or with none."""
    service = {
        "service": "x",
        "type": "python" if kind == "code" else "x",
        "enabled": True,
        "endpoints": ["tls://127.0.0.1:7" if kind == "tls" else "tcp://127.0.0.1:7"],
        "failing": "",
        "counters": published(Counts(), programs=kind == "programs", forwards=kind == "forward"),
        "targets": [{"target": "tcp://192.0.2.7:80", "state": "up", "connections": 0, "failures": 0}],
        "certificates": [{"file": "x", "expires": 0.0}],
    }
    return {
        "version": "",
        "started": 0.0,
        "healthy": True,
        "ready": True,
        "generation": 0,
        "last_reload_successful": True,
        "banned_sources": 0,
        "counters": dict.fromkeys(_COUNTERS, 0),
        "workers": [],
        "services": [service] if kind else [],
    }
