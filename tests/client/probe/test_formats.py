"""A run as JSON, CSV and text of Prometheus."""

import csv
import io
import json

from prometheus_client.parser import text_string_to_metric_families

from netd.client.probe.figures import summarise
from netd.client.probe.formats import as_csv, as_json, as_prometheus
from netd.client.probe.outcomes import Outcome
from tests.client.probe.probes import probe_of

MS = 10**6
GOOD = probe_of("udp://192.0.2.1:7", 2 * MS, Outcome.TIMED_OUT, 4 * MS)
DEAD = probe_of("tcp://192.0.2.1:7", Outcome.REFUSED, Outcome.WAITING, began=5 * MS)
DEAD.tally.abandon()


def test_json_has_the_figures_of_each_target_and_more() -> None:
    result = json.loads(as_json([summarise(GOOD), summarise(DEAD)], 1.5, interrupted=True))
    assert (result["seconds"], result["interrupted"]) == (1.5, True)
    good, dead = result["targets"]
    assert (good["target"], good["sent"], good["received"], good["lost"]) == ("udp://192.0.2.1:7", 3, 2, 1)
    assert (good["rtt"]["min"], good["rtt"]["mean"], good["rtt"]["max"]) == (0.002, 0.003, 0.004)
    assert (good["loss"], good["losses"]["timed_out"]) == (1 / 3, 1)
    assert dead["rtt"]["min"] is None


def test_csv_has_a_row_for_each_question_that_was_sent() -> None:
    rows = list(csv.reader(io.StringIO(as_csv([GOOD, DEAD], 1_700_000_000 * 10**9))))
    assert rows == [
        ["target", "service", "number", "due", "outcome", "rtt", "time"],
        ["udp://192.0.2.1:7", "echo", "0", "0.000000", "received", "0.002000000", "2023-11-14T22:13:20.000000Z"],
        ["udp://192.0.2.1:7", "echo", "1", "0.100000", "timed_out", "", "2023-11-14T22:13:20.100000Z"],
        ["udp://192.0.2.1:7", "echo", "2", "0.200000", "received", "0.004000000", "2023-11-14T22:13:20.200000Z"],
        ["tcp://192.0.2.1:7", "echo", "0", "0.005000", "refused", "", "2023-11-14T22:13:20.005000Z"],
    ]


def test_prometheus_text_has_gauges_of_what_was_measured() -> None:
    asked = probe_of("tcp://192.0.2.2:7", 2 * MS)
    asked.tally.offset.add(100, 99.0, 99.0)
    asked.tally.connect.add(MS)
    families = list(text_string_to_metric_families(as_prometheus([summarise(GOOD), summarise(asked)], 1234.0)))
    assert {family.type for family in families} == {"gauge"}
    samples = {}
    for sample in (sample for family in families for sample in family.samples):
        which = sample.labels.get("figure") or sample.labels.get("reason")
        samples[sample.name.removeprefix("netd_probe_"), sample.labels.get("target"), which] = sample.value
    good, other = GOOD.target.name, asked.target.name
    assert samples["success", good, None] == samples["success", other, None] == 1
    assert samples["losses", good, "timed_out"] == 1
    assert samples["rtt_seconds", good, "max"] == 0.004
    assert samples["connect_seconds", other, "min"] == 0.001
    assert samples["clock_offset_seconds", other, None] == 1.5
    assert samples["time_seconds", None, None] == 1234.0
    assert ("connect_seconds", good, "min") not in samples
    assert ("clock_offset_seconds", good, None) not in samples
