import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.client.probe.checks import FIGURES, State, evaluate, parse_thresholds, report
from netd.client.probe.figures import Summary, Times
from netd.client.probe.outcomes import LOSSES

NO_LOSSES = {outcome.word: 0 for outcome in LOSSES}
FAST = Times(0.001, 0.002, 0.002, 0.003, 0.004, 0.005, 0.0005)
GOOD = Summary(
    target="udp://192.0.2.1:7",
    service="echo",
    address="192.0.2.1:7",
    sent=100,
    received=98,
    lost=2,
    loss=0.02,
    late=0,
    duplicated=0,
    reordered=0,
    corrupted=0,
    wrong="",
    losses=NO_LOSSES | {"timed_out": 2},
    reasons={"timed_out": "no right answer in time"},
    rtt=FAST,
    connections=0,
    connect=Times(),
    handshake=Times(),
    sent_late=Times(),
    offset=None,
    offset_margin=None,
)
DEAD = replace(
    GOOD,
    received=0,
    lost=100,
    loss=1.0,
    losses=NO_LOSSES | {"refused": 100},
    reasons={"refused": "Connection refused"},
    rtt=Times(),
)


@pytest.mark.parametrize(
    ("warn", "crit", "state"),
    [
        ("rtt=5ms,loss=5%", "rtt=10ms,loss=10%", State.OK),
        ("rtt=2ms", "rtt=10ms", State.OK),  # a value equal to the limit is allowed
        ("rtt=1ms", "rtt=10ms", State.WARNING),
        ("loss=1%", "loss=10%", State.WARNING),
        ("loss=1%", "loss=1.5%", State.CRITICAL),
        ("rtt=1ms", "rtt=1ms", State.CRITICAL),
        ("max=4ms", "p99=1h", State.WARNING),
        ("connect=0.001ms,offset=0.001ms", "offset=0.001ms", State.UNKNOWN),  # not measured
    ],
)
def test_states_follow_the_thresholds(warn: str, crit: str, state: State) -> None:
    verdict = evaluate(GOOD, parse_thresholds(warn), parse_thresholds(crit))
    assert verdict.state is state
    assert report([verdict])[0] is state


def test_target_without_answers_is_critical_without_thresholds() -> None:
    verdict = evaluate(DEAD, {}, {})
    assert verdict.state is State.CRITICAL
    assert "refused: Connection refused" in verdict.text


def test_target_without_an_address_is_unknown() -> None:
    assert evaluate(replace(DEAD, losses=NO_LOSSES | {"unresolved": 1}), {}, {}).state is State.UNKNOWN
    assert evaluate(replace(DEAD, sent=0, loss=None), {}, {}).state is State.UNKNOWN


def test_offset_limit_applies_in_both_directions() -> None:
    for offset in (-3.0, 3.0):
        summary = replace(GOOD, offset=offset, offset_margin=0.1)
        assert evaluate(summary, parse_thresholds("offset=2s"), {}).state is State.WARNING
        assert evaluate(summary, parse_thresholds("offset=4s"), {}).state is State.OK


PERFDATA = re.compile(r"([^=]+)=(-?\d+(?:\.\d+)?)(s|%|);(\d+(?:\.\d+)?|);(\d+(?:\.\d+)?|);(\d*);(\d*)")


def performance_data(line: str) -> dict[str, tuple[str, ...]]:
    """Parse performance data by the plugin guidelines: items between blanks, labels in single quotes."""
    items = [PERFDATA.fullmatch(item) for item in shlex.split(line.partition("|")[2])]
    assert all(items)
    return {item[1]: item.groups()[1:] for item in items if item}


def test_report_is_one_line_with_performance_data() -> None:
    state, text = report([evaluate(GOOD, parse_thresholds("rtt=5ms,loss=1%"), parse_thresholds("loss=30%"))])
    assert state is State.WARNING
    assert text.startswith("PROBE WARNING - udp://192.0.2.1:7 loss 2 % is above 1 % | ")
    assert "\n" not in text
    data = performance_data(text)
    assert data["rtt"] == ("0.002", "s", "0.005", "", "0", "")
    assert data["loss"] == ("2", "%", "1", "30", "0", "100")


def test_report_of_several_targets_has_the_worst_state_and_names_all() -> None:
    strange = replace(GOOD, target="unix:///run/it's a=b|c.sock")
    state, text = report([evaluate(one, {}, {}) for one in (GOOD, DEAD, strange)])
    first, *others = text.splitlines()
    assert state is State.CRITICAL
    assert first.startswith("PROBE CRITICAL - 1 of 3 targets: udp://192.0.2.1:7 no right answer")
    assert [line.partition(":")[0] for line in others] == ["OK", "CRITICAL", "OK"]
    assert first.count("|") == 1
    assert "|" not in "".join(others)


@given(st.dictionaries(st.sampled_from(sorted(set(FIGURES) - {"loss"})), st.integers(1, 10**6), min_size=1))
def test_thresholds_are_parsed(given_limits: dict[str, int]) -> None:
    text = ",".join(f"{name}={limit}ms" for name, limit in given_limits.items())
    assert parse_thresholds(text) == {name: pytest.approx(limit / 1000) for name, limit in given_limits.items()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "unknown figure ''"),
        ("rrt=5ms", "did you mean 'rtt'"),
        ("rtt", "without a value"),
        ("rtt=5ms,rtt=6ms", "twice"),
        ("rtt=5", "expected a duration"),
        ("rtt=1%", "expected a duration"),
        ("loss=5ms", "expected a loss such as 1%"),
        ("loss=101%", "expected a loss such as 1%"),
    ],
)
def test_invalid_threshold_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_thresholds(text)


def test_missing_figure_is_unknown_and_wrong_answers_are_a_warning() -> None:
    without_offset = replace(GOOD, offset=None)
    assert evaluate(without_offset, parse_thresholds("offset=1s"), {}).state is State.UNKNOWN
    assert evaluate(without_offset, {}, {}).state is State.OK
    slow = evaluate(without_offset, parse_thresholds("offset=1s"), parse_thresholds("rtt=1ms"))
    assert slow.state is State.CRITICAL, "critical is worse than unknown"
    wrong = evaluate(replace(GOOD, corrupted=6, wrong="expected 4 octets, got 0 octets"), {}, {})
    assert (wrong.state, wrong.text) == (State.WARNING, "6 wrong answers: expected 4 octets, got 0 octets")
    assert "wrong=6;;;0;" in wrong.data
