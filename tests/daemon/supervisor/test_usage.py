"""What is told of a program, and of no other process."""

import os
import subprocess
import sys

from netd.daemon.supervisor.usage import usage_of
from tests.support.waiting import until

BUSY = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"


def child(code: str, *, leads: bool = True) -> subprocess.Popen[bytes]:
    """A program in Python, which leads a process group."""
    command, group = [sys.executable, "-c", code], 0 if leads else None
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=group)


def finish(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n")


def test_program_of_a_launcher_has_its_processor_time_and_memory() -> None:
    process = child(BUSY, leads=False)
    assert process.stdout
    process.stdout.readline()
    usage = usage_of(process.pid, {os.getpid()})
    assert 0.15 < usage["cpu_seconds"] < 5
    assert 2**20 < usage["memory_bytes"] < 2**30
    finish(process)
    assert usage_of(process.pid, {os.getpid()}) == {}


def test_program_of_a_launcher_that_has_exited_leads_a_process_group() -> None:
    leader, other = child("input()"), child("input()", leads=False)
    until(lambda: usage_of(leader.pid, set()).keys() == {"cpu_seconds", "memory_bytes"})
    assert usage_of(other.pid, set()) == {}
    finish(leader)
    finish(other)


def test_other_processes_are_not_described() -> None:
    process = child("import os; os.fork() or input(); input()")
    for pid in (1, os.getpid(), os.getppid(), process.pid, 0, 2**31):
        assert usage_of(pid, {process.pid}) == {} or pid == process.pid
    finish(process)
