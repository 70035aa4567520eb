"""The programs that run: how many of each service, when they are ended, and what is said of their end."""

import contextlib
import errno
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from select import EPOLLIN
from time import monotonic

from netd.contract import End
from netd.daemon.launcher import spawn
from netd.daemon.messages.to_launcher import Program
from netd.daemon.resource_limits import open_above_limit
from netd.daemon.running_table import SIZE, STARTING, Row, RunningTable, TableFullError
from netd.peer import Peer
from netd.transport.loop import Loop, Timer

_PROCESS_GROUP = 1 << 2  # PIDFD_SIGNAL_PROCESS_GROUP, linux/pidfd.h


@dataclass(eq=False, slots=True)
class Running:
    """A program that runs."""

    program: Program
    pid: int
    about: Peer | str
    """The peer, or its text."""
    started: float
    """CLOCK_MONOTONIC."""
    ended: Callable[["Running", End], None]
    pidfd: int = -1
    """Only where another launcher has started it."""
    slot: int | None = None
    """Its slot in the table of those that run; None for one with a listener."""
    timer: Timer | None = None

    @property
    def peer(self) -> str:
        """The peer as text."""
        return self.about if isinstance(self.about, str) else self.about.remote

    errors: int = 0
    """The inode of the pipe that is its standard error, where netd logs that."""
    errors_read_by: int = -1
    """The worker that reads it."""
    is_owned: bool = True
    """Whether a worker waits for its end."""
    is_ending: bool = False
    timed_out: bool = False


class Programs:
    """The programs that this launcher knows, and those that run. ``on_empty`` is called when the last one has ended."""

    def __init__(self, loop: Loop, on_empty: Callable[[], object]) -> None:
        self.known: dict[int, Program] = {}
        """By number."""
        self._loop = loop
        self._on_empty = on_empty
        self._running: dict[int, Running] = {}  # by process id
        self._number: Counter[str] = Counter()  # by service
        self._own_peak = 0  # as last known, in kibibytes
        self._ending = 0  # of those that run, how many were told to end
        self._table = RunningTable()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._running.values()))

    def __contains__(self, running: Running) -> bool:
        """Whether this one has not ended."""
        return self._running.get(running.pid) is running

    def is_full(self, program: Program) -> bool:
        """Whether as many programs of the service run as `limits.connections` says."""
        return program.connections is not None and self._number[program.service] >= program.connections

    def is_ending(self, service: str) -> bool:
        """Whether a program with a listener of the service was told to end, and has not."""
        return any(
            running.is_ending and running.program.service == service and running.program.gives == "listener"
            for running in self._running.values()
        )

    def start(
        self,
        program: Program,
        about: Peer | str,
        facts: Mapping[str, str],
        descriptors: Sequence[int],
        ended: Callable[[Running, End], None],
        worker: int,
        start: int,
    ) -> Running:
        """Start a program (`spawn.start`) for this start of a worker. ``ended`` is called at its end.

        Raises `spawn.StartError`.
        """
        try:
            slot = self._table.begin(program.number, worker, start)
        except TableFullError:
            raise spawn.StartError(f"{SIZE} programs of this user run already", is_shortage=True) from None
        try:
            pid = spawn.start(program, facts, descriptors)
        except spawn.StartError:
            self._table.clear(slot)
            raise
        self._table.note(slot, pid)
        return self._add(Running(program, pid, about, monotonic(), ended, slot=slot))

    def start_listener(
        self,
        program: Program,
        descriptors: Sequence[int],
        ended: Callable[[Running, End], None],
        listener: int,
        forked: Callable[[int], object],
    ) -> Running:
        """Start a program that gets a listening socket (`spawn.start`). Raises `spawn.StartError`."""
        pid = spawn.start(program, {}, descriptors, listener, forked)
        return self._add(Running(program, pid, "", monotonic(), ended))

    def take_over(
        self, table: RunningTable, ended: Callable[[Running, End], None]
    ) -> Iterator[tuple[Row, Running | None]]:
        """Keep the programs in the table of another launcher, and use that from now on. None: it may run, or not."""
        self._table = table
        for row in list(table):
            program = self.known.get(row.program)
            pidfd = -1
            if row.pid != STARTING and program:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = open_above_limit(partial(os.pidfd_open, row.pid))
            if program and pidfd >= 0:
                yield row, self.adopt(program, row.pid, pidfd, row.since, ended, row.slot)
            else:
                table.clear(row.slot)
                yield row, None

    def adopt(
        self,
        program: Program,
        pid: int,
        pidfd: int,
        since: float,
        ended: Callable[[Running, End], None],
        slot: int | None = None,
    ) -> Running:
        """Keep a program that another launcher has started. The ``pidfd`` is closed at its end."""
        running = self._add(Running(program, pid, "", since, ended, pidfd, slot, is_owned=False))
        self._loop.watch(pidfd, EPOLLIN, lambda mask: self._on_adopted_end(running))
        return running

    def _on_adopted_end(self, running: Running) -> None:
        if running.is_ending:
            _signal(running, signal.SIGKILL)  # the rest of its group, as of a child
        self._on_end(running, _unknown_end(running))

    def _add(self, running: Running) -> Running:
        self._running[running.pid] = running
        self._number[running.program.service] += 1
        if (lifetime := running.program.lifetime) is not None:
            left = max(0.0, running.started + lifetime - monotonic())
            running.timer = self._loop.later(left, lambda: self._on_lifetime(running))
        return running

    def _on_lifetime(self, running: Running) -> None:
        running.timed_out = True
        running.timer = None
        self.end(running)

    def end(self, running: Running) -> None:
        """End a program: its stop signal to the process group, later SIGKILL. A second call does nothing."""
        if running.is_ending or running.pid not in self._running:
            return
        running.is_ending = True
        self._ending += 1
        if running.timer:
            self._loop.wheel.drop(running.timer)
        _signal(running, running.program.stop_signal)
        _signal(running, signal.SIGCONT)  # a stopped process would not handle it
        running.timer = self._loop.later(running.program.stop_after, lambda: _signal(running, signal.SIGKILL))

    def reap(self) -> None:
        """Handle the ends of all programs that have ended. Called at SIGCHLD."""
        with contextlib.suppress(ChildProcessError):  # there are no children
            while next_one := self._next_to_reap() if self._ending else -1:
                pid, status, usage = os.wait4(next_one, os.WNOHANG)
                if not pid:
                    return
                if running := self._running.get(pid):
                    code = os.waitstatus_to_exitcode(status)
                    used = usage.ru_utime, usage.ru_stime, self._peak(usage.ru_maxrss)
                    self._on_end(running, End(code, monotonic() - running.started, *used, running.timed_out))

    def _peak(self, resident: int) -> int:
        """The most memory of a program, in octets. 0: less than this process has, which execve(2) counts for it too."""
        if resident > self._own_peak:
            self._own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return resident * 1024 if resident > self._own_peak else 0

    def _next_to_reap(self) -> int:
        """A program that has ended; 0: none has. Kill the rest of its group, if it was told to end.

        The group has had the signal too. This comes before its number may be used again.
        """
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return 0
        running = self._running.get(found.si_pid)
        if running and running.is_ending:
            _signal(running, signal.SIGKILL)
        return found.si_pid

    def _on_end(self, running: Running, end: End) -> None:
        del self._running[running.pid]
        self._number[running.program.service] -= 1
        self._ending -= running.is_ending
        if running.timer:
            self._loop.wheel.drop(running.timer)
        if running.slot is not None:
            self._table.clear(running.slot)
        if running.pidfd >= 0:
            self._loop.unwatch(running.pidfd)
            os.close(running.pidfd)
        running.ended(running, end)
        if not self._running:
            self._on_empty()


def _signal(running: Running, number: int) -> None:
    """Send a signal to the process group.

    The number of a child of this process is not reused before it is reaped here. That of a program of another launcher
    may be: the supervisor reaps it. So there the signal goes to what the pidfd means; by the number only before Linux
    6.9, and if it has not been reaped a moment before.
    """
    with contextlib.suppress(OSError):
        if running.pidfd < 0:
            return os.killpg(running.pid, number)
        try:
            signal.pidfd_send_signal(running.pidfd, number, None, _PROCESS_GROUP)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            signal.pidfd_send_signal(running.pidfd, 0)
            os.killpg(running.pid, number)


def _unknown_end(running: Running) -> End:
    return End(None, monotonic() - running.started, 0.0, 0.0, 0, running.timed_out)
