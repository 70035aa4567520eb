"""The slots of threads: as many as the config says, over all workers, services and reloads."""

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.admission.threads import ThreadSlots
from netd.shared.daemon_limits import DaemonLimits
from netd.shared.table import Table


@pytest.fixture
def table() -> Table:
    made = Table()
    made.workers = 2
    return made


def of_worker(number: int, limits: DaemonLimits, most: int = 100) -> DaemonAdmission:
    return DaemonAdmission(limits, number, threads=most)


def test_slots_of_a_service_are_as_many_as_its_limit_in_all_workers(table: Table) -> None:
    limits = DaemonLimits()
    first, second = (ThreadSlots(3, table, of_worker(number, limits)) for number in range(2))
    assert [first.acquire(), second.acquire(), first.acquire()] == [True] * 3
    assert [bool(first), first.acquire(), second.acquire(), second.taken] == [False, False, False, 3]
    second.release()
    assert [bool(first), bool(second), first.acquire(), second.acquire()] == [True, True, True, False]
    for _ in range(3):
        first.release()
    assert (first.taken, sum(limits.threads)) == (0, 0)


def test_slots_of_all_services_are_as_many_as_the_daemon_has(table: Table) -> None:
    other = Table()
    other.workers = 2
    limits = DaemonLimits()
    first, second = ThreadSlots(10, table, of_worker(0, limits, 3)), ThreadSlots(10, other, of_worker(1, limits, 3))
    assert [first.acquire(), second.acquire(), second.acquire()] == [True] * 3
    assert [bool(first), first.acquire(), second.acquire(), first.taken] == [False, False, False, 1]
    assert first.usage == (("limits.threads", 1, 10), ("daemon.threads", 3, 3))
    second.release()
    assert first.acquire()


def test_slots_of_a_changed_service_count_the_threads_of_the_old_ones(table: Table) -> None:
    shared = of_worker(0, DaemonLimits())
    old = ThreadSlots(3, table, shared)
    assert [old.acquire() for _ in range(3)] == [True] * 3
    smaller, larger = ThreadSlots(2, table, shared), ThreadSlots(4, table, shared)
    assert [smaller.acquire(), larger.acquire(), larger.acquire()] == [False, True, False]
    for _ in range(3):
        old.release()
    assert [smaller.acquire(), smaller.acquire()] == [True, False]


def test_slot_that_was_not_taken_cannot_be_released(table: Table) -> None:
    with pytest.raises(AssertionError):
        ThreadSlots(3, table, of_worker(0, DaemonLimits())).release()


def test_threads_of_a_worker_that_has_ended_are_free(table: Table) -> None:
    limits = DaemonLimits()
    ended, running = (ThreadSlots(3, table, of_worker(number, limits)) for number in range(2))
    assert [ended.acquire(), ended.acquire(), running.acquire(), running.acquire()] == [True] * 3 + [False]
    table.settle({1})
    limits.settle({1})
    assert (running.taken, sum(limits.threads)) == (1, 1)
