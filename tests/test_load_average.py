"""The load average of this host."""

import os

import pytest

from netd import load_average
from netd.load_average import LoadAverage
from tests.support.waiting import until


def test_load_average_is_that_of_the_host() -> None:
    """Between two readings the kernel may compute it anew."""

    def same() -> bool:
        before = os.getloadavg()[0]
        found = LoadAverage()(0.0)
        return before == os.getloadavg()[0] and abs(found - before) <= 0.011  # in /proc it has two places

    until(same)


def test_load_average_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1.0, 2.0, 3.0]
    monkeypatch.setattr(load_average, "_read", lambda: values.pop(0))
    load = LoadAverage()
    assert [load(now) for now in (5.0, 5.9, 6.0, 6.9, 100.0)] == [1.0, 1.0, 2.0, 2.0, 3.0]
