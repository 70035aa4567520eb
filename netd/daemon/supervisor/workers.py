"""The pool of workers: starts and stops workers, and restarts those that exit or hang, with back-off."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from typing import Any

from netd.daemon.messages.from_supervisor import Drain, Order, Request, Stop
from netd.daemon.messages.from_worker import Failed, Notice, R
from netd.daemon.resource_limits import described
from netd.daemon.supervisor.backoff import DELAYS, RESTS, Losses
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT, Requests
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess, how_it_ended
from netd.daemon.tasks import Result, Tasks
from netd.shared.memory import MOST_WORKERS
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

_LONGEST_GAP = DELAYS[-1] + 10.0  # seconds for which workers may be missing: the longest back-off, and two heartbeats
_LONGEST_STACK = 16384


class WorkerPool:
    """The workers of one supervisor.

    Some serve one service alone; the others all the rest, and are as many as its size.

    ``fork`` starts the worker with this number, ``sync`` sends it the config in force; both raise `WorkerError` if that
    fails. When a worker has exited, ``settle_counters`` is called with the numbers of the others, and returns how many
    connections it had.
    ``on_notice`` is called with each message of a worker that is no response, ``on_loss`` with one that is lost and its
    stack, for the fields of the log line about it.
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
        on_loss: Callable[[WorkerProcess, str], dict[str, str]],
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
        self._on_loss = on_loss
        self.requests = Requests(loop, events, on_notice)
        self._size = 0
        self._isolated: tuple[str, ...] = ()  # the services that have a worker of their own
        self._roles: dict[int, str] = {}  # by number of those that are not draining: the service it serves alone, or ""
        self._leave = False
        self._incomplete_since: float | None = None  # when the first of the missing workers was lost (CLOCK_MONOTONIC)
        self._delayed = 0  # the number of workers that wait for those that drain, as last logged
        self._lines_lost = 0  # log lines dropped by workers that exited
        self._losses: dict[int | str, Losses] = {}  # by number, or by the service of a worker that serves one alone
        self._restarts: dict[int, Timer] = {}
        self._starting: dict[int, WorkerProcess] = {}  # those without the config in force
        self._starts: set[Result[None]] = set()
        self._trying: set[int] = set()  # numbers of starts that have not succeeded or failed yet

    # Size.

    def resize(self, size: int, isolated: Iterable[str] = ()) -> None:
        """Set the number of workers, and the services that have another one each, of their own.

        The surplus drains and exits; a start that fails is retried with back-off.
        """
        self._size, self._isolated = size, tuple(isolated)
        self._note_size()
        # A draining worker still writes its column of the counters, so its number is not free.
        present = {*self.workers, *self._starting, *self._restarts, *self._trying}
        taken = {*present, *(worker.number for worker in self.draining)}
        free = [number for number in range(MOST_WORKERS) if number not in taken]
        self._roles = {number: self._roles.get(number, "") for number in present}
        shared = sorted(number for number, service in self._roles.items() if not service)
        wanted = ["" for _ in range(size - len(shared))]
        wanted += [service for service in self._isolated if service not in self._roles.values()]
        starts = dict(zip(free, wanted, strict=False))
        self._roles |= starts
        self._trying.update(starts)  # all of them first: a start that fails at once calls this method
        for number in starts:
            self._restart(number)
        # The lowest numbers stay: worker 0 serves the single_worker services.
        alone = [number for number, service in self._roles.items() if service and service not in self._isolated]
        for number in (*shared[size:], *alone):
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

    async def start(self, size: int, isolated: Sequence[str] = ()) -> None:
        """Start the first workers. Raises `WorkerError` if one cannot be started."""
        self._size, self._isolated = size, tuple(isolated)
        self._roles = dict(enumerate([*[""] * size, *isolated][:MOST_WORKERS]))
        self._trying.update(self._roles)
        for number in list(self._roles):
            if self._size:  # netd is not stopping
                await self._start(number)
            self._trying.discard(number)

    async def _start(self, number: int) -> None:
        worker: WorkerProcess | None = None
        try:
            worker = self._fork(number)
            worker.service = self._roles.get(number, "")
            self._starting[number] = worker
            self.requests.watch(worker)
            await self._sync(worker)
        except Exception as error:
            if worker and self._starting.get(number) is worker:
                self._discard(worker)
            if worker and worker.draining:
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

    def send_later(self, seconds: float, order: Order, holds: Callable[[], bool]) -> None:
        """Send a message without response to all workers after so many seconds, if it ``holds`` then."""
        self._loop.later(seconds, lambda: self.requests.send(order, self.all_workers) if holds() else None)

    def worker_of(self, service: str) -> WorkerProcess | None:
        """A worker that serves this service: its own one, or else the first one of the others; None: there is none."""
        alone = service if service in self._isolated else ""
        found = [worker for _, worker in sorted(self.workers.items()) if worker.service == alone]
        return found[0] if found else None

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
        # One that serves a service alone harms no other, so it is no reason to end them.
        self.requests.send_heartbeats([worker for worker in self.all_workers if worker.service])
        responding = self.requests.send_heartbeats([worker for worker in self.all_workers if not worker.service])
        # One that prepares the config may take its time. Before that, a worker that cannot start ends.
        present = bool(self._shared) or any(worker.preparing for worker in self._starting.values())
        return responding and present

    @property
    def healthy(self) -> bool:
        """Whether the pool is complete, and none has missed two heartbeats but workers of one service alone."""
        return not self.missing and all(worker.missed_heartbeats < 2 for worker in self._shared)

    @property
    def serves(self) -> bool:
        """Whether there is a worker, and no other one is missing for longer than the back-off explains."""
        return bool(self._shared) and not self._lacks_workers

    @property
    def _shared(self) -> list[WorkerProcess]:
        """The workers of all services that have none of their own."""
        return [worker for worker in self.workers.values() if not worker.service]

    @property
    def shortage(self) -> str:
        """How many workers are missing, for the operator; empty if none is."""
        return f"{len(self.workers)} of {self._startable} workers run" if self.missing else ""

    @property
    def _startable(self) -> int:
        """The number of workers there can be: one that drains keeps its number."""
        return min(self._size + len(self._isolated), MOST_WORKERS - len(self.draining))

    @property
    def missing(self) -> int:
        """How many workers are missing. At least one is wanted, unless netd stops.

        One that serves a service alone, and waits after losses, is not: the others go on.
        """
        resting = sum(1 for number in self._restarts if self._roles.get(number))
        return max(0, max(self._startable, min(self._size, 1)) - len(self.workers) - resting)

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
        if (delayed := self._size + len(self._isolated) - self._startable) > self._delayed:
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
        reason = how_it_ended(code)
        is_lost = code != 0 or worker not in self.draining
        culprit = self._on_loss(worker, stack) if is_lost else {}
        self._close(worker)
        if worker in self.draining:
            self.draining.remove(worker)
            if code == 0:
                self._events.worker_ended(worker.number, worker.pid)
            else:
                self.failed = self.failed or self._size == 0
                self._events.worker_lost(worker.number, worker.pid, reason, connections, None, stack, culprit)
            self.resize(self._size, self._isolated)  # a start may have waited for its number
            return
        if self._starting.pop(worker.number, None):
            return  # `_start` logs it, and retries
        del self.workers[worker.number]
        self._note_size()
        # A service alone in its worker may rest for longer than a minute.
        since = worker.started if worker.service else None
        delay = self._losses_of(worker.number).lost(time.monotonic(), since)
        self._events.worker_lost(worker.number, worker.pid, reason, connections, delay, stack, culprit)
        self._restart_after(worker.number, delay)

    def _losses_of(self, number: int) -> Losses:
        service = self._roles.get(number, "")
        return self._losses.setdefault(service or number, Losses(RESTS if service else DELAYS))

    def end_rests(self, services: Container[str]) -> None:
        """Forget the losses of these services: `resize` starts their workers at once."""
        for key in [key for key in self._losses if key in services]:
            del self._losses[key]
        for number in [number for number in self._restarts if self._roles.get(number, "") in services]:
            self._loop.wheel.drop(self._restarts.pop(number))

    def rests_until(self, service: str) -> float | None:
        """Until when the worker of a service alone is not started (CLOCK_MONOTONIC); None: it is."""
        resting = any(self._roles.get(number) == service for number in self._restarts)
        return self._losses[service].until if resting else None

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
                delay = self._losses_of(number).not_started(time.monotonic())
                self._restarts[number] = self._loop.later(delay, lambda: self._restart(number))
        self._trying.discard(number)
        self.resize(self._size, self._isolated)  # the size may have changed meanwhile

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
