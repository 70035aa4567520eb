import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.client.probe.figures import Times, histogram, percentile, readable, times
from netd.client.probe.tally import Series

values = st.lists(st.integers(1, 10**11), min_size=1, max_size=200)


@given(values)
def test_times_agree_with_the_statistics_module(given_values: list[int]) -> None:
    series = Series()
    for value in given_values:
        series.add(value)
    found = times(series)
    assert found.min == pytest.approx(min(given_values) / 1e9, abs=1e-9)
    assert found.mean == pytest.approx(statistics.fmean(given_values) / 1e9, abs=1e-9)
    assert found.median == pytest.approx(statistics.median(given_values) / 1e9, abs=1e-9)
    assert found.max == pytest.approx(max(given_values) / 1e9, abs=1e-9)
    steps = [abs(b - a) for a, b in pairwise(given_values)]
    assert found.jitter == (pytest.approx(statistics.fmean(steps) / 1e9, abs=1e-9) if steps else None)


def test_times_of_an_empty_series_are_none() -> None:
    assert times(Series()) == Times()


@given(values, st.floats(0.01, 1))
def test_percentile_is_the_least_value_that_the_share_does_not_exceed(given_values: list[int], share: float) -> None:
    ordered = sorted(given_values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert sum(value < found for value in ordered) < share * len(ordered)


@given(values)
def test_histogram_counts_each_value_once(given_values: list[int]) -> None:
    rows = histogram(given_values)
    assert sum(number for _, number in rows) == len(given_values)
    bounds = [bound for bound, _ in rows]
    assert bounds == sorted(bounds)
    assert bounds[-1] == max(given_values)
    seen = 0
    for bound, number in rows:
        seen += number
        # A value on a bound may fall to either side by rounding.
        assert sum(value <= bound * 0.999999 for value in given_values) <= seen
        assert seen <= sum(value <= bound * 1.000001 for value in given_values)


def test_histogram_without_values_is_empty() -> None:
    assert histogram([]) == []
    assert histogram([7, 7]) == [(7.0, 2)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.00 us"),
        (1.5e-6, "1.50 us"),
        (83.24e-6, "83.2 us"),
        (999.96e-6, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.123, "123 ms"),
        (0.9999, "1.00 s"),
        (75.0, "75.0 s"),
        (-0.25, "-250 ms"),
    ],
)
def test_readable_times_have_three_digits_and_a_unit(seconds: float | None, text: str) -> None:
    assert readable(seconds) == text
