"""The table of running programs, in memory that several processes map."""

import os
import subprocess
import sys

import pytest

from netd.daemon import running_table
from netd.daemon.running_table import SIZE, STARTING, RunningTable, TableFullError

PROGRAM = 7


def pids(table: RunningTable) -> list[int]:
    return [row.pid for row in table]


def test_program_is_there_from_its_start_to_its_end() -> None:
    table = RunningTable()
    slot = table.begin(PROGRAM, 4711, 5)
    [row] = table
    assert (row.pid, row.program, row.worker, row.start) == (STARTING, PROGRAM, 4711, 5)
    table.note(slot, 99)
    assert pids(table) == [99]
    table.clear(slot)
    assert pids(table) == []


def test_next_launcher_finds_what_runs_and_uses_free_slots() -> None:
    table = RunningTable()
    for pid in (11, 12, 13):
        table.note(table.begin(PROGRAM, 1, pid), pid)
    table.clear(1)
    following = RunningTable(os.dup(table.descriptor))
    assert pids(following) == [11, 13]
    assert following.begin(PROGRAM, 1, 14) == 1
    assert pids(table) == [11, STARTING, 13]


def test_table_has_a_bound() -> None:
    table = RunningTable()
    for start in range(SIZE):
        table.begin(PROGRAM, 1, start)
    with pytest.raises(TableFullError):
        table.begin(PROGRAM, 1, 0)
    table.clear(3)
    assert table.begin(PROGRAM, 1, 0) == 3


def test_other_memory_is_refused() -> None:
    with open(__file__) as other, pytest.raises(ValueError, match="not a sealed memory"):
        RunningTable(os.dup(other.fileno()))


def test_process_that_is_no_child_is_removed() -> None:
    table = RunningTable()
    with subprocess.Popen(["/bin/sleep", "100"]) as child:
        for pid in (1, child.pid, os.getpid(), 2**31 - 1):
            table.note(table.begin(PROGRAM, 1, pid), pid)
        table.begin(PROGRAM, 1, 9)
        table.vouch()
        assert pids(table) == [child.pid, STARTING]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        table.vouch()
        assert pids(table) == [child.pid, STARTING], "it has ended, and was not reaped"
    table.vouch()
    assert pids(table) == [STARTING]


def session_leader() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)


def test_program_that_was_being_started_is_found_among_the_children() -> None:
    table = RunningTable()
    user = os.geteuid()
    with session_leader() as known, subprocess.Popen(["/bin/sleep", "100"]) as in_session:
        table.begin(PROGRAM, 1, 1)
        table.find_started({known.pid}, user)
        assert pids(table) == [STARTING], "there is none"
        with session_leader() as started:
            table.find_started({known.pid}, user + 1)
            assert pids(table) == [STARTING], "it belongs to another user"
            with session_leader() as another:
                table.find_started({known.pid}, user)
                assert pids(table) == [STARTING], "it could be one or the other"
                another.kill()
                another.wait()
            table.find_started({known.pid}, user)
            assert pids(table) == [started.pid]
            started.kill()
        known.kill()
        in_session.kill()


def test_older_process_is_not_taken_for_the_one_that_was_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RunningTable()
    with session_leader() as older:
        monkeypatch.setattr(running_table, "_SLACK", -1e9)  # as if the row were much younger
        table.begin(PROGRAM, 1, 1)
        table.find_started(set(), os.geteuid())
        assert pids(table) == [STARTING]
        older.kill()


def test_memory_that_was_not_used_is_not_touched() -> None:
    script = """
import os
from netd.daemon.running_table import RunningTable
before = int(open("/proc/self/statm").read().split()[2])
tables = [RunningTable() for _ in range(20)]
for table in tables:
    table.begin(1, 1, 1)
print(int(open("/proc/self/statm").read().split()[2]) - before)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(out) <= 20 * 2, "shared pages: one for each table, and its header"
