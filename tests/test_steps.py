"""Work in steps is done to its end, and returns its value."""

from collections.abc import Generator

import pytest

from netd.steps import finish


def counting(most: int) -> Generator[None, None, list[int]]:
    done = []
    for number in range(most):
        if number == 3:
            raise ValueError("three")
        done.append(number)
        yield
    return done


def test_work_is_done_to_its_end_and_has_its_value() -> None:
    assert finish(counting(0)) == []
    assert finish(counting(3)) == [0, 1, 2]


def test_error_of_a_step_is_that_of_the_work() -> None:
    with pytest.raises(ValueError, match="three"):
        finish(counting(4))
