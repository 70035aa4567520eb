"""The limits of all services together: shared by the processes of netd."""

import os

import pytest

from netd.shared.daemon_limits import DaemonLimits
from netd.shared.memory import MOST_COUNTED, MOST_WORKERS
from netd.values import Rate
from tests.shared.fills import FILLS

RATE = Rate(1, "h", 1)


def test_connections_and_rates_are_the_same_in_every_process() -> None:
    made = DaemonLimits()
    other = DaemonLimits(os.dup(made.descriptor))
    made.active[3] += 2
    assert made.rates.take(b"x", RATE, 5.0)
    assert list(other.active) == [0, 0, 0, 2] + [0] * (MOST_WORKERS - 4)
    assert not other.rates.take(b"x", RATE, 5.0)


def test_settle_keeps_the_connections_of_running_workers_alone() -> None:
    limits = DaemonLimits()
    for worker in range(MOST_WORKERS):
        limits.active[worker] = limits.threads[worker] = worker
    limits.settle({0, 1, MOST_WORKERS - 2})
    assert list(limits.threads) == list(limits.active)
    assert list(limits.active) == [0, 1, *[0] * (MOST_WORKERS - 4), MOST_WORKERS - 2, 0]
    assert limits.connections == MOST_WORKERS - 1


@pytest.mark.parametrize("fill", FILLS)
def test_settle_removes_all_that_a_worker_wrote(fill: bytes) -> None:
    limits = DaemonLimits()
    assert limits.rates.take(b"x", RATE, 5.0)
    limits.octets[:] = fill * (len(limits.octets) // len(fill))
    assert 0 <= limits.connections <= MOST_COUNTED
    limits.settle({0})
    assert not any(limits.octets)
    assert limits.rates.take(b"x", RATE, 5.0)


def test_buckets_and_connections_do_not_overlap() -> None:
    limits = DaemonLimits()
    for number in range(20_000):
        limits.rates.take(number.to_bytes(4), RATE, 5.0)
    assert not any(limits.active)
    assert not any(limits.threads)
