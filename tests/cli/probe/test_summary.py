"""The figures of a run as text."""

import re

import pytest

from netd.cli.probe.summary import _bars, _target_text, summary_text
from netd.client.probe.figures import summarise
from netd.client.probe.outcomes import Outcome
from netd.client.probe.probing import Plan, Probe, Probing
from tests.client.probe.probes import probe_of

MS = 10**6


def text_of(probe: Probe, width: int | None = None) -> list[str]:
    return _target_text(probe, summarise(probe), width).splitlines()


def test_figures_and_bars_of_answers_are_shown() -> None:
    lines = text_of(probe_of("udp://192.0.2.1:7", 2 * MS, Outcome.TIMED_OUT, 4 * MS, Outcome.TIMED_OUT))
    assert lines[:3] == [
        "udp://192.0.2.1:7, echo",
        "sent 4, received 2, lost 2 (50 %), duplicated 0, reordered 0, corrupted 0",
        "2 timed out: no right answer in time",
    ]
    assert lines[3] == ""
    assert lines[4].split() == ["MIN", "MEAN", "MEDIAN", "P90", "P99", "MAX", "JITTER"]
    assert re.split(" {2,}", lines[5]) == [
        "rtt",
        "2.00 ms",
        "3.00 ms",
        "3.00 ms",
        *["4.00 ms"] * 2,
        "4.00 ms",
        "2.00 ms",
    ]
    assert lines[6] == ""
    assert lines[7].startswith("up to ")


def test_single_answer_has_no_bars_and_none_has_no_table() -> None:
    assert len(text_of(probe_of("udp://192.0.2.1:7", 2 * MS))) == 5
    assert text_of(probe_of("udp://192.0.2.1:7", Outcome.REFUSED))[2:] == [
        "1 refused: refused: nothing listens there, or its queue is full"
    ]
    assert "lost 0," in text_of(probe_of("udp://192.0.2.1:7"))[1], "no share without questions"


def test_late_answers_and_the_clock_have_a_line() -> None:
    asked = probe_of("udp://192.0.2.1:7", Outcome.TIMED_OUT, service="time")
    asked.tally.answer(0, MS)
    asked.tally.offset.add(100, 102.0, 102.0)
    lines = text_of(asked)
    assert "1 right answers came after the time-out" in lines
    assert "the clock is 1.500 s behind, +/- 0.500 s" in lines
    ahead = probe_of("udp://192.0.2.1:7", service="time")
    ahead.tally.offset.add(100, 98.0, 98.0)
    assert "the clock is 2.500 s ahead, +/- 0.500 s" in text_of(ahead)


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([MS, MS], [("1.00 ms", "█" * 40, "2")]),
        ([MS] * 80 + [256 * MS], [("2.00 ms", "█" * 40, "80"), *[(None, "", "0")] * 6, ("256 ms", "▌", "1")]),
        ([MS] * 1000 + [256 * MS], [("2.00 ms", "█" * 40, "1000"), *[(None, "", "0")] * 6, ("256 ms", "▏", "1")]),
    ],
)
def test_bar_is_in_proportion_and_never_empty_for_a_value(
    values: list[int], bars: list[tuple[str | None, str, str]]
) -> None:
    found = [re.fullmatch(r"up to +([\d.]+ [mu]?s)  (.*?) ?(\d+)", line) for line in _bars(values)]
    for match, (bound, bar, number) in zip(found, bars, strict=True):
        assert match
        assert match.groups() == (bound or match[1], bar, number)


def test_targets_are_separated_by_a_blank_line() -> None:
    run = Probing([], Plan(1, 1, 1))
    run._poller.close()
    run.probes = [probe_of("udp://192.0.2.1:7"), probe_of("tcp://192.0.2.1:7")]
    first, second, table = summary_text(run, [summarise(probe) for probe in run.probes]).split("\n\n")
    assert (first.partition(",")[0], second.partition(",")[0]) == ("udp://192.0.2.1:7", "tcp://192.0.2.1:7")
    assert [line.split() for line in table.splitlines()] == [
        ["TARGET", "SENT", "LOSS", "MEDIAN", "P99", "MAX"],
        ["udp://192.0.2.1:7", "0", "-", "-", "-", "-"],
        ["tcp://192.0.2.1:7", "0", "-", "-", "-", "-"],
    ]


@pytest.mark.parametrize("width", [60, 79])
def test_figures_fit_the_terminal(width: int) -> None:
    asked = probe_of("udp://192.0.2.1:7", *(number * MS + 123_456 for number in range(300)))
    for number in range(300):
        asked.tally.lag.add(number)
        asked.tally.connect.add(number * MS)
    run = Probing([], Plan(1, 1, 1))
    run._poller.close()
    run.probes = [asked, asked]
    heading, *rest = summary_text(run, [summarise(asked)] * 2, width).splitlines()
    assert heading == "udp://192.0.2.1:7, echo"
    assert [line for line in rest if len(line) > width and not line.startswith("sent 300")] == []
    rows = [line.split()[0] for line in rest if line]
    assert "MEDIAN" in rows if width < 79 else "rtt" in rows


def test_wrong_answers_are_shown_with_what_was_expected() -> None:
    asked = probe_of("udp://192.0.2.1:37", Outcome.TIMED_OUT, service="rfc868")
    asked.tally.corrupt('expected 4 octets, got 1 octet: "x"')
    assert 'corrupted: expected 4 octets, got 1 octet: "x"' in text_of(asked)
    asked.tally.ask()
    asked.tally.lose(1, Outcome.WRONG, asked.tally.wrong)
    assert '1 wrong: expected 4 octets, got 1 octet: "x"' in text_of(asked)
    assert not [line for line in text_of(asked) if line.startswith("corrupted:")]
