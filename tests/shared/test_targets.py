"""The memory of the state of targets."""

import os

import pytest

from netd.shared import targets
from netd.shared.memory import MOST_COUNTED, MOST_WORKERS
from netd.shared.table import COMMON, Layout, Table
from netd.shared.targets import ACTIVE, FAILURES, ROW, ROWS, SERVED, TargetCells
from tests.shared.fills import FILLS

LAYOUT = Layout(targets=True)


def cells_of(table: Table) -> TargetCells:
    assert table.targets is not None
    return table.targets


def test_table_has_targets_where_its_layout_says_so() -> None:
    assert Table().targets is None
    table = Table(layout=LAYOUT)
    with pytest.raises(ValueError, match="not a sealed memory netd-counters"):
        Table(os.dup(table.descriptor), COMMON)
    worker = cells_of(Table(os.dup(table.descriptor), LAYOUT))
    worker.cells[worker.row(7)] = 3
    assert cells_of(table).cells[cells_of(table).row(7)] == 3
    assert not any(table.sources)


def test_rows_and_columns_do_not_overlap() -> None:
    table = Table(layout=LAYOUT)
    memory = cells_of(table)
    assert len(memory.cells) == targets.CELLS
    for worker in range(MOST_WORKERS):
        column = memory.column(worker)
        for number in range(ROWS):
            for counter in (ACTIVE, SERVED, FAILURES):
                column[memory.counter(number, counter)] += 1
    for number in range(ROWS):
        row = memory.row(number)
        assert not any(memory.cells[row : row + ROW])
    table.workers = MOST_WORKERS
    assert memory.total(ROWS - 1, FAILURES) == memory.total(0, ACTIVE) == MOST_WORKERS


@pytest.mark.parametrize("workers", [-1, 0, 1, 2, 2**40])
def test_counter_is_the_sum_over_the_workers_that_the_header_names(workers: int) -> None:
    table = Table(layout=LAYOUT)
    memory = cells_of(table)
    for worker in range(MOST_WORKERS):
        memory.column(worker)[memory.counter(1, SERVED)] = 1
    table.octets[16:24] = workers.to_bytes(8, "little", signed=True)
    assert memory.total(1, SERVED) == min(max(workers, 1), MOST_WORKERS)


@pytest.mark.parametrize("fill", FILLS)
def test_settle_removes_the_counters_that_a_worker_wrote(fill: bytes) -> None:
    table = Table(layout=LAYOUT)
    table.workers = 2
    memory = cells_of(table)
    octets = memory.cells.cast("B")
    octets[:] = fill * (len(octets) // len(fill))
    assert 0 <= memory.total(0, ACTIVE) <= MOST_COUNTED
    table.settle({0})
    assert not any(memory.cells[ROWS * ROW :])


def test_settle_keeps_the_connections_of_running_workers() -> None:
    table = Table(layout=LAYOUT)
    table.workers = 2
    memory = cells_of(table)
    for worker in range(2):
        memory.column(worker)[memory.counter(3, ACTIVE)] = 4
        memory.column(worker)[memory.counter(3, SERVED)] = 9
    table.settle({1})
    assert (memory.total(3, ACTIVE), memory.total(3, SERVED)) == (4, 18)
