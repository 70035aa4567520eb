"""One run for all askers, and for how long its result stands."""

import pytest

from netd.contract import LOST, Finished
from netd.services.check.runs import Result, Runs
from netd.testing import script
from tests.services.check.program import Program


def test_fifty_askers_cost_one_run() -> None:
    program = Program()
    check = program.check(answer="text")
    askers = [script(check).waits() for _ in range(50)]
    program.end(output=b"fine\n")
    for asker in askers:
        asker.sends(b"fine\r\n").ends()
    script(check).sends(b"fine\r\n").ends()
    assert len(program.starts) == 1


def test_result_stands_for_as_long_as_it_is_cached() -> None:
    program = Program()
    check = program.check(answer="text", cache="2s")
    asker = script(check).waits()
    program.now += 5  # counts from the end of the run
    program.end(output=b"first\n")
    asker.sends(b"first\r\n").ends()
    program.now += 1.9
    script(check).sends(b"first\r\n").ends()
    program.now += 0.1
    asker = script(check).waits()
    program.end(output=b"second\n")
    asker.sends(b"second\r\n").ends()
    assert len(program.starts) == 2


def test_stale_result_is_sent_only_while_a_new_run_is_under_way() -> None:
    program = Program()
    check = program.check(answer="text", cache="2s", stale="10s")
    first = script(check).waits()  # there is no older result
    program.end(output=b"first\n")
    first.sends(b"first\r\n").ends()
    program.now += 10
    script(check).sends(b"first\r\n").ends()
    script(check).sends(b"first\r\n").ends()
    assert len(program.starts) == 2
    program.now += 0.1
    late = script(check).waits()
    program.end(output=b"second\n")
    late.sends(b"second\r\n").ends()
    script(check).sends(b"second\r\n").ends()
    assert len(program.starts) == 2


@pytest.mark.parametrize("stale", ["off", "1h"])
def test_clock_that_is_set_back_makes_no_result_stand_for_longer(stale: str) -> None:
    program = Program()
    check = program.check(answer="text", stale=stale)
    asker = script(check).waits()
    program.end(output=b"first\n")
    asker.sends(b"first\r\n").ends()
    program.now -= 3600
    asker = script(check).waits()
    program.end(output=b"second\n")
    asker.sends(b"second\r\n").ends()
    script(check).sends(b"second\r\n").ends()


def test_run_goes_on_for_others_when_its_asker_hangs_up() -> None:
    program = Program()
    check = program.check(answer="text")
    first, second = script(check).waits(), script(check).waits()
    first.receives_reset()
    assert len(check._runs._waits) == 1
    program.end(output=b"fine\n")
    second.sends(b"fine\r\n").ends()


def test_run_is_cached_when_all_of_its_askers_have_hung_up() -> None:
    program = Program()
    check = program.check(answer="text")
    script(check).waits().receives_reset()
    assert not check._runs._waits
    program.end(output=b"fine\n")
    script(check).sends(b"fine\r\n").ends()
    assert len(program.starts) == 1


def test_asker_gets_the_result_it_waited_for_also_when_that_is_old_by_then() -> None:
    program = Program()
    check = program.check(answer="text", cache="100ms")
    asker = script(check).waits()
    program.end(output=b"fine\n")
    program.now += 1
    asker.sends(b"fine\r\n").ends()


def test_program_with_an_unknown_end_runs_once_more_and_no_more() -> None:
    program = Program()
    check = program.check(answer="text")
    asker = script(check).waits()
    program.end(None, b"half", error=LOST)
    asker.waits()
    program.end(output=b"fine\n")
    asker.sends(b"fine\r\n").ends()
    assert len(program.starts) == 2
    program.now += 2
    asker = script(check).waits()
    program.end(None, error=LOST)
    program.end(None, error=LOST)
    asker.sends(b"unknown\r\n").ends()
    assert len(program.starts) == 4


def test_start_that_fails_leaves_no_run_to_wait_for() -> None:
    faults = [RuntimeError("no program"), RuntimeError("no program")]

    def start(ended: object) -> None:
        raise faults.pop()

    runs = Runs(start, lambda: 0.0, 2.0, None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no program"):
            next(runs.latest())
    assert not faults


def test_age_of_a_result() -> None:
    assert Result(Finished(0, b""), 5.0).age(7.0) == 2.0
