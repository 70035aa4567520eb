"""The page about the metrics: `metrics.md`."""

from netd.telemetry.exposition import LABELS
from tools.reference import markdown
from tools.reference.links import linked
from tools.reference.markdown import prose
from tools.reference.metrics import Metric, metrics, probe_metrics
from tools.reference.source import filled


def metrics_page() -> str:
    """The page."""
    groups = {group: _table(found) for group, found in metrics().items()}
    labels = markdown.table(("label", "meaning"), [(f"`{name}`", linked(prose(text))) for name, text in LABELS.items()])
    return filled("metrics.md", {**groups, "probe": _table(probe_metrics()), "labels": labels})


def _table(found: list[Metric]) -> str:
    rows = [
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), prose(one.meaning))
        for one in sorted(found, key=lambda one: one.name)
    ]
    return markdown.table(("metric", "type", "labels", "meaning, and when it counts"), rows)
