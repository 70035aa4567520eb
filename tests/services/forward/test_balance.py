"""Balance: the order in which targets are tried."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netd.services.forward.balance import Balance, ordered, ranks_for

NUMBERS = st.lists(st.integers(0, 20), unique=True).map(sorted)
ACTIVE = st.lists(st.integers(0, 5), min_size=21, max_size=21)
BALANCES: tuple[Balance, ...] = ("round_robin", "least", "source", "first")


@given(st.sampled_from(BALANCES), NUMBERS, st.integers(0, 1000), ACTIVE, st.text())
def test_each_usable_target_is_tried_once(
    balance: Balance, usable: list[int], turn: int, active: list[int], source: str
) -> None:
    ranks = ranks_for(source, [str(number) for number in range(21)])
    assert sorted(ordered(balance, usable, turn, active, ranks)) == usable


@given(NUMBERS.filter(bool), st.integers(0, 1000))
def test_each_target_is_first_once_in_a_round(usable: list[int], turn: int) -> None:
    firsts = [ordered("round_robin", usable, turn + number, (), ())[0] for number in range(len(usable))]
    assert sorted(firsts) == usable


@given(NUMBERS.filter(bool), ACTIVE, st.integers(0, 1000))
def test_target_with_the_fewest_connections_is_first(usable: list[int], active: list[int], turn: int) -> None:
    order = [active[number] for number in ordered("least", usable, turn, active, ())]
    assert order == sorted(order)


def test_targets_with_as_many_connections_take_turns() -> None:
    firsts = Counter(ordered("least", [0, 1, 2], turn, [4, 4, 9], ())[0] for turn in range(300))
    assert set(firsts) == {0, 1}
    assert min(firsts.values()) >= 100


@given(NUMBERS.filter(lambda numbers: len(numbers) > 1), st.text(), st.integers(0, 1000))
def test_source_keeps_its_target_unless_that_one_is_left_out(usable: list[int], source: str, turn: int) -> None:
    ranks = ranks_for(source, [f"tcp://192.0.2.{number}:80" for number in range(21)])
    order = ordered("source", usable, turn, (), ranks)
    assert ordered("source", usable[1:], turn + 1, (), ranks) == [one for one in order if one != usable[0]]


def test_sources_are_spread_over_the_targets() -> None:
    targets = [f"tcp://192.0.2.{number}:80" for number in range(4)]
    firsts = Counter(
        ordered("source", range(4), 0, (), ranks_for(f"198.51.100.{source}", targets))[0] for source in range(256)
    )
    assert len(firsts) == 4
    assert min(firsts.values()) > 30
