"""The page about JSON: `json.md`. The shapes are a text; the counters in the status are those of the metrics."""

from netd.client.probe.figures import Times
from netd.shared.table import Counts
from netd.telemetry.counters import published
from tools.reference.metrics import Metric, metrics
from tools.reference.source import filled

_ONLY = {"programs": "only of a service that starts programs", "forward": "only of a service that forwards"}
_TIMES = {
    "rtt": "how long answers took",
    "connect": "how long connections took to be made",
    "handshake": "how long TLS handshakes took, after the connection was made",
    "sent_late": "how much later than due questions were sent, since netd probe itself was late",
}


def json_page() -> str:
    """The page."""
    groups = metrics()
    daemon = [
        _row(f"counters.{_name(one)}", "number", one.meaning.removesuffix("."))
        for one in groups["daemon"]
        if one.kind == "counter"
    ]
    parts = {
        "daemon counters": "\n".join(daemon),
        "counters": "\n".join(_counters(groups)),
        "times": "\n".join(_times()),
    }
    return filled("json.md", parts)


def _counters(groups: dict[str, list[Metric]]) -> list[str]:
    """The rows of the counters of a service, in the order in which the status has them."""
    known = {_name(one): (group, one) for group, found in groups.items() for one in found}
    rows = []
    for name in published(Counts(), programs=True, forwards=True):
        if name not in known:
            continue  # those of the service type itself, which are no metrics
        group, metric = known[name]
        place = f"services[].counters.{name}"
        only = f"; {_ONLY[group]}" if group in _ONLY else ""
        meaning = f"{metric.meaning.removesuffix('.')}{only}"
        if metric.kind == "histogram":
            rows.append(_row(f"{place}.count", "number", f"{meaning}: their number"))
            rows.append(_row(f"{place}.sum", "number", "the sum of their durations, in seconds"))
            bounds = "how many of at most so many seconds: `0.001` to `3600.0`, and `+Inf`"
            rows.append(_row(f"{place}.buckets.BOUND", "number", bounds))
        else:
            rows.append(
                _row(
                    place + "".join(f".{label.upper()}" for label in metric.labels if label != "service"),
                    "number",
                    meaning,
                )
            )
    return rows


def _times() -> list[str]:
    """The rows of the distributions that a probe reports."""
    return [
        _row(f"targets[].{name}.{figure}", "number or null", text if number == 0 else "")
        for name, text in _TIMES.items()
        for number, figure in enumerate(Times.__dataclass_fields__)
    ]


def _row(place: str, kind: str, meaning: str) -> str:
    return f"| `{place}` | {kind} | {meaning[:1].lower() + meaning[1:] if not meaning.startswith('TLS') else meaning} |"


def _name(metric: Metric) -> str:
    return metric.name.removeprefix("netd_").removesuffix("_total").removesuffix("_bucket")
