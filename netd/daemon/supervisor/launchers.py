"""The launchers: one for each identity that programs run as. Starts them, replaces those that exit, connects workers.

A launcher is no worker: it reads nothing from the network. It is asked and watched as one (`requests.py`).
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from netd.daemon.channel import ProtocolError, pair
from netd.daemon.messages.from_supervisor import ConnectLauncher, Heartbeat, Request, SyncPrograms
from netd.daemon.messages.from_worker import Failed, ListenerHeld, R
from netd.daemon.messages.to_launcher import (
    AddPrograms,
    AddWorker,
    EndAll,
    EndPrograms,
    Listen,
    Program,
    RemovePrograms,
    TakeOver,
)
from netd.daemon.privileges import adopt_orphans
from netd.daemon.resource_limits import described
from netd.daemon.running_table import RunningTable
from netd.daemon.supervisor.backoff import Losses
from netd.daemon.supervisor.listener_holders import Holder
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT, Requests
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess, how_it_ended
from netd.daemon.tasks import Result, Tasks
from netd.privileges import RunAs
from netd.telemetry.daemon_events import DaemonEvents
from netd.text import printable
from netd.transport.listener import Listener
from netd.transport.loop import Loop


@dataclass(frozen=True)
class ProgramEntry:
    """A program of the config in force, and the listener that it gets, if it gets one."""

    program: Program
    listener: Listener | None = None


@dataclass(eq=False)
class Launcher:
    """A launcher, in the supervisor: a process, and what the next one in its place has to know."""

    number: int
    run_as: RunAs
    programs: dict[int, ProgramEntry] = field(default_factory=dict)
    listening: set[int] = field(default_factory=set)
    """The programs with listeners that are in force."""
    holders: dict[int, Holder] = field(default_factory=dict)
    """The programs with listeners that run, by number, also those that were removed."""
    removed: dict[int, ProgramEntry] = field(default_factory=dict)
    """Those that were removed, as long as one of them may run."""
    deadlines: dict[int, float] = field(default_factory=dict)
    """When what runs of them is ended, by number (CLOCK_MONOTONIC)."""
    table: RunningTable = field(default_factory=RunningTable)
    """What runs, but for programs with listeners."""
    process: WorkerProcess | None = None
    starting: Result[None] | None = None
    """The start under way."""
    losses: Losses = field(default_factory=Losses)


class LauncherPool:
    """The launchers. ``fork`` starts the process of one, ``workers`` lists the workers that they start programs for."""

    def __init__(
        self,
        tasks: Tasks,
        loop: Loop,
        events: DaemonEvents,
        requests: Requests,
        fork: Callable[[int, RunAs], WorkerProcess],
        workers: Callable[[], Iterable[WorkerProcess]],
    ) -> None:
        self._tasks = tasks
        self._loop = loop
        self._events = events
        self._requests = requests
        self._fork = fork
        self._workers = workers
        self._numbers = itertools.count(1)
        self._launchers: dict[RunAs, Launcher] = {}
        self._processes: dict[int, tuple[Launcher, WorkerProcess]] = {}  # by process id, all that were not reaped
        self._lost: set[Launcher] = set()  # those that are to be replaced after a delay
        self._last_order = EndAll(leave=False, wait=True)
        self.is_stopping = False
        """Whether the launchers exit after their last program."""

    @property
    def processes(self) -> list[WorkerProcess]:
        """The processes of all launchers."""
        return [process for _, process in self._processes.values()]

    def __bool__(self) -> bool:
        """Whether a launcher is left, or one is to be replaced."""
        return bool(self._processes or self._lost)

    async def add(self, run_as: RunAs, entries: Sequence[ProgramEntry]) -> Launcher:
        """Have a launcher of this identity know these programs. Raises `WorkerError` if it cannot."""
        launcher = self._launchers.get(run_as)
        if launcher is None:
            launcher = Launcher(next(self._numbers), run_as)
            self._launchers[run_as] = launcher
        added = {entry.program.number: entry for entry in entries}
        launcher.programs |= added
        try:
            if launcher.process is None:
                await self._started(launcher)  # with all its programs
            else:
                await self._add_programs(launcher, list(added.values()))
        except WorkerError:
            self.remove(launcher, added)
            raise
        return launcher

    def end(self, launcher: Launcher, programs: list[int], seconds: float) -> None:
        """End what runs of these programs after so many seconds."""
        launcher.deadlines.update(dict.fromkeys(programs, time.monotonic() + seconds))
        if launcher.process:
            self._requests.send(EndPrograms(programs, seconds), [launcher.process])

    def end_all(self, seconds: float) -> None:
        """End all programs after so many seconds."""
        self._requests.send(EndPrograms(None, seconds), self.processes)

    def remove(self, launcher: Launcher, programs: Iterable[int]) -> None:
        """Have a launcher start none of these programs any more. Without programs, it exits after the last one."""
        removed = {number: entry for number in programs if (entry := launcher.programs.pop(number, None))}
        launcher.removed.update(removed)
        launcher.listening.difference_update(removed)
        self._end_listening(launcher, list(removed))
        if not launcher.programs:
            del self._launchers[launcher.run_as]
            if launcher.process:
                self._requests.send(EndAll(leave=False, wait=True), [launcher.process])
            elif launcher.starting is None or launcher.starting.done:
                self._release_unless_needed(launcher)

    def _release_unless_needed(self, launcher: Launcher) -> bool:
        """Close the channels of a launcher that has nothing to start, if no program of it runs.

        Returns whether it is needed.
        """
        launcher.table.vouch()
        running = {row.program for row in launcher.table} | launcher.holders.keys()
        launcher.removed = {number: entry for number, entry in launcher.removed.items() if number in running}
        if self._launchers.get(launcher.run_as) is launcher or running:
            return True
        for worker in self._workers():
            worker.close_channel(launcher.number)
        launcher.table.close_descriptor()
        return False

    def listen(self, launcher: Launcher, programs: list[int]) -> None:
        """Have these programs, which have listeners, be started when something comes."""
        launcher.listening.update(programs)
        if launcher.process:
            self._requests.send(Listen(programs), [launcher.process])

    def require(self, process: WorkerProcess, notice: object) -> None:
        """Raise `ProtocolError` for a notice of launchers that a worker has sent."""
        if process.pid not in self._processes:
            raise ProtocolError(f"{type(notice).__name__}, which a worker does not send")

    def on_held(self, process: WorkerProcess, notice: ListenerHeld) -> None:
        """Remember which process has a listener. Raises `ProtocolError` if a worker has sent this."""
        self.require(process, notice)
        launcher, _ = self._processes[process.pid]
        if before := launcher.holders.pop(notice.program, None):
            before.ended.set(None)
        entry = launcher.programs.get(notice.program) or launcher.removed.get(notice.program)
        if notice.pid and entry:
            launcher.holders[notice.program] = Holder(notice.pid, entry.program, time.monotonic())

    async def end_listening(self, launcher: Launcher, programs: list[int]) -> None:
        """Remove programs with listeners, and wait until none of them runs any more.

        It returns in any case soon after the last one should have got SIGKILL.
        """
        self.remove(launcher, programs)
        if launcher.process:
            await self._requests.ask(Heartbeat(), [], [launcher.process])  # of one that it starts just now it has told
        for holder in [one for number in programs if (one := launcher.holders.get(number))]:
            late = self._loop.later(holder.program.stop_after + RESPONSE_TIMEOUT, partial(holder.ended.set, None))
            await holder.ended
            self._loop.wheel.drop(late)

    def _end_listening(self, launcher: Launcher, programs: list[int]) -> None:
        """Have a launcher end programs with listeners. What a launcher that has exited has left is ended here."""
        if launcher.process:
            self._requests.send(RemovePrograms(programs), [launcher.process])
            return
        for number in programs:
            if holder := launcher.holders.get(number):
                self._end_orphan(launcher, holder)

    def _end_orphan(self, launcher: Launcher, holder: Holder) -> None:
        holder.end_orphan(self._loop, lambda: launcher.holders.pop(holder.program.number, None))

    async def sync_worker(self, worker: WorkerProcess) -> None:
        """Connect a new worker with all launchers. Raises `WorkerError` if it cannot be."""
        for launcher in list(self._launchers.values()):
            await self._connect(launcher, worker)

    def _started(self, launcher: Launcher) -> Result[None]:
        """The result of the start of a launcher, which is begun unless it is under way."""
        if launcher.starting is None or launcher.starting.done:
            launcher.starting = self._tasks.start(self._start(launcher))
        return launcher.starting

    async def _start(self, launcher: Launcher) -> None:
        """Start the process of a launcher, with its programs, and connect it. Raises `WorkerError` if that fails."""
        run_as = launcher.run_as
        adopt_orphans()  # the programs of a launcher that exits, which another one looks after
        process = self._fork(launcher.number, launcher.run_as)
        process.user = launcher.run_as.name
        self._processes[process.pid] = launcher, process
        self._requests.watch(process)
        try:
            await self._require(Heartbeat(), [], process)
            launcher.process = process
            self._release_unless_needed(launcher)
            launcher.table.find_started(self._known(), os.geteuid() if run_as.user is None else run_as.user)
            await self._add_programs(launcher, [*launcher.programs.values(), *launcher.removed.values()])
            await self._require(TakeOver(), [launcher.table.descriptor], process)
            if launcher.removed:
                self._requests.send(RemovePrograms(list(launcher.removed)), [process])
            for number, deadline in launcher.deadlines.items():
                seconds = max(0.0, deadline - time.monotonic())
                self._requests.send(EndPrograms([number], seconds), [process])
            self._requests.send(Listen(sorted(launcher.listening)), [process])
            for worker in list(self._workers()):
                try:
                    await self._connect(launcher, worker)
                except WorkerError:
                    if not worker.disconnected:
                        raise  # else it is connected when it is replaced
        except BaseException:
            launcher.process = None
            process.signal(signal.SIGKILL)
            raise
        self._events.launcher_started(launcher.run_as.name, process.pid)
        if self.is_stopping:
            self._requests.send(self._last_order, [process])
        elif not launcher.programs:  # all were removed meanwhile
            self._requests.send(EndAll(leave=False, wait=True), [process])

    def _known(self) -> set[int]:
        """The processes that are certainly none that a launcher was starting when it was killed."""
        launchers = {*self._launchers.values(), *(launcher for launcher, _ in self._processes.values())}
        rows = {row.pid for launcher in launchers for row in launcher.table}
        return rows | {one.pid for launcher in launchers for one in launcher.holders.values()}

    async def _add_programs(self, launcher: Launcher, entries: list[ProgramEntry]) -> None:
        assert launcher.process, "it runs"
        listeners = {one.program.number: one.listener for one in entries if one.listener and _is_open(one.listener)}
        now = time.monotonic()
        held = {
            str(number): (holder.pid, now - holder.since)
            for number, holder in launcher.holders.items()
            if number in listeners
        }
        request = AddPrograms([one.program.encode() for one in entries], list(listeners), held)
        await self._require(request, [one.socket.fileno() for one in listeners.values()], launcher.process)

    async def _connect(self, launcher: Launcher, worker: WorkerProcess) -> None:
        """Connect a launcher and a worker with a channel. The launcher's end of it outlives the process that has it."""
        end = worker.channels.get(launcher.number)
        is_new = end is None
        if end is None:
            try:
                ours, theirs = pair()
            except OSError as error:
                raise WorkerError(f"cannot connect a launcher: {described(error)}") from None
            with theirs:
                end = worker.channels[launcher.number] = ours.detach()
                await self._require(ConnectLauncher(launcher.number), [theirs.fileno()], worker)
        if launcher.process:
            await self._require(AddWorker(worker.number, worker.pid), [end], launcher.process)
            if not is_new:
                await self._require(SyncPrograms(launcher.number), [], worker)

    async def _require(self, request: Request[R], descriptors: Sequence[int], process: WorkerProcess) -> R:
        answers = await self._requests.ask(request, descriptors, [process])
        answer = answers.get(process)
        if answer is None:
            raise WorkerError("a process that starts programs, or a worker, has exited")
        if isinstance(answer, Failed):
            raise WorkerError(printable(answer.error))
        return answer

    def send_heartbeats(self) -> None:
        """Send a heartbeat to all launchers, and abort those that missed the last two."""
        self._requests.send_heartbeats(self.processes)

    def reap(self) -> None:
        """Reap the launchers that have exited, and replace them. Called at SIGCHLD."""
        for launcher, process in list(self._processes.values()):
            if process.has_exited():
                self._requests.receive_rest(process)
                code = process.poll()
                assert code is not None, "it has exited"
                del self._processes[process.pid]
                self._close(process)
                self._on_exit(launcher, process, code)

    def _close(self, process: WorkerProcess) -> None:
        self._requests.disconnect(process)
        process.close()

    def _on_exit(self, launcher: Launcher, process: WorkerProcess, code: int) -> None:
        for number in launcher.holders.keys() - launcher.listening:
            self._end_orphan(launcher, launcher.holders[number])
        if launcher.process is not process:
            return  # its start has failed
        launcher.process = None
        is_done = self.is_stopping and (self._last_order.leave or not any(launcher.table))
        if not self._release_unless_needed(launcher) or is_done:
            return
        delay = launcher.losses.lost(time.monotonic())
        self._events.launcher_lost(launcher.run_as.name, process.pid, how_it_ended(code), delay)
        self._lost.add(launcher)
        self._loop.later(delay, lambda: self._restart(launcher))

    def _restart(self, launcher: Launcher) -> None:
        self._lost.discard(launcher)
        if launcher.process is None and self._release_unless_needed(launcher):
            result = self._started(launcher)
            result.then(lambda: self._on_restarted(launcher, result))

    def _on_restarted(self, launcher: Launcher, result: Result[None]) -> None:
        try:
            result.get()
        except WorkerError as error:
            self._events.launcher_failed(launcher.run_as.name, str(error))
            self._lost.add(launcher)
            self._loop.later(launcher.losses.not_started(time.monotonic()), lambda: self._restart(launcher))

    # Stop.

    def stop_listening(self) -> None:
        """End the programs that have listeners: they would accept connections."""
        for launcher in self._launchers.values():
            self._end_listening(launcher, sorted(launcher.listening))
            for number in launcher.listening:
                launcher.removed[number] = launcher.programs.pop(number)
            launcher.listening.clear()

    def stop(self, *, wait: bool = False, leave: bool = False) -> None:
        """Start no programs any more, end them, and exit. With ``wait``, exit when they have ended by themselves.

        With ``leave``, exit at once: they go on.
        """
        self.is_stopping = True
        self._last_order = EndAll(leave=leave, wait=wait)
        self._requests.send(self._last_order, self.processes)
        for launcher in list(self._lost):
            self._restart(launcher)  # now, if it has left programs

    @property
    def longest_stop(self) -> float:
        """The seconds until the last program gets SIGKILL after `stop`."""
        launchers = {*self._launchers.values(), *(launcher for launcher, _ in self._processes.values())}
        entries = [one for each in launchers for one in (*each.programs.values(), *each.removed.values())]
        return max((one.program.stop_after for one in entries), default=0.0)

    def kill(self) -> None:
        """Kill all launchers. Their programs go on. `reap` follows, also where there was none."""
        for process in self.processes:
            with contextlib.suppress(ChildProcessError):
                process.kill()
            self._close(process)
        self._processes.clear()
        if self._lost:
            self._lost.clear()
            os.kill(os.getpid(), signal.SIGCHLD)


def _is_open(listener: Listener) -> bool:
    return listener.socket.fileno() >= 0
