"""Puts a config in force: in all workers or in none (two-phase commit)."""

import json
from collections.abc import Container, Generator, Sequence

from netd.config import transfer
from netd.config.model import Config
from netd.daemon.messages.from_supervisor import (
    Abort,
    CloseRemoved,
    Commit,
    Isolate,
    Prepare,
    Retire,
    ServiceEntry,
    SetBans,
    SetDaemonLimits,
    SetRunning,
)
from netd.daemon.messages.from_worker import Done, Failed
from netd.daemon.supervisor import config_diff
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.listeners import ListenerRecord, Listeners, PreparedListeners
from netd.daemon.supervisor.programs import PreparedPrograms, Programs, is_listener
from netd.daemon.supervisor.requests import PREPARE_TIMEOUT
from netd.daemon.supervisor.socket_filters import SocketFilters
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Queue, Tasks
from netd.errors import OpenError
from netd.services import table
from netd.shared.running import RunningMemory
from netd.steps import finish
from netd.text import printable
from netd.transport.arrivals import HANDSHAKE

_DIED = "the process exited while it prepared the config"
_SLOW = f"it did not prepare the config within {PREPARE_TIMEOUT:.0f} s: the constructor of a service takes too long"


class Reloader:
    """Sends the config in force to new workers, and puts a new config in force. ``user`` is the workers' user."""

    def __init__(
        self,
        state: State,
        listeners: Listeners,
        filters: SocketFilters,
        pool: WorkerPool,
        programs: Programs,
        tasks: Tasks,
        user: str,
    ) -> None:
        self._state = state
        self._programs = programs
        self._listeners = listeners
        self._filters = filters
        self._pool = pool
        self._tasks = tasks
        self._user = user
        self.queue = Queue()
        """Commands that change the config run one at a time."""

    async def start(self, workers: int) -> None:
        """Put the first config in force, and start this many workers. Raises `OpenError` or `WorkerError`."""
        diff = finish(config_diff.from_nothing(self._state.config))
        filters = await self._filters.prepare(diff.config)
        listeners = finish(self._listeners.prepare(diff, filters.attach))
        self._listeners.commit(listeners)
        self._filters.check(filters, listeners.records)
        self._filters.commit(filters, listeners.new)
        self._programs.commit(await self._programs.prepare(diff, listeners.records))
        await self._pool.start(workers, self._state.isolated)
        self._programs.finish([], {})

    async def sync_worker(self, worker: WorkerProcess) -> None:
        """Send a new worker the config in force. Raises `WorkerError` if the worker does not accept it."""
        state, requests = self._state, self._pool.requests
        answers = await requests.ask(SetDaemonLimits(), [state.daemon_limits.descriptor], [worker])
        self._require_success([worker], answers)
        answers = await requests.ask(SetBans(state.bans_until()), [], [worker])
        self._require_success([worker], answers)
        worker.running = RunningMemory()
        answers = await requests.ask(SetRunning(), [worker.running.descriptor], [worker])
        worker.running.close_descriptor()  # the mapping stays
        self._require_success([worker], answers)
        if worker.service:
            self._require_success([worker], await requests.ask(Isolate(worker.service), [], [worker]))
        by_programs = _listening(state.config)
        listeners = [record for record in self._listeners if record.listener.service not in by_programs]
        diff = await self._tasks.in_slices(config_diff.from_nothing(state.config))
        with_tls = {record.id for record in listeners if record.listener.endpoint.transport == "tls"}
        message, descriptors = await self._tasks.in_slices(
            self._prepare_message(diff, listeners, listeners, with_tls, self._programs.in_force)
        )
        self._require_success([worker], await requests.prepare(message, descriptors, [worker]))
        self._require_success([worker], await requests.ask(Commit(), [], [worker]))

    def _require_success(self, workers: Sequence[WorkerProcess], answers: dict[WorkerProcess, Done | Failed]) -> None:
        """Raise `WorkerError` if one of these workers has not answered, or has answered `Failed`."""
        for worker in workers:
            answer = answers.get(worker, Failed(_DIED if worker.disconnected else _SLOW))
            if isinstance(answer, Failed):
                # A worker may be controlled by an attacker, and this reaches the operator's terminal.
                raise WorkerError(f"worker (user {self._user}): {printable(answer.error)}")

    async def switch(self, overrides: dict[str, bool]) -> None:
        """Put the config file that was read last in force, with these services enabled or disabled (`apply`)."""
        state = self._state
        work = config_diff.compare(state.config, state.effective(state.file, overrides), state.initial)
        await self.apply(await self._tasks.in_slices(work), state.file, overrides)

    async def apply(self, diff: ConfigDiff, file: Config, overrides: dict[str, bool]) -> None:
        """Put a config in force in two phases: ``file``, with the services in ``overrides`` enabled or disabled.

        After an `OperatorError` or `CommandError` nothing has changed. The caller holds the `queue`.
        """
        state, pool = self._state, self._pool
        self._not_while_stopping()
        filters = await self._filters.prepare(diff.config)
        listeners = await self._tasks.in_slices(self._listeners.prepare(diff, filters.attach))
        asked: set[WorkerProcess] = set()
        programs: PreparedPrograms | None = None
        try:
            self._not_while_stopping()
            self._filters.check(filters, listeners.records)
            programs = await self._programs.prepare(diff, listeners.records)
            moved = self._moved(listeners, diff.config)
            forwarding = self._forwarding(listeners)
            await self._prepare_workers(listeners, programs, asked)
            self._not_while_stopping()
        except BaseException:
            pool.requests.send(Abort(), asked)
            if programs:
                self._programs.abort(programs)
            self._listeners.abort(listeners)
            state.drop_unused_tables()
            raise
        # No await from here until `state.apply`: a worker that starts meanwhile must get the new config.
        workers = [worker for worker in pool.workers.values() if worker in asked]
        committed = pool.ask(Commit(), workers=workers)
        if diff.draining:
            pool.requests.send(Retire(diff.draining), pool.draining)
        self._listeners.commit(listeners)
        self._filters.commit(filters, listeners.new)
        removed_programs = self._programs.commit(programs)
        state.moved -= diff.reconfigured
        state.apply(file, overrides)
        pool.end_rests(diff.reconfigured)
        try:
            await committed
            await self._tasks.in_slices(self._log_listening(listeners.new))
            await self._programs.end_listening(removed_programs)
            await self._close_removed(listeners, workers, moved, forwarding)
            self._programs.finish(removed_programs, diff.draining)
        except GeneratorExit:  # netd exits
            finish(self._listeners.close_removed(listeners))
            raise

    def _log_listening(self, new: list[ListenerRecord]) -> Generator[None, None, None]:
        for record in new:
            self._state.log_listening(record.listener)
            yield

    def _moved(self, listeners: PreparedListeners, config: Config) -> bool:
        """Whether a worker has to close a listener that stays open, since a program gets it now."""
        now = {record.id for record in listeners.records if record.listener.service in _listening(config)}
        return bool(now & self._of_workers())

    def _of_workers(self) -> set[int]:
        """The numbers of the listeners that workers have."""
        by_programs = _listening(self._state.config)
        return {record.id for record in self._listeners if record.listener.service not in by_programs}

    def _forwarding(self, listeners: PreparedListeners) -> list[ListenerRecord]:
        """The removed listeners that forward datagrams: answers to these leave from them for another second."""
        kinds = {service.name: table.find(service.type) for service in self._state.config.enabled}
        return [
            record
            for record in listeners.removed
            if not record.listener.streams
            and (kind := kinds.get(record.listener.service))
            and kind.datagrams == "forward"
        ]

    async def _close_removed(
        self,
        listeners: PreparedListeners,
        workers: list[WorkerProcess],
        moved: bool,
        forwarding: list[ListenerRecord],
    ) -> None:
        """Close the removed listeners here and in the workers, which serve what is in their queues.

        Nothing arrives after that: connections and datagrams go to a new listener at their address, or are refused. The
        workers close them last, since a connection that arrives between two closes would be reset.
        """
        if not listeners.removed and not moved:
            return
        if finishing := [*listeners.replaced(), *forwarding]:
            self._listeners.stop_arrivals(finishing)
            await self._tasks.sleep(HANDSHAKE)
        await self._tasks.in_slices(self._listeners.close_removed(listeners))
        await self._pool.ask(CloseRemoved(), workers=workers)

    def _not_while_stopping(self) -> None:
        if self._state.stopping:
            raise CommandError("netd is stopping")

    async def _prepare_workers(
        self, listeners: PreparedListeners, programs: PreparedPrograms, asked: set[WorkerProcess]
    ) -> None:
        """Have every worker prepare the config. Adds each to ``asked`` before the request is sent.

        If a worker exits meanwhile, the cause may be another one. Its successor, which serves the config in force, is
        asked too; if that exits as well, the config is the cause. Raises `OpenError` if a worker cannot prepare it.
        """
        by_programs = _listening(listeners.diff.config)
        all_records = [record for record in listeners.records if record.listener.service not in by_programs]
        before = self._of_workers()
        new = [record for record in all_records if record.id not in before]
        work = self._prepare_message(listeners.diff, all_records, new, listeners.with_tls(), programs)
        message, descriptors = await self._tasks.in_slices(work)
        first: list[WorkerProcess] | None = None
        while True:
            await self._pool.wait_for_starts()
            workers = [worker for worker in self._pool.workers.values() if worker not in asked]
            if not workers:
                return
            first = workers if first is None else []
            asked.update(workers)
            answers = await self._pool.requests.prepare(message, descriptors, workers)
            try:
                self._require_success(
                    [worker for worker in workers if not (worker.disconnected and worker in first)], answers
                )
            except WorkerError as error:
                raise OpenError([str(error)]) from None

    def _prepare_message(
        self,
        diff: ConfigDiff,
        all_records: list[ListenerRecord],
        new: list[ListenerRecord],
        with_tls: Container[int],
        programs: PreparedPrograms,
    ) -> Generator[None, None, tuple[Prepare, list[int]]]:
        """The message that has a worker prepare the new config, with its descriptors.

        The descriptors are those of the access tables, of the ``new`` listeners, of the counters that the worker does
        not have, and of the files of TLS. ``with_tls`` has the numbers of listeners with TLS.
        """
        config = diff.config
        services: list[str] = []
        counters: list[str] = []
        descriptors = [config.access_tables.descriptor, *(record.listener.socket.fileno() for record in new)]
        files = transfer.tls_files(config)
        numbers = {id(one): number for number, one in enumerate(files)}
        listeners: dict[str, list[int]] = {}
        for record in all_records:
            listeners.setdefault(record.listener.service, []).append(record.id)
        muxes = [one.name for one in config.enabled if (kind := table.find(one.type)) and kind.multiplexes]
        for service in config.enabled:
            yield
            targets = self._state.targets(service)
            own, tls = listeners.get(service.name, []), service.tls_files
            entry = ServiceEntry(
                name=service.name,
                type=service.type,
                options=json.dumps(service.given),
                policy=service.policy.model_dump_json(),
                access=(service.access.offset, service.access.length),
                listeners=own,
                changed=service.name in diff.reconfigured,
                log_connections=service.log_connections or config.log.connections,
                program=programs.entry(service.name),
                targets=targets[0].numbers(targets[1].to) if targets else [],
                tls_listeners=[number for number in own if number in with_tls],
                through=[(number, number in with_tls) for name in muxes for number in listeners.get(name, ())]
                if service.policy.tcpmux
                else [],
                certificates=[(numbers[id(one.files)], list(one.names)) for one in tls.identities] if tls else [],
                trust=numbers[id(tls.trust)] if tls and tls.trust else None,
                to_trust=numbers[id(tls.to_trust)] if tls and tls.to_trust else None,
                to_certificate=numbers[id(tls.to_certificate)] if tls and tls.to_certificate else None,
                banners=transfer.banner_texts(service.banners),
                # Changed code gets another chance among the others.
                isolated=service.isolate or service.name in self._state.moved - diff.reconfigured,
                code=service.code.text if service.code else None,
            )
            services.append(entry.encode())
            if service.name in diff.new_counters:
                counters.append(service.name)
                descriptors.append(self._state.table(service).descriptor)
        message = Prepare(
            services=services,
            new_listeners=[record.id for record in new],
            new_counters=counters,
            draining=diff.draining,
            connections=config.daemon.connections,
            threads=config.daemon.threads,
            bans=config.bans.model_dump_json(),
            files=len(files),
        )
        return message, [*descriptors, *(one.descriptor for one in files)]


def _listening(config: Config) -> set[str]:
    """The services with a program that gets the listeners, which no worker has."""
    return {service.name for service in config.enabled if is_listener(service)}
