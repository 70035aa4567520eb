"""The pool of workers: starts and stops workers, and restarts those that exit or hang, with back-off."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from typing import Any

from netd.daemon.messages.from_supervisor import Drain, Request, Stop
from netd.daemon.messages.from_worker import Failed, Notice, R
from netd.daemon.resource_limits import described
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT, Requests
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess, how_it_ended
from netd.daemon.tasks import Result, Tasks
from netd.shared.memory import MOST_WORKERS
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

_DELAYS = (0.0, 0.25, 1.0, 4.0, 15.0, 30.0)  # seconds until a worker that keeps exiting is restarted
_STABLE = 60.0  # seconds between two exits after which the back-off starts again at 0
_LONGEST_GAP = _DELAYS[-1] + 10.0  # seconds for which workers may be missing: the longest back-off, and two heartbeats
_LONGEST_STACK = 16384


class WorkerPool:
    """The workers of one supervisor.

    ``fork`` starts the worker with this number, ``sync`` sends it the config in force; both raise `WorkerError` if that
    fails. When a worker has exited, ``settle_counters`` is called with the numbers of the others, and returns how many
    connections it had.
    ``on_notice`` is called with each message of a worker that is no response, ``culprit`` with the stack of one that is
    lost, for the fields of the log line about it.
    """

    def __init__(
        self,
        tasks: Tasks,
        loop: Loop,
        events: DaemonEvents,
        fork: Callable[[int], WorkerProcess],
        sync: Callable[[WorkerProcess], Coroutine[Any, None, None]],
        settle_counters: Callable[[Container[int]], int],
        on_notice: Callable[[WorkerProcess, Notice], None],
        culprit: Callable[[str], dict[str, str]],
    ) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        """By number, without those that are starting or draining."""
        self.failed = False
        """Whether a worker crashed or had to be killed while netd stopped."""
        self.draining: list[WorkerProcess] = []
        """Workers that accept no connections, and exit after their last one."""
        self._tasks = tasks
        self._loop = loop
        self._events = events
        self._fork = fork
        self._sync = sync
        self._settle_counters = settle_counters
        self._culprit = culprit
        self.requests = Requests(loop, events, on_notice)
        self._size = 0
        self._leave = False
        self._incomplete_since: float | None = None  # when the first of the missing workers was lost (CLOCK_MONOTONIC)
        self._delayed = 0  # the number of workers that wait for those that drain, as last logged
        self._lines_lost = 0  # log lines dropped by workers that exited
        self._losses: dict[int, tuple[int, float]] = {}  # by worker number: how many in a row, time of the last one
        self._restarts: dict[int, Timer] = {}
        self._starting: dict[int, WorkerProcess] = {}  # those without the config in force
        self._starts: set[Result[None]] = set()
        self._trying: set[int] = set()  # numbers of starts that have not succeeded or failed yet

    # Size.

    def resize(self, size: int) -> None:
        """Set the number of workers. The surplus drains and exits; a start that fails is retried with back-off."""
        self._size = size
        self._note_size()
        # A draining worker still writes its column of the counters, so its number is not free.
        present = {*self.workers, *self._starting, *self._restarts, *self._trying}
        taken = {*present, *(worker.number for worker in self.draining)}
        free = [number for number in range(MOST_WORKERS) if number not in taken]
        starts = free[: max(0, size - len(present))]
        self._trying.update(starts)  # all of them first: a start that fails at once calls this method
        for number in starts:
            self._restart(number)
        # The lowest numbers stay: worker 0 serves the single_worker services.
        for number in sorted(present)[size:]:
            if number in self._restarts:
                self._loop.wheel.drop(self._restarts.pop(number))
            elif number in self.workers or number in self._starting:
                self._drain_worker(number)

    async def wait_for_starts(self) -> None:
        """Wait until no worker is starting, and each that exited was reaped and its restart begun.

        A restart that the back-off delays is not waited for.
        """
        while waiting := [*self._starts, *(worker.ended for worker in self.workers.values() if worker.disconnected)]:
            await waiting[0]

    async def start(self, size: int) -> None:
        """Start the first workers. Raises `WorkerError` if one cannot be started."""
        self._size = size
        self._trying.update(range(size))
        for number in range(size):
            if self._size:  # netd is not stopping
                await self._start(number)
            self._trying.discard(number)

    async def _start(self, number: int) -> None:
        worker = self._fork(number)
        self._starting[number] = worker
        try:
            self.requests.watch(worker)
            await self._sync(worker)
        except Exception as error:
            if self._starting.get(number) is worker:
                self._discard(worker)
            if worker.draining:
                return
            if isinstance(error, WorkerError):
                raise
            if isinstance(error, OSError):
                raise WorkerError(f"cannot start a worker: {described(error)}") from None
            self._events.command_failed("start of a worker", error)
            raise WorkerError(str(error)) from None
        if not worker.draining:
            self.workers[number] = self._starting.pop(number)
            self._note_size()
            self._events.worker_started(number, worker.pid)

    # Messages.

    def ask(
        self, request: Request[R], descriptors: Sequence[int] = (), workers: Iterable[WorkerProcess] | None = None
    ) -> "Result[dict[WorkerProcess, R | Failed]]":
        """Send a request to workers (`Requests.ask`), by default to all that are neither starting nor draining."""
        return self.requests.ask(request, descriptors, list(self.workers.values() if workers is None else workers))

    def ask_all(
        self, request: Request[R], descriptors: Sequence[int] = ()
    ) -> "Result[dict[WorkerProcess, R | Failed]]":
        """As `ask`, including workers that are starting or draining."""
        return self.ask(request, descriptors, self.all_workers)

    @property
    def all_workers(self) -> list[WorkerProcess]:
        """All workers, including those that are starting or draining."""
        return [*self.workers.values(), *self._starting.values(), *self.draining]

    def reject(self, number: int, error: str) -> None:
        """Kill a worker that has sent another process of netd an invalid message."""
        for worker in self.all_workers:
            if worker.number == number:
                self.requests.reject(worker, error)

    def send_heartbeats(self) -> bool:
        """Send a heartbeat to all workers (`Requests.send_heartbeats`). Returns also whether there is one.

        Whether others are missing does not matter: the service manager, which restarts netd without heartbeats, would
        end those that serve.
        """
        responding = self.requests.send_heartbeats(self.all_workers)
        # One that prepares the config may take its time. Before that, a worker that cannot start ends.
        present = bool(self.workers) or any(worker.preparing for worker in self._starting.values())
        return responding and present

    @property
    def healthy(self) -> bool:
        """Whether the pool is complete, and no worker has missed two heartbeats."""
        return not self.missing and all(worker.missed_heartbeats < 2 for worker in self.workers.values())

    @property
    def serves(self) -> bool:
        """Whether there is a worker, and no other one is missing for longer than the back-off explains."""
        return bool(self.workers) and not self._lacks_workers

    @property
    def shortage(self) -> str:
        """How many workers are missing, for the operator; empty if none is."""
        return f"{len(self.workers)} of {self._startable} workers run" if self.missing else ""

    @property
    def _startable(self) -> int:
        """The number of workers there can be: one that drains keeps its number."""
        return min(self._size, MOST_WORKERS - len(self.draining))

    @property
    def missing(self) -> int:
        """How many workers are missing. At least one is wanted, unless netd stops."""
        return max(0, max(self._startable, min(self._size, 1)) - len(self.workers))

    @property
    def _lacks_workers(self) -> bool:
        since = self._incomplete_since
        return since is not None and time.monotonic() - since > _LONGEST_GAP

    def _note_size(self) -> None:
        """Called when the size, or the number of workers, has changed."""
        if not self.missing:
            self._incomplete_since = None
        elif self._incomplete_since is None:
            self._incomplete_since = time.monotonic()
        if (delayed := self._size - self._startable) > self._delayed:
            self._events.workers_delayed(delayed, len(self.draining))
        self._delayed = delayed

    @property
    def lines_lost(self) -> int:
        """The number of log lines that workers have dropped."""
        return self._lines_lost + sum(worker.lines_lost for worker in self.all_workers)

    # Exits and restarts.

    def reap(self) -> None:
        """Reap the workers that exited, and restart them. Called at SIGCHLD."""
        for worker in self.all_workers:
            if worker.has_exited():
                self.requests.receive_rest(worker)
                code = worker.poll()
                assert code is not None, "it has exited"
                self._on_exit(worker, code)

    def _on_exit(self, worker: WorkerProcess, code: int) -> None:
        connections = self._settle_counters(self._numbers_but(worker))
        stack = os.pread(worker.stack, _LONGEST_STACK, 0).decode("utf-8", "replace").strip()
        self._lines_lost += worker.lines_lost
        self._close(worker)
        reason = how_it_ended(code)
        if worker in self.draining:
            self.draining.remove(worker)
            if code == 0:
                self._events.worker_ended(worker.number, worker.pid)
            else:
                self.failed = self.failed or self._size == 0
                self._events.worker_lost(
                    worker.number, worker.pid, reason, connections, None, stack, self._culprit(stack)
                )
            self.resize(self._size)  # a start may have waited for its number
            return
        if self._starting.pop(worker.number, None):
            return  # `_start` logs it, and retries
        del self.workers[worker.number]
        self._note_size()
        losses, when = self._losses.get(worker.number, (0, 0.0))
        now = time.monotonic()
        losses = losses + 1 if now - when < _STABLE else 0
        self._losses[worker.number] = (losses, now)
        delay = _DELAYS[min(losses, len(_DELAYS) - 1)]
        self._events.worker_lost(worker.number, worker.pid, reason, connections, delay, stack, self._culprit(stack))
        self._restart_after(worker.number, delay)

    def _restart_after(self, number: int, delay: float) -> None:
        if delay:
            self._restarts[number] = self._loop.later(delay, lambda: self._restart(number))
        else:
            self._restart(number)

    def _restart(self, number: int) -> None:
        """Start a worker with this number, in place of one that exited or is missing."""
        self._restarts.pop(number, None)
        self._trying.add(number)
        started = self._tasks.start(self._start_or_retry(number))
        self._starts.add(started)
        started.then(lambda: self._starts.discard(started))

    async def _start_or_retry(self, number: int) -> None:
        try:
            await self._start(number)
        except WorkerError as error:
            if self._size:  # netd is not stopping
                self._events.worker_failed(number, str(error))
                losses, _ = self._losses.get(number, (0, 0.0))
                self._losses[number] = (losses + 1, time.monotonic())
                self._restarts[number] = self._loop.later(
                    _DELAYS[min(losses + 1, len(_DELAYS) - 1)], lambda: self._restart(number)
                )
        self._trying.discard(number)
        self.resize(self._size)  # the size may have changed meanwhile

    def _discard(self, worker: WorkerProcess) -> None:
        """Kill a worker after its start failed."""
        worker.kill()
        del self._starting[worker.number]
        self._settle_counters(self._numbers_but(worker))
        self._close(worker)

    def _numbers_but(self, exited: WorkerProcess) -> set[int]:
        return {worker.number for worker in self.all_workers if worker is not exited}

    def _close(self, worker: WorkerProcess) -> None:
        self.requests.disconnect(worker)
        worker.close()

    def _drain_worker(self, number: int) -> None:
        worker = self.workers.pop(number, None) or self._starting.pop(number)
        worker.draining = True
        self.draining.append(worker)
        self.requests.send(Drain(leave=self._leave), [worker])

    # Stop.

    def drain(self, *, leave: bool = False) -> None:
        """Have every worker accept no connections, and exit after its last one. ``leave``: programs keep theirs."""
        self._leave = leave
        self.resize(0)

    def stop(self) -> None:
        """Have every worker close its connections and exit."""
        self.drain()
        self.requests.send(Stop(), self.draining)

    def abort(self) -> None:
        """Abort the workers that have not exited."""
        for worker in self.draining:
            if worker.disconnected:  # its process may still exist
                worker.signal(signal.SIGKILL)
            else:
                self.requests.abort(worker, RESPONSE_TIMEOUT)

    def kill(self) -> None:
        """Kill all workers, when the supervisor itself has to exit."""
        for worker in self.all_workers:
            with contextlib.suppress(ChildProcessError):
                worker.kill()
            self._close(worker)
        self.workers, self._starting, self.draining = {}, {}, []

    @property
    def empty(self) -> bool:
        """Whether no worker is left."""
        return not self.all_workers
