"""The limits of all services together: shared by the processes of netd."""

import os

from netd.shared.daemon_limits import DaemonLimits
from netd.shared.memory import MOST_WORKERS
from netd.values import Rate

RATE = Rate(1, "h", 1)


def test_connections_and_rates_are_the_same_in_every_process() -> None:
    made = DaemonLimits()
    other = DaemonLimits(os.dup(made.descriptor))
    made.active[3] += 2
    assert made.rates.take(b"x", RATE, 5.0)
    assert list(other.active) == [0, 0, 0, 2] + [0] * (MOST_WORKERS - 4)
    assert not other.rates.take(b"x", RATE, 5.0)


def test_clear_removes_the_connections_of_one_worker_alone() -> None:
    limits = DaemonLimits()
    for worker in range(MOST_WORKERS):
        limits.active[worker] = worker
    assert limits.rates.take(b"x", RATE, 5.0)
    limits.clear(MOST_WORKERS - 1)
    assert list(limits.active) == [*range(MOST_WORKERS - 1), 0]
    assert limits.rates.left(b"x", RATE, 5.0) == 0


def test_buckets_and_connections_do_not_overlap() -> None:
    limits = DaemonLimits()
    for number in range(20_000):
        limits.rates.take(number.to_bytes(4), RATE, 5.0)
    assert not any(limits.active)
