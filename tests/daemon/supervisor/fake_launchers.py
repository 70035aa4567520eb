"""Launchers without processes, beside the fake workers of a pool."""

from typing import Any

from netd.daemon.messages import to_launcher
from netd.daemon.messages.to_launcher import Program
from netd.daemon.supervisor.launchers import Launcher, LauncherPool, ProgramEntry
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.privileges import RunAs
from netd.telemetry.daemon_events import DaemonEvents
from tests.daemon.fakes import Behaviour, Pool, Worker, succeed

NOBODY, DAEMON = RunAs("nobody", 65534, 65534), RunAs("daemon", 1, 1)


class FakeLauncher(Worker):
    """A launcher without a process."""

    decode = staticmethod(to_launcher.decode)


class Launched:
    """Launchers beside the workers of a pool."""

    def __init__(self, made: Pool) -> None:
        self.loop = made.loop
        self.pool = made
        self.behaviour: Behaviour = succeed
        self.forked: list[FakeLauncher] = []
        self.launchers = LauncherPool(
            made.tasks, made.loop, DaemonEvents(), made.pool.requests, self._fork, lambda: made.pool.all_workers
        )

    def _fork(self, number: int, run_as: RunAs) -> WorkerProcess:
        one = FakeLauncher(number, 9000 + len(self.forked), self.loop, self.behaviour)
        one.exited = self.launchers.reap
        self.forked.append(one)
        return one

    def add(self, run_as: RunAs, *programs: Program) -> Launcher:
        result = self.pool.tasks.start(self.launchers.add(run_as, [ProgramEntry(one) for one in programs]))
        self.loop.settle()
        return result.get()

    @property
    def running(self) -> list[Any]:
        return self.launchers.processes
