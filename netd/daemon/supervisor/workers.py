"""The crew: forks the workers, talks to them, sees that their loops turn, and replaces those that are lost."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from netd.daemon.messages.from_supervisor import Drain, Request, Stop
from netd.daemon.messages.from_worker import Failed, Notice, R
from netd.daemon.supervisor.requests import PATIENCE, Requests
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess, how_it_ended
from netd.daemon.tasks import Result, Tasks
from netd.shared.memory import MOST_WORKERS
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

_DELAYS = (0.0, 0.25, 1.0, 4.0, 15.0, 30.0)  # seconds until a worker is replaced that is lost again and again
_STEADY = 60.0  # seconds after which a loss is not "again"
_LONGEST_STACK = 16384


class WorkerPool:
    """The workers of one supervisor.

    ``fork`` starts the worker of this number; it raises `WorkerError` where that fails. ``install`` brings a new worker
    up to date; it raises `WorkerError` when that fails. ``lost`` hears of a worker's end, and says how many connections
    ended with it. ``reported`` hears what a worker says unasked.
    """

    def __init__(
        self,
        tasks: Tasks,
        loop: Loop,
        events: DaemonEvents,
        fork: Callable[[int], WorkerProcess],
        install: Callable[[WorkerProcess], Coroutine[Any, None, None]],
        lost: Callable[[int], int],
        reported: Callable[[WorkerProcess, Notice], None],
    ) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        """By number; without those that start or leave."""
        self.failed = False
        """Whether a worker had to be killed when it should have ended."""
        self.leaving: list[WorkerProcess] = []
        """Those that accept no more, and end after their last connection."""
        self._tasks = tasks
        self._loop = loop
        self._events = events
        self._fork = fork
        self._install = install
        self._lost = lost
        self.requests = Requests(loop, events, reported)
        """How the workers are talked to."""
        self._size = 0
        self._lines_lost = 0  # of the log, by workers that are no more
        self._losses: dict[int, tuple[int, float]] = {}  # by number: how many in a row, and when the last one was
        self._replacements: dict[int, Timer] = {}
        self._starting: dict[int, WorkerProcess] = {}  # those that are not up to date yet
        self._starts: set[Result[None]] = set()
        self._trying: set[int] = set()  # numbers that are started, or were and nothing is decided yet

    # Size.

    def resize(self, size: int) -> None:
        """Have so many workers; those that are too many drain and end. One that cannot be started is tried again."""
        self._size = size
        # One that still drains writes its column, so its number is not free.
        having = {*self.workers, *self._starting, *self._replacements, *self._trying}
        taken = {*having, *(worker.number for worker in self.leaving)}
        free = [number for number in range(MOST_WORKERS) if number not in taken]
        for number in free[: max(0, size - len(having))]:
            self._replace(number)
        # The lowest numbers stay: the first worker serves what only one may serve.
        for number in sorted(having)[size:]:
            if number in self._replacements:
                self._loop.wheel.drop(self._replacements.pop(number))
            elif number in self.workers or number in self._starting:
                self._leave(number)

    async def settle(self) -> None:
        """Wait until no worker is about to start, or has died without having a successor.

        One that was lost again and again is not waited for, since its successor comes late.
        """
        while waiting := [*self._starts, *(worker.ended for worker in self.workers.values() if worker.gone)]:
            await waiting[0]

    async def start(self, size: int) -> None:
        """Start the first workers; `WorkerError` says why one cannot be started."""
        self._size = size
        self._trying.update(range(size))
        for number in range(size):
            if self._size:  # netd is not to stop already
                await self._start(number)
            self._trying.discard(number)

    async def _start(self, number: int) -> None:
        worker = self._fork(number)
        self._starting[number] = worker
        try:
            self.requests.watch(worker)
            await self._install(worker)
        except Exception as error:
            if self._starting.get(number) is worker:
                self._end(worker)
            if worker.leaving:
                return
            if isinstance(error, WorkerError):
                raise
            if not isinstance(error, OSError):
                self._events.command_failed("start of a worker", error)
            raise WorkerError(str(getattr(error, "strerror", None) or error)) from None
        if not worker.leaving:
            self.workers[number] = self._starting.pop(number)
            self._events.worker_started(number, worker.pid)

    # Talking.

    def ask(
        self, request: Request[R], descriptors: Sequence[int] = (), workers: Iterable[WorkerProcess] | None = None
    ) -> "Result[dict[WorkerProcess, R | Failed]]":
        """Ask workers, by default all that neither start nor leave (`Requests.ask`)."""
        return self.requests.ask(request, descriptors, list(self.workers.values() if workers is None else workers))

    def ask_all(
        self, request: Request[R], descriptors: Sequence[int] = ()
    ) -> "Result[dict[WorkerProcess, R | Failed]]":
        """As `ask`, also of those that start or leave."""
        return self.ask(request, descriptors, self.everybody)

    @property
    def everybody(self) -> list[WorkerProcess]:
        """Also those that start or leave."""
        return [*self.workers.values(), *self._starting.values(), *self.leaving]

    def beat(self) -> bool:
        """See that every worker's loop turns (`Requests.beat`)."""
        return self.requests.beat(self.everybody)

    @property
    def healthy(self) -> bool:
        """Whether there are as many workers as there should be, and each has answered the beat before the last one."""
        return len(self.workers) >= self._size and all(worker.unanswered < 2 for worker in self.workers.values())

    @property
    def lines_lost(self) -> int:
        """How many lines of workers' logs nobody will read."""
        return self._lines_lost + sum(worker.lines_lost for worker in self.everybody)

    # Ends.

    def reap(self) -> None:
        """Some child ended: see which, and have it replaced."""
        for worker in self.everybody:
            if (code := worker.poll()) is not None:
                self._ended(worker, code)

    def _ended(self, worker: WorkerProcess, code: int) -> None:
        connections = self._lost(worker.number)
        stack = os.pread(worker.stack, _LONGEST_STACK, 0).decode("utf-8", "replace").strip()
        self._lines_lost += worker.lines_lost
        self._close(worker)
        reason = how_it_ended(code)
        if worker in self.leaving:
            self.leaving.remove(worker)
            if code == 0:
                self._events.worker_ended(worker.number, worker.pid)
            else:
                self.failed = self.failed or self._size == 0
                self._events.worker_lost(worker.number, worker.pid, reason, connections, None, stack)
            self.resize(self._size)  # its number may be what another one waits for
            return
        if self._starting.pop(worker.number, None):
            return  # what starts it tells, and sees to the rest
        del self.workers[worker.number]
        losses, when = self._losses.get(worker.number, (0, 0.0))
        now = time.monotonic()
        losses = losses + 1 if now - when < _STEADY else 0
        self._losses[worker.number] = (losses, now)
        delay = _DELAYS[min(losses, len(_DELAYS) - 1)]
        self._events.worker_lost(worker.number, worker.pid, reason, connections, delay, stack)
        self._replace_after(worker.number, delay)

    def _replace_after(self, number: int, delay: float) -> None:
        if delay:
            self._replacements[number] = self._loop.later(delay, lambda: self._replace(number))
        else:
            self._replace(number)

    def _replace(self, number: int) -> None:
        """Start a worker in place of one that was lost, or that is missing."""
        self._replacements.pop(number, None)
        self._trying.add(number)
        started = self._tasks.start(self._try(number))
        self._starts.add(started)
        started.then(lambda: self._starts.discard(started))

    async def _try(self, number: int) -> None:
        try:
            await self._start(number)
        except WorkerError as error:
            if self._size:  # netd is not to stop
                self._events.worker_failed(number, str(error))
                losses, _ = self._losses.get(number, (0, 0.0))
                self._losses[number] = (losses + 1, time.monotonic())
                self._replacements[number] = self._loop.later(
                    _DELAYS[min(losses + 1, len(_DELAYS) - 1)], lambda: self._replace(number)
                )
        self._trying.discard(number)
        self.resize(self._size)  # which may have changed meanwhile

    def _end(self, worker: WorkerProcess) -> None:
        """End a worker that did not get to serve."""
        worker.kill()
        del self._starting[worker.number]
        self._lost(worker.number)
        self._close(worker)

    def _close(self, worker: WorkerProcess) -> None:
        self.requests.hang_up(worker)
        worker.channel.close()
        os.close(worker.stack)
        worker.ended.set(None)

    def _leave(self, number: int) -> None:
        worker = self.workers.pop(number, None) or self._starting.pop(number)
        worker.leaving = True
        self.leaving.append(worker)
        self.requests.tell(Drain(), [worker])

    # The end of all.

    def drain(self) -> None:
        """Have every worker accept nothing more, and end after its last connection."""
        self.resize(0)

    def stop(self) -> None:
        """Have every worker cut its connections and end; one that does not in time is aborted."""
        self.drain()
        self.requests.tell(Stop(), self.leaving)

    def abort(self) -> None:
        """End whoever is left."""
        for worker in self.leaving:
            if worker.gone:  # there is nothing more to say to it, and yet it may be there
                worker.signal(signal.SIGKILL)
            else:
                self.requests.abort(worker, PATIENCE)

    def kill(self) -> None:
        """End everybody at once, when the supervisor itself cannot go on."""
        for worker in self.everybody:
            with contextlib.suppress(ChildProcessError):
                worker.kill()
            self._close(worker)
        self.workers, self._starting, self.leaving = {}, {}, []

    @property
    def empty(self) -> bool:
        """Whether no worker is left."""
        return not self.everybody
