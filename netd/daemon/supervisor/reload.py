"""Putting a config in force: in every worker or in none."""

import json
from collections.abc import Generator, Sequence

from netd.config.model import Config
from netd.daemon.messages.from_supervisor import Abort, Commit, Prepare, Retire, ServiceEntry, SetBans, SetDaemonLimits
from netd.daemon.messages.from_worker import Done, Failed
from netd.daemon.supervisor import config_diff
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.listeners import Listeners, NumberedListener, Pending
from netd.daemon.supervisor.requests import PREPARING
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Queue, Tasks
from netd.errors import OpenError
from netd.transport.listen import finish

_DIED = "it died while it got ready"
_SLOW = f"it did not get ready within {PREPARING:.0f} s: what its services do when they are made takes too long"


class Reloader:
    """Brings workers to what is in force, and what is in force to a new config. ``user`` is who the workers are."""

    def __init__(self, state: State, listeners: Listeners, pool: WorkerPool, tasks: Tasks, user: str) -> None:
        self._state = state
        self._listeners = listeners
        self._pool = pool
        self._tasks = tasks
        self._user = user
        self.queue = Queue()
        """What changes the config is done one after the other."""

    async def install(self, worker: WorkerProcess) -> None:
        """Bring a new worker up to date. `WorkerError` says why it cannot be."""
        state, requests = self._state, self._pool.requests
        answers = await requests.ask(SetDaemonLimits(), [state.daemon_limits.descriptor], [worker])
        self._check([worker], answers)
        answers = await requests.ask(SetBans(state.bans_until()), [], [worker])
        self._check([worker], answers)
        numbered = list(self._listeners)
        diff = await self._tasks.in_slices(config_diff.from_nothing(state.config))
        message, descriptors = await self._tasks.in_slices(self._message(diff, numbered, numbered))
        self._check([worker], await requests.prepare(message, descriptors, [worker]))
        self._check([worker], await requests.ask(Commit(), [], [worker]))

    def _check(self, workers: Sequence[WorkerProcess], answers: dict[WorkerProcess, Done | Failed]) -> None:
        """Raise `WorkerError` where one of these workers has not answered, or has said what keeps it from it."""
        for worker in workers:
            answer = answers.get(worker, Failed(_DIED if worker.gone else _SLOW))
            if isinstance(answer, Failed):
                raise WorkerError(f"worker (user {self._user}): {answer.error}")

    async def switch(self, overrides: dict[str, bool]) -> None:
        """Put in force, as `apply` does, the config as its file has it, but for what is switched on or off."""
        state = self._state
        work = config_diff.compare(state.config, state.effective(state.file, overrides), state.initial)
        await self.apply(await self._tasks.in_slices(work), state.file, overrides)

    async def apply(self, diff: ConfigDiff, file: Config, overrides: dict[str, bool]) -> None:
        """Put a config in force in two phases: ``file``, as its file has it, with what was switched on or off.

        An `OperatorError` or `CommandError` means that nothing has changed. To be called by what is first in the
        `queue`.
        """
        state, pool = self._state, self._pool
        self._not_while_stopping()
        pending = await self._tasks.in_slices(self._listeners.prepare(diff))
        prepared: set[WorkerProcess] = set()
        try:
            self._not_while_stopping()
            await self._prepare_workers(pending, prepared)
            self._not_while_stopping()
        except BaseException:
            pool.requests.tell(Abort(), prepared)
            self._listeners.abort(pending)
            state.drop_unused_tables()
            raise
        # Nothing waits from here until the new config is what a new worker gets.
        workers = [worker for worker in pool.workers.values() if worker in prepared]
        committed = pool.ask(Commit(), workers=workers)
        if diff.draining:
            pool.requests.tell(Retire(diff.draining), pool.leaving)
        self._listeners.commit(pending)
        state.adopt(file, overrides)
        try:
            await committed
            await self._tasks.in_slices(self._finish(pending))
        except GeneratorExit:  # netd ends
            finish(self._listeners.close_gone(pending))
            raise

    def _finish(self, pending: Pending) -> Generator[None, None, None]:
        """What follows once the config is in force in every worker."""
        yield from self._listeners.close_gone(pending)
        for one in pending.new:
            self._state.tell_listening(one.listener)
            yield

    def _not_while_stopping(self) -> None:
        if self._state.stopping:
            raise CommandError("netd is about to stop")

    async def _prepare_workers(self, pending: Pending, prepared: set[WorkerProcess]) -> None:
        """Have every worker make what the config needs. Adds them to ``prepared`` before they are asked.

        A worker that dies meanwhile says nothing about the config, and gets a successor, which serves what is in force
        and is asked then. Where that dies too, the config is to blame. `OpenError` says what keeps a worker from it.
        """
        all_of_them = [one for ones in pending.places.values() for one in ones]
        work = self._message(pending.diff, all_of_them, pending.new)
        message, descriptors = await self._tasks.in_slices(work)
        first: list[WorkerProcess] | None = None
        while True:
            await self._pool.settle()
            workers = [worker for worker in self._pool.workers.values() if worker not in prepared]
            if not workers:
                return
            first = workers if first is None else []
            prepared.update(workers)
            answers = await self._pool.requests.prepare(message, descriptors, workers)
            try:
                self._check([worker for worker in workers if not (worker.gone and worker in first)], answers)
            except WorkerError as error:
                raise OpenError([str(error)]) from None

    def _message(
        self, diff: ConfigDiff, all_of_them: list[NumberedListener], new: list[NumberedListener]
    ) -> Generator[None, None, tuple[Prepare, list[int]]]:
        """What a worker needs to serve the new config, besides what it has of the one before.

        The descriptors that go with it are the access tables, ``new`` ones of the listeners, and the counters of what
        is unknown to it.
        """
        config = diff.config
        services: list[str] = []
        counters: list[str] = []
        descriptors = [config.access_tables.descriptor, *(one.listener.socket.fileno() for one in new)]
        listeners: dict[str, list[int]] = {}
        for one in all_of_them:
            listeners.setdefault(one.listener.service, []).append(one.number)
        for service in config.enabled:
            yield
            entry = ServiceEntry(
                name=service.name,
                type=service.type,
                options=json.dumps(service.given),
                policy=service.policy.model_dump_json(),
                access=(service.access.offset, service.access.length),
                listeners=listeners.get(service.name, []),
                changed=service.name in diff.served_otherwise,
            )
            services.append(entry.encode())
            if service.name in diff.unknown:
                counters.append(service.name)
                descriptors.append(self._state.table(service).descriptor)
        message = Prepare(
            services=services,
            new_listeners=[one.number for one in new],
            new_counters=counters,
            draining=diff.draining,
            log_connections=config.log.connections,
            connections=config.daemon.connections,
            bans=config.bans.model_dump_json(),
        )
        return message, descriptors
