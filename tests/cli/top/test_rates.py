"""Rates from counters, also across restarts, their sparklines and their order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.top.rates import Rates, ordered, readable_number, readable_rate, resampled, sparkline


def sample(pid: int = 1, **requests: int) -> dict[str, Any]:
    services = [
        {"service": name, "requests": number, "counters": {"received_bytes": number * 10, "sent_bytes": number}}
        for name, number in requests.items()
    ]
    return {"run": f"{pid}-1000.0", "services": services}


def test_rate_is_the_difference_between_two_answers_per_second() -> None:
    rates = Rates()
    rates.add(sample(echo=10, time=5), 100.0)
    assert rates.last("echo") is None
    rates.add(sample(echo=30, time=5), 102.0)
    assert (rates.last("echo"), rates.last("time")) == (10.0, 0.0)
    assert rates.octets == {"echo": 110.0, "time": 0.0}
    assert rates.total(9) == [10.0]


def test_rate_is_unknown_after_a_restart_or_a_reset_until_the_next_answer() -> None:
    rates = Rates()
    rates.add(sample(echo=10, time=10), 100.0)
    rates.add(sample(echo=20, time=20), 101.0)
    rates.add(sample(pid=2, echo=500, time=0), 102.0)
    assert (rates.last("echo"), rates.last("time"), rates.total(1)) == (None, None, [None])
    assert rates.octets == {"echo": None, "time": None}
    rates.add(sample(pid=2, echo=503, time=9), 103.0)
    assert list(rates.series["echo"]) == [10.0, None, 3.0]
    rates.add(sample(pid=2, echo=1, time=10), 104.0)
    assert (rates.last("echo"), rates.last("time")) == (None, 1.0)


def test_services_are_added_and_removed() -> None:
    rates = Rates()
    rates.add(sample(echo=1), 1.0)
    rates.add(sample(echo=2, new=100), 2.0)
    assert rates.last("new") is None
    rates.add(sample(new=101), 3.0)
    assert (rates.last("new"), "echo" in rates.series) == (1.0, False)


def test_history_is_inserted_before_measured_rates() -> None:
    rates = Rates()
    rates.add(sample(echo=60, late=4), 50.0)
    history = {
        "times": [1000, 1005, 1010],
        "services": {
            "echo": {"requests": [0, 10, 60]},
            "late": {"requests": [None, 0, 5]},
            "gone": {"requests": [1, 2, 3]},
        },
    }
    rates.prefill(history, 1010.0, 2.5)
    rates.add(sample(echo=63, late=4), 51.0)
    assert list(rates.series["echo"]) == [2.0, 2.0, 10.0, 10.0, 3.0]
    assert list(rates.series["late"]) == [None, None, 1.0, 1.0, 0.0]
    assert "gone" not in rates.series


def test_samples_are_stretched_or_joined_to_the_interval() -> None:
    assert resampled([0, 5, 10], [0, 5, 15], 10.0, 5.0) == [1.0, 2.0]
    assert resampled([0, 5, 10], [0, 5, 15], 10.0, 1.0) == [1.0] * 5 + [2.0] * 5
    assert resampled([0, 5, 10], [0, 5, 0], 12.0, 5.0) == [1.0, None]  # a reset
    assert resampled([], [], 10.0, 1.0) == resampled([3], [1], 10.0, 1.0) == []


@given(st.lists(st.none() | st.floats(0, 1e12)), st.integers(-3, 80), st.booleans())
def test_sparkline_has_the_given_width(values: list[float | None], width: int, blocks: bool) -> None:
    text = sparkline(values, width, blocks=blocks)
    assert len(text) == max(0, width)
    assert blocks or text.isascii()


def test_sparkline_shows_the_newest_values() -> None:
    assert sparkline([9, 0, 1, 2, 4, None, 8], 6, blocks=True) == "▁▂▃▅ █"
    assert sparkline([5, 0, None, 8], 3, blocks=True) == "▁ █"
    assert sparkline([0, 0.001, 8], 5, blocks=True) == "  ▁▂█"
    assert sparkline([0, 8], 2, blocks=False) == "_#"


def test_rows_are_ordered_by_largest_number_or_first_name() -> None:
    rows: list[dict[str, Any]] = [
        {"NAME": "b", "N": 1},
        {"NAME": "a", "N": 1},
        {"NAME": "c", "N": None},
        {"NAME": "d", "N": 0},
    ]

    def names(head: str, *, reverse: bool) -> str:
        return "".join(row["NAME"] for row in ordered(rows, head, reverse=reverse))

    assert names("N", reverse=False) == "abdc"
    assert names("N", reverse=True) == "cdab"
    assert names("NAME", reverse=False) == "abcd"
    assert names("NAME", reverse=True) == "dcba"
    assert ordered([], "N", reverse=False) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (99999, "99999"), (100000, "100k"), (1_234_567, "1.2M"), (12_345_678, "12.3M"), (10**15, "1.0P")],
)
def test_readable_numbers_have_units(number: int, text: str) -> None:
    assert readable_number(number) == text


@given(st.integers(0, 2**63))
def test_readable_numbers_have_at_most_six_characters(number: int) -> None:
    assert len(readable_number(number)) <= 6
    assert len(readable_rate(float(number))) <= 6


def test_small_rates_are_shown_to_a_tenth() -> None:
    assert [readable_rate(rate) for rate in (None, 0.0, 0.24, 99.0, 345.6)] == ["-", "0", "0.2", "99.0", "346"]
