"""Ratios, verdicts, tables and plots from figures."""

from xml.etree import ElementTree

import pytest

from bench import plot
from bench.peers import PEERS
from bench.report import number, report
from bench.results import LIMIT, Cell, Figure, Results, Spread, counts, ratio, spread, unsaturated
from bench.targets import TARGETS, Target, netd_ratio, netd_value, slowest_command
from bench.workloads import GROUPS, PROTOCOLS, WORKLOADS, Workload

TCP_64 = next(workload for workload in WORKLOADS if workload.name == "tcp-64")


def figure(rate: float = 1000, *, seconds: float = 1, lost: int = 0, processor: float = 1.0, memory: int = 0) -> Figure:
    answers = round(rate * seconds)
    return Figure(seconds, answers, answers * 64, lost, 10, 20, 30, 40, 50, processor, memory)


def cell(*rates: float | None) -> Cell:
    return Cell([None if rate is None else figure(rate, memory=1) for rate in rates])


def run(**cells: dict[str, Cell]) -> Results:
    by_name = {name.replace("_", "-"): of_one for name, of_one in cells.items()}
    return Results("today", quick=False, rounds=2, seconds=1, machine={"kernel": "6"}, missing={}, cells=by_name)


def everything() -> Results:
    """The results of a run in which every server took part in all its workloads."""
    cells = {w.name: {peer.name: cell(900, 1100) for peer in PEERS if peer.serves_in(w)} for w in WORKLOADS}
    footprint = {"start": [0.3, 0.4], "memory": [2.0**25], "netd status": [0.1], "netd diff": [0.15]}
    footprint |= {"launcher": [2.0**22], "descriptors": [1.0], "program": [700.0]}
    return Results("today", quick=True, rounds=2, seconds=1, machine={}, missing={}, cells=cells, footprint=footprint)


def test_ratio_is_taken_round_by_round() -> None:
    assert ratio(cell(50, 10, 300), cell(100, 100, 100), counts(TCP_64)) == Spread(0.5, 0.1, 3.0)


def test_failed_round_has_no_ratio() -> None:
    assert ratio(cell(50, None, 300), cell(None, 100, 100), counts(TCP_64)) == Spread(3.0, 3.0, 3.0)
    assert ratio(cell(None), cell(100), counts(TCP_64)) is None
    assert spread(cell(None), counts(TCP_64)) is None


@pytest.mark.parametrize(
    ("measure", "value"), [("rate", 500), ("bytes", 32000), ("delay", 30), ("idle", 16), ("cost", 4000)]
)
def test_measures_select_their_value(measure: str, value: float) -> None:
    workload = Workload("a", "A", "TCP", "tcp", "tcp", 4, measure=measure)  # type: ignore[arg-type]
    assert counts(workload)(figure(500, seconds=2, processor=0.25, memory=64)) == value


def test_unsaturated_server_is_recognised() -> None:
    assert unsaturated(TCP_64, Cell([figure(processor=0.5)]))
    assert not unsaturated(TCP_64, Cell([figure(processor=0.95)]))
    one = Workload("a", "A", "TCP", "tcp", "tcp", 1)
    assert not unsaturated(one, Cell([figure(processor=0.5)])), "with one connection it waits for the load"


@pytest.mark.parametrize(
    ("sense", "bound", "verdict"),
    [
        ("at least", 0.5, "reached"),
        ("at least", 0.6, "not reached"),
        ("at most", 0.5, "reached"),
        ("at most", 0.4, "not reached"),
    ],
)
def test_verdict_is_about_the_median(sense: str, bound: float, verdict: str) -> None:
    results = run(tcp_64={"C": cell(100, 100, 100), "netd": cell(10, 50, 90)})
    target = Target("a", netd_ratio("tcp-64", LIMIT), sense, bound)  # type: ignore[arg-type]
    assert target.verdict(results) == verdict


def test_target_without_a_measurement_has_no_verdict() -> None:
    nothing = run()
    assert {target.verdict(nothing) for target in TARGETS} == {"not measured"}
    assert netd_value("tcp-64")(nothing) is None


def test_targets_are_measured_by_a_full_run() -> None:
    assert [target.title for target in TARGETS if target.measured(everything()) is None] == []


def test_slowest_command_has_the_greatest_median() -> None:
    results = everything()
    results.footprint |= {"netd once slow": [0.1, 0.1, 9.0]}
    assert slowest_command(results) == Spread(0.15, 0.15, 0.15)


def test_report_names_failed_and_missing_servers() -> None:
    results = run(tcp_64={"C": cell(100, 100), "netd": cell(80, 90), "stock": Cell([None, None], "no answer")})
    results.missing["xinetd"] = "xinetd"
    text = report(results)
    assert "| TCP 64 B, 64 connections | 100 | 85.0 | 0.85 (0.80 to 0.90) | failed |" in text
    assert "stock failed: no answer" in text
    assert "| xinetd | not installed: xinetd |" in text


def test_report_names_losses_and_unsaturated_servers() -> None:
    results = run(udp_128={"C": Cell([figure(processor=0.4)]), "netd": Cell([figure(900, lost=100)])})
    text = report(results)
    assert "netd lost 10.0% of the requests" in text
    assert "did not fill the core of C 40%" in text


def test_full_report_has_every_group_and_every_plot() -> None:
    results = everything()
    text = report(results)
    for group in GROUPS:
        assert f"## {group}\n" in text
    pictures = plot.pictures(results)
    for name in pictures:
        assert f"]({name}.svg)" in text
    assert text.count(".svg)") == len(pictures)


def test_plots_are_well_formed_xml() -> None:
    results = everything()
    results.cells["tcp-64"]["stock"] = Cell([None], "no answer")
    results.cells["tcp-rate"]["stock"] = Cell([None], "no answer")
    results.cells["tcp-1"]["a < b & c"] = cell(0, 0)
    del results.cells["udp-1"]["C"]
    drawn = plot.pictures(results)
    assert drawn.keys() == {w.name for w in WORKLOADS if not w.name.startswith("cost-")} | {"cost"}
    for picture in drawn.values():
        root = ElementTree.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [
        element.text for element in ElementTree.fromstring(drawn["tcp-64"]).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert "failed" in texts
    assert "a &lt; b &amp; c" in drawn["tcp-1"]


@pytest.mark.parametrize(("value", "text"), [(123456.7, "123,457"), (12.34, "12.3"), (1.234, "1.23"), (-0.001, "0")])
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_tables_of_workloads_and_peers_agree() -> None:
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    assert {workload.protocol for workload in WORKLOADS} == set(PROTOCOLS)
    known = {peer.name for peer in PEERS}
    assert (
        {name for workload in WORKLOADS for name in workload.variants} == {p.name for p in PEERS if p.variant} <= known
    )
    for peer in PEERS:
        assert set(peer.serves) <= set(PROTOCOLS), peer.name
