"""The metrics are those that netd serves, each with its labels and a meaning."""

from prometheus_client.parser import text_string_to_metric_families

from netd.shared.table import Counts
from netd.telemetry.exposition import LABELS, exposition
from tests.telemetry.statuses import status
from tools.reference.metrics import metrics, probe_metrics

GROUPS = metrics()
ALL = [one for group in GROUPS.values() for one in group]


def test_metrics_are_those_that_netd_serves() -> None:
    answer = status({"x": Counts()}, programs=["x"], forwards=["x"], tls=["x"], code=["x"])
    families = list(text_string_to_metric_families(exposition(answer, "")[0].decode()))
    expected = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    assert {one.name.removesuffix("_bucket") for one in ALL} == expected
    assert len(ALL) == len(expected), "one is in two groups"


def test_every_metric_has_a_meaning_and_every_label_too() -> None:
    assert [
        one.name for one in [*ALL, *probe_metrics()] if len(one.meaning) < 15 or not one.meaning.endswith(".")
    ] == []
    assert LABELS.keys() == {label for one in ALL for label in one.labels}
    assert list(LABELS) == sorted(LABELS)


def test_groups_are_by_what_a_service_does() -> None:
    assert {one.name for one in GROUPS["tls"]} >= {"netd_tls_handshakes_total"}
    assert {one.name for one in GROUPS["forward"]} >= {"netd_forward_target_up"}
    assert not any("service" in one.labels for one in GROUPS["daemon"])


def test_metrics_of_a_probe_have_a_target() -> None:
    labels = {one.name: one.labels for one in probe_metrics()}
    assert labels["netd_probe_rtt_seconds"] == ("figure", "service", "target")
    assert labels["netd_probe_losses"] == ("reason", "service", "target")
