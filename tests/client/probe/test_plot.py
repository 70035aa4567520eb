"""The plot of a run."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from netd.client.probe.outcomes import Outcome
from netd.client.probe.plot import _unit, draw
from tests.client.probe.probes import probe_of

MS = 10**6
SVG = "{http://www.w3.org/2000/svg}"


def texts(file: Path) -> list[str]:
    return [" ".join("".join(text.itertext()).split()) for text in ET.parse(file).getroot().iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("results", "unit"), [((2 * MS, Outcome.TIMED_OUT, 4 * MS), "ms"), ((50_000, 2 * 10**9), "s"), ((), "us")]
)
def test_legend_counts_the_answers_of_each_target(tmp_path: Path, results: tuple[int, ...], unit: str) -> None:
    probes = [probe_of("udp://192.0.2.1:7", *results), probe_of("tcp://192.0.2.1:7", Outcome.REFUSED)]
    draw(probes, f"{tmp_path}/a.svg", 1_700_000_000 * 10**9)
    found = texts(tmp_path / "a.svg")
    right = sum(result >= 0 for result in results)
    assert f"udp://192.0.2.1:7 ({right} of {len(results)})" in found
    assert "tcp://192.0.2.1:7 (0 of 1)" in found
    assert f"answer took [{unit}]" in found
    assert "netd probe, 2023-11-14 22:13:20 UTC" in found


@pytest.mark.parametrize("number", [1, 3, 8])
def test_answers_are_counted_in_whole_numbers(tmp_path: Path, number: int) -> None:
    draw([probe_of("udp://192.0.2.1:7", *[5 * MS] * number)], f"{tmp_path}/a.svg", 0)
    found = texts(tmp_path / "a.svg")
    assert found.index("answers") >= 2
    ticks = found[::-1][found[::-1].index("answers") + 1 :]
    counts = ticks[: ticks.index("0") + 1]
    assert all(text.isdigit() for text in counts), counts


@pytest.mark.parametrize(
    ("most", "unit"),
    [(999, "us"), (MS - 1, "us"), (MS, "ms"), (10**9 - 1, "ms"), (10**9, "s")],
)
def test_unit_follows_the_longest_time(most: int, unit: str) -> None:
    assert _unit(most) == (unit, {"us": 1e3, "ms": 1e6, "s": 1e9}[unit])
