"""The state of targets: which one rests, and until when."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.services.forward.state import FIRST_REST, LONGEST_REST, Targets, number_of, rows_for, text_of
from netd.services.forward.target import Target
from netd.shared.table import Layout, Table
from netd.shared.targets import DOWN, DOWN_SINCE, DOWN_WHY, ROWS, SAID, TargetCells
from tests.shared.fills import FILLS

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
        [rest] = [state.rests_until - now for state in some.states(now) if state.why]
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
    assert after.active() == [1, 0, 0]
    before.closed(2)
    assert after.active() == [0, 0, 0]


def shared(number: int = 2, *urls: str) -> tuple[TargetCells, list[Targets]]:
    """The memory of targets, and the targets as so many workers see them."""
    table = Table(layout=Layout(targets=True))
    workers = []
    for worker in range(number):
        mapped = Table(os.dup(table.descriptor), table.layout)
        mapped.workers = worker + 1
        assert mapped.targets
        one = targets(*urls)
        one.share(mapped.targets, [5, 3, 4], worker)
        workers.append(one)
    assert table.targets
    return table.targets, workers


def test_target_that_a_worker_finds_dead_rests_in_all_until_one_reaches_it() -> None:
    _, (one, other) = shared()
    assert one.failed(1, "refused", 100.0)
    assert not other.failed(1, "refused", 100.0), "it is told by one of them"
    assert other.usable(100.1, ALL) == [0, 2]
    other.trying(1, 101.0, 5.0)
    assert one.usable(101.0, ALL) == [0, 2], "one connection of all workers tries it"
    assert other.succeeded(1)
    assert one.usable(101.0, ALL) == ALL
    assert [state.failures for state in one.states(101.0)] == [0, 2, 0]


def test_connections_of_all_workers_count() -> None:
    memory, (one, other) = shared()
    for some in (one, other, other):
        some.opened(2)
    other.opened(0)
    other.closed(2)
    assert one.active() == other.active() == [1, 0, 2]
    assert [state.served for state in one.states(1.0)] == [1, 0, 3]
    memory.settle({0}, 2)
    assert one.active() == [0, 0, 1], "the other worker has ended"


@pytest.mark.parametrize(("said", "condition"), [(1, "drain"), (2, "disabled"), (7, "disabled"), (-1, "disabled")])
def test_target_that_the_operator_took_out_gets_no_connection(said: int, condition: str) -> None:
    memory, (one, _) = shared()
    one.failed(0, "refused", 100.0)
    for number in (5, 3):  # the rows of the first two targets
        memory.cells[memory.row(number) + SAID] = said
    assert one.usable(100.1, ALL) == [2]
    assert one.resting(100.1, ALL) == []
    assert one.in_service(ALL) == [2]
    assert [state.condition for state in one.states(100.1)] == [condition, condition, "up"]


def test_target_that_a_check_found_down_gets_none_while_there_is_a_check() -> None:
    memory = TargetCells()
    checked = Targets([Target.parse(url) for url in URLS], is_checked=True)
    unchecked = targets()
    for one in (checked, unchecked):
        one.share(memory, ALL, 0)
    row = memory.row(1)
    memory.cells[row + DOWN], memory.cells[row + DOWN_WHY] = 1, number_of("timeout")
    memory.cells[row + DOWN_SINCE] = 99_000_000
    assert checked.usable(100.0, ALL) == [0, 2]
    assert unchecked.usable(100.0, ALL) == ALL
    state = checked.states(100.0)[1]
    assert (state.condition, state.since, state.why) == ("down", 99.0, "timeout")


def test_state_tells_since_when_and_why_a_target_rests() -> None:
    some = targets()
    some.failed(1, "denied", 100.0)
    some.trying(1, 101.0, 5.0)
    some.failed(1, "timeout", 106.0)
    up, resting, _ = some.states(107.0)
    assert (up.condition, up.since, up.why) == ("up", None, "")
    assert (resting.condition, resting.since, resting.why, resting.failures) == ("resting", 100.0, "timeout", 2)


@pytest.mark.parametrize("fill", FILLS)
def test_faulty_worker_can_neither_break_another_one_nor_keep_a_target_out_for_long(fill: bytes) -> None:
    memory, (one, _) = shared()
    octets = memory.cells.cast("B")
    octets[:] = fill * (len(octets) // len(fill))
    for number in range(ROWS):
        memory.cells[memory.row(number) + SAID] = 0  # as the supervisor does once the worker has ended
    assert sorted([*one.usable(100.0, ALL), *one.resting(100.0, ALL)]) == ALL
    assert all(0 <= active <= 2**62 for active in one.active())
    for state in one.states(100.0):
        assert (state.condition, state.since) == ("resting", None)
        assert state.why in ("error", "refused")
    memory.settle({0, 1}, 2)
    one.trying(0, 100.0, 5.0)
    one.failed(0, "refused", 101.0)
    one.succeeded(0)
    one.failed(0, "refused", 102.0)
    assert one.usable(102.0 + FIRST_REST, [0]) == [0]


@given(st.integers(0, 20))
def test_reasons_are_numbers_and_back(number: int) -> None:
    assert text_of(number_of(text_of(number))) == text_of(number)
    assert number_of("something else") == number_of("error")


def test_rows_of_targets_stay_and_new_ones_get_others_that_are_cleared() -> None:
    memory = TargetCells()
    first, second, third = (Target.parse(url) for url in URLS)
    rows = rows_for([first, second], {}, memory)
    assert sorted(rows.values()) == [0, 1]
    column = memory.column(0)
    column[memory.counter(rows[first], 0)] = 2  # its connections go on
    column[memory.counter(rows[first], 1)] = 9
    memory.cells[memory.row(rows[first]) + SAID] = 1
    kept = {second: rows[second]}
    assert rows_for([third, second], kept, memory) == {second: rows[second], third: 2}
    full = {Target("unix", path=f"/{number}"): number for number in range(ROWS) if number != rows[first]}
    again = rows_for([first], full, memory)[first]
    assert again == rows[first]
    assert memory.cells[memory.row(again) + SAID] == 0
    assert [memory.total(again, counter) for counter in range(3)] == [2, 0, 0]
