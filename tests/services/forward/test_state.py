"""The state of targets: which one rests, and until when."""

from hypothesis import given
from hypothesis import strategies as st

from netd.services.forward.state import FIRST_REST, LONGEST_REST, Targets
from netd.services.forward.target import Target

URLS = ["tcp://192.0.2.1:80", "tcp://192.0.2.2:80", "tcp://192.0.2.3:80"]
ALL = [0, 1, 2]


def targets(*urls: str) -> Targets:
    return Targets([Target.parse(url) for url in urls or URLS])


def test_target_that_fails_rests_and_is_told_once() -> None:
    some = targets()
    assert some.usable(100.0, ALL) == ALL
    assert some.failed(1, "refused", 100.0)
    assert not some.failed(1, "refused", 100.5), "of a connection that began before"
    assert some.usable(100.9, ALL) == [0, 2]
    assert some.resting(100.9, ALL) == [1]
    assert some.usable(100.0 + FIRST_REST, ALL) == ALL


def test_target_is_tried_by_a_single_connection_after_its_rest() -> None:
    some = targets()
    some.failed(1, "refused", 100.0)
    some.trying(0, 101.0, 5.0)
    some.trying(1, 101.0, 5.0)
    assert some.usable(101.0, ALL) == [0, 2], "it rests for the others, and one that is well does not"
    assert some.succeeded(1)
    assert not some.succeeded(1)
    assert some.usable(101.0, ALL) == ALL
    assert some.failed(1, "refused", 101.0)
    assert some.usable(101.0 + FIRST_REST, ALL) == ALL, "it rests as briefly as the first time"


def test_client_that_leaves_while_it_tries_leaves_it_to_another_one() -> None:
    some = targets()
    some.failed(1, "timeout", 100.0)
    some.trying(1, 101.0, 5.0)
    assert some.usable(105.9, ALL) == [0, 2]
    assert some.usable(106.0, ALL) == ALL


@given(st.integers(1, 20))
def test_rest_doubles_up_to_its_bound(failures: int) -> None:
    some, now = targets(), 100.0
    for _ in range(failures):
        some.trying(1, now, 5.0)
        some.failed(1, "refused", now)
        [rest] = [state.rests_until - now for state in some.states if state.why]
        now += rest
    assert abs(rest - min(FIRST_REST * 2 ** (failures - 1), LONGEST_REST)) < 1e-6


def test_resting_targets_are_in_the_order_of_their_ends() -> None:
    some = targets()
    for number, now in ((0, 100.5), (2, 100.1), (1, 100.3)):
        some.failed(number, "refused", now)
    assert some.resting(101.0, ALL) == [2, 1, 0]
    assert some.usable(101.0, ALL) == []


def test_states_of_the_same_targets_are_continued() -> None:
    before, after = targets(), targets(URLS[2], "tcp://192.0.2.9:80", URLS[0])
    before.failed(0, "refused", 100.0)
    before.opened(2)
    after.take_over(before)
    assert after.usable(100.1, ALL) == [0, 1]
    assert [state.active for state in after.states] == [1, 0, 0]
    before.closed(2)
    assert [state.active for state in after.states] == [0, 0, 0]
