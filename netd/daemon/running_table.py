"""The programs that a launcher has running, in memory that the launchers of one identity get one after the other.

So a launcher that takes the place of one that was killed knows of each, and nothing that a worker says about it counts:
no worker has this memory. The supervisor has it too; it removes what is not its child (`vouch`).
"""

import contextlib
import os
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from netd.shared.memory import SharedMemory

SIZE = 16_384
"""The most programs of one identity that run at a time."""
STARTING = -1
"""In place of a process id: the launcher was killed as it started this one, which may run."""
_CELLS = 5  # process id, program, worker, start, when it began
_HEADER = 8  # cells
_MICROSECONDS = 1e6
_TICKS = os.sysconf("SC_CLK_TCK")  # in which proc(5) counts when a process began
_SLACK = 0.05  # seconds: ticks are some hundredths


class Row(NamedTuple):
    """A program that runs."""

    slot: int
    pid: int
    program: int
    worker: int
    """The process id of the worker that has asked for it."""
    start: int
    since: float
    """CLOCK_MONOTONIC."""


class TableFullError(Exception):
    """There are `SIZE` programs already."""


class RunningTable:
    """The memory. ``descriptor`` refers to that of another process, which this owns; without it, new memory is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._memory = SharedMemory("netd-running", (_HEADER + SIZE * _CELLS) * 8, descriptor)
        self._cells = self._memory.octets.cast("q")
        self.descriptor = self._memory.descriptor
        self.close_descriptor = self._memory.close_descriptor
        # Slots up to a mark have been used: memory above it is not touched, and so not allocated.
        self._free = [slot for slot in range(self._cells[0]) if not self._cells[self._place(slot)]]

    def begin(self, program: int, worker: int, start: int) -> int:
        """Note that a program is about to be started. Returns its slot. Raises `TableFullError`."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._cells[0]
            if slot >= SIZE:
                raise TableFullError
            self._cells[0] = slot + 1
        place = self._place(slot)
        self._cells[place + 1] = program
        self._cells[place + 2] = worker
        self._cells[place + 3] = start
        self._cells[place + 4] = int(time.monotonic() * _MICROSECONDS)
        self._cells[place] = STARTING
        return slot

    def note(self, slot: int, pid: int) -> None:
        """It runs as this process."""
        self._cells[self._place(slot)] = pid

    def clear(self, slot: int) -> None:
        """It has ended, or was not started."""
        self._cells[self._place(slot)] = 0
        self._free.append(slot)

    def __iter__(self) -> Iterator[Row]:
        for slot in range(min(self._cells[0], SIZE)):
            place = self._place(slot)
            if pid := self._cells[place]:
                program, worker, start, since = self._cells[place + 1 : place + _CELLS]
                yield Row(slot, pid, program, worker, start, since / _MICROSECONDS)

    def vouch(self) -> None:
        """Remove what is not a child of this process: it has ended, and its number may be that of another one.

        For the supervisor, after a launcher has exited: its programs are children of the supervisor then.
        """
        for row in self:
            if row.pid != STARTING and not _is_child(row.pid):
                self._cells[self._place(row.slot)] = 0

    def find_started(self, known: Container[int], user: int) -> None:
        """Find the process of the one program that the launcher was starting when it was killed.

        It is a child of this process, belongs to ``user``, leads a session, is younger than its row, and is not
        ``known``. Where there are several such, none is taken for it.
        """
        rows = [row for row in self if row.pid == STARTING]
        if len(rows) == 1:
            found = [pid for pid in _children() if pid not in known and _could_be(pid, rows[0].since, user)]
            if len(found) == 1:
                self.note(rows[0].slot, found[0])

    def _place(self, slot: int) -> int:
        return _HEADER + slot * _CELLS


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def _could_be(pid: int, since: float, user: int) -> bool:
    """Whether a process could be a program that was started after ``since``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:  # it has ended
        return False
    session, began = int(fields[3]), int(fields[19]) / _TICKS
    return session == pid and owner == user and began >= since - _SLACK


def _is_child(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError, OverflowError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False
