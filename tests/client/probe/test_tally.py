from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.client.probe.outcomes import LOSSES, Outcome
from netd.client.probe.tally import Offset, Series, Tally

nanoseconds = st.integers(0, 10**10)


@given(st.lists(nanoseconds, min_size=1), st.integers(1, 20))
def test_series_keeps_the_last_values_and_counts_all(values: list[int], most: int) -> None:
    series = Series(most)
    for value in values:
        series.add(value)
    assert (series.number, series.sum, series.least, series.most) == (
        len(values),
        sum(values),
        min(values),
        max(values),
    )
    assert series.steps == sum(abs(b - a) for a, b in pairwise(values))
    assert sorted(series.kept()) == sorted(values[-most:])


@pytest.mark.slow
@given(st.data(), st.integers(1, 30), st.integers(1, 40))
def test_questions_are_answered_lost_or_outstanding(data: st.DataObject, number: int, most: int) -> None:
    """The sums hold for any order of events, also when old results are dropped."""
    tally = Tally(most)
    for _ in range(number):
        tally.ask()
        for _ in range(data.draw(st.integers(0, 3))):
            question = data.draw(st.integers(max(0, tally.asked - most), tally.asked - 1))
            if data.draw(st.booleans()):
                tally.answer(question, data.draw(nanoseconds))
            else:
                tally.lose(question, data.draw(st.sampled_from(LOSSES)))
    results = dict(tally.results())
    if number <= most:
        assert list(results) == list(range(number))
        assert tally.received == sum(result >= 0 for result in results.values())
        for outcome in LOSSES:
            assert tally.lost[outcome] == sum(result == outcome for result in results.values())
        waiting = sum(result == Outcome.WAITING for result in results.values())
        assert tally.sent == tally.received + tally.lost.total() + waiting
        tally.abandon()
        assert tally.sent == tally.received + tally.lost.total()
    else:
        assert list(results) == list(range(number - most, number))


@given(st.permutations(range(12)))
def test_overtaken_answers_count_as_reordered(order: list[int]) -> None:
    tally = Tally()
    for _ in order:
        tally.ask()
    for number in order:
        assert tally.answer(number, 5)
    assert tally.reordered == sum(number < max(order[: place + 1]) for place, number in enumerate(order))
    assert tally.duplicated == 0


def test_answers_on_sockets_of_their_own_overtake_none() -> None:
    tally = Tally(in_order=False)
    for _ in range(2):
        tally.ask()
    for number in (1, 0):
        tally.answer(number, 1)
    assert (tally.received, tally.reordered) == (2, 0)


def test_second_answer_is_a_duplicate_and_answer_after_the_timeout_is_late() -> None:
    tally = Tally()
    for _ in range(3):
        tally.ask()
    assert tally.answer(0, 10)
    assert not tally.answer(0, 11)
    tally.lose(1, Outcome.TIMED_OUT)
    assert not tally.answer(1, 12)
    tally.lose(0, Outcome.TIMED_OUT)
    tally.lose(2, Outcome.REFUSED, "why")
    assert (tally.received, tally.duplicated, tally.late, tally.reordered) == (1, 1, 1, 0)
    assert tally.lost == {Outcome.TIMED_OUT: 1, Outcome.REFUSED: 1}
    assert tally.reasons == {Outcome.REFUSED: "why"}
    assert [result for _, result in tally.results()] == [10, Outcome.TIMED_OUT, Outcome.REFUSED]


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 0.5), st.floats(0, 1)), min_size=1, max_size=20),
)
def test_true_offset_is_within_its_margin(ahead: float, asked: list[tuple[float, float, float]]) -> None:
    offset = Offset()
    margins = []
    for sent, took, share in asked:
        offset.add(int((sent + share * took + ahead) // 1), sent, sent + took)
        assert offset.seconds is not None
        assert offset.margin is not None
        assert abs(offset.seconds - ahead) <= offset.margin + 1e-6
        margins.append(offset.margin)
    assert margins == sorted(margins, reverse=True)


def test_offset_begins_anew_after_a_clock_was_set() -> None:
    offset = Offset()
    assert offset.seconds is None
    offset.add(100, 100.5, 100.5)
    offset.add(200, 101.5, 101.5)
    assert offset.seconds == pytest.approx(99)


@pytest.mark.parametrize(("number", "recent"), [(0, []), (2, [0, 1]), (5, [2, 3, 4]), (8, [5, 6, 7]), (10, [7, 8, 9])])
def test_recent_values_are_the_last_ones(number: int, recent: list[int]) -> None:
    series = Series(limit=4)
    for value in range(number):
        series.add(value)
    assert series.recent(3) == recent


def test_last_wrong_answer_is_kept() -> None:
    tally = Tally()
    for wrong in ("expected a, got b", "expected a, got c"):
        tally.corrupt(wrong)
    assert (tally.corrupted, tally.wrong) == (2, "expected a, got c")
