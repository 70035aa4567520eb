"""The counters of each service."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from netd.shared.memory import MOST_COUNTED, MOST_WORKERS
from netd.shared.sources import Sources
from netd.shared.table import CELL, COMMON, SUPERVISOR, Counts, Layout, Role, Table
from tests.shared.fills import FILLS

MINE = bytes([192, 0, 2, 7])
PROGRAMS = Layout(("started", "exited.0", "exited.1"))


def test_table_holds_the_sources_and_the_counters() -> None:
    table = Table()
    table.workers = 2
    assert Table(os.dup(table.descriptor)).workers == 2
    sources = Sources(table.sources, 1)
    assert sources.add(MINE, 1, 2)
    column = table.column(1)
    for name in ("accepted", "accepted", "accepted", "closed.done"):
        column[CELL[name]] += 1
    column[CELL["active"]] = 3  # the worker died between two additions, as a connection ended
    assert table.settle({0}) == 2
    assert sources.add(MINE, 1, 2)
    counts = table.read()
    assert (counts.accepted, counts.active, counts.closed) == (3, 0, {"done": 1, "lost": 2})
    assert table.settle({}) == 0


def test_supervisor_has_a_column() -> None:
    table = Table()
    table.column(SUPERVISOR)[0] += 5
    assert table.read().accepted == 5
    assert table.workers == 0
    assert sum(table.all(CELL["accepted"])) == 0, "the column is no worker's"


@pytest.mark.parametrize("layout", [COMMON, PROGRAMS])
def test_processes_write_to_different_cells_and_cache_lines(layout: Layout) -> None:
    table = Table(layout=layout)
    table.workers = MOST_WORKERS
    table.total_rate[0] = -1
    Sources(table.sources, 0).add(MINE, 1, 1)
    columns = [table.column(process) for process in (*Role, *range(MOST_WORKERS))]
    for number, column in enumerate(columns):
        assert len(column) * column.itemsize % 64 == 0
        column[:] = memoryview(bytes([number] * column.nbytes)).cast("q")
    assert [set(column.tobytes()) for column in columns] == [{number} for number in range(len(columns))]
    assert [len(table.all(cell)) for cell in layout.cells.values()] == [MOST_WORKERS] * len(layout.cells)
    assert bytes(table.all(CELL["active"])) == b"".join(bytes(column[CELL["active"] :][:1]) for column in columns[1:])
    assert (table.workers, table.total_rate[0]) == (MOST_WORKERS, -1)
    assert Sources(table.sources, 1).number(MINE, MOST_WORKERS) == 1


def test_table_is_as_large_as_its_layout() -> None:
    assert len(COMMON.cells) <= COMMON.width < len(COMMON.cells) + 8
    own = Layout(tuple(f"exited.{number}" for number in range(256)))
    table = Table(layout=own)
    assert len(table.column(63)) == own.width >= len(COMMON.cells) + 256
    assert os.fstat(Table().descriptor).st_size < os.fstat(table.descriptor).st_size


def test_counters_of_a_type_follow_the_common_ones_and_are_read_by_name() -> None:
    assert list(PROGRAMS.cells)[: len(CELL)] == list(CELL)
    table = Table(layout=PROGRAMS)
    table.workers = 3
    for process in (0, 2, SUPERVISOR):
        table.column(process)[PROGRAMS.cells["started"]] += 2
        table.column(process)[PROGRAMS.cells["exited.1"]] += 1
        table.column(process)[CELL["accepted"]] += 1
    counts = table.read()
    assert counts == Counts(accepted=3, own=counts.own)
    assert counts.own == {"started": 6, "exited.1": 3}
    assert counts.summary() == {"accepted": 3, "own": {"started": 6, "exited.1": 3}}


@pytest.mark.parametrize("own", [("started", "started"), ("accepted",), ("closed.done",)])
def test_layout_has_each_name_once(own: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names a counter twice"):
        Layout(own)


def test_process_with_the_same_layout_writes_to_the_same_cells() -> None:
    table = Table(layout=PROGRAMS)
    table.workers = 4
    script = """if True:
        import sys
        from netd.shared.table import Layout, Table
        table = Table(int(sys.argv[1]), Layout(("started", *sys.argv[2:])))
        table.column(3)[table.layout.cells["exited.1"]] += 7"""
    for names, status, error in (
        (["exited.0", "exited.1"], 0, ""),
        (["exited.1", "exited.0"], 1, "ValueError: the counters have another layout\n"),
        (["exited.1", *map(str, range(100))], 1, "ValueError: not a sealed memory netd-counters of "),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, str(table.descriptor), *names],
            pass_fds=[table.descriptor],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (done.returncode, error in done.stderr) == (status, True), done.stderr
    assert table.read().own == {"exited.1": 7}


def test_table_is_readable_after_a_worker_wrote_arbitrary_values() -> None:
    table = Table()
    column = table.column(0)
    table.workers = 1
    column[CELL["accepted"]], column[CELL["closed.done"]] = 2**63 - 1, -(2**63)
    assert (table.read().accepted, table.read().closed) == (MOST_COUNTED, {"done": 0})
    table.settle({})
    assert table.read() == Counts()


@pytest.mark.parametrize("fill", FILLS)
def test_settle_removes_all_that_a_worker_wrote(fill: bytes) -> None:
    table = Table()
    table.workers = 2
    table.column(SUPERVISOR)[CELL["refused.backlog"]] = 3
    worker = Table(os.dup(table.descriptor))
    worker.octets[:] = fill * (len(worker.octets) // len(fill))
    assert table.read().refused["backlog"] <= MOST_COUNTED
    assert table.settle({1}) == 0
    assert table.read() == Counts(refused=Counter(backlog=3)), "the supervisor's column is in its own memory"
    assert (table.workers, table.total_rate[0], any(table.all(CELL["active"]))) == (2, 0, False)
    assert table.settle({}) == 0
    assert not any(table.sources)


def test_table_is_signed_again_after_a_worker_overwrote_its_header() -> None:
    table = Table()
    worker = Table(os.dup(table.descriptor))
    worker.octets[:64] = bytes([255] * 64)
    with pytest.raises(ValueError, match="another layout"):
        Table(os.dup(table.descriptor))
    table.settle({})
    Table(os.dup(table.descriptor))
