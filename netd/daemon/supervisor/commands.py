"""What there is to command at the control socket: to reload, to switch services, to list and to end connections.

Each command is a coroutine: while one waits for a worker, or for the config to be read, netd does everything else.
"""

import gc
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, get_args

from netd.daemon import systemd
from netd.daemon.messages.from_supervisor import Kick, ListConnections, ListPeers, SetLogLevel
from netd.daemon.messages.from_worker import ConnectionList, Failed, Kicked, PeerList, R
from netd.daemon.supervisor.config_reader import ConfigReader
from netd.daemon.supervisor.control import Answer, CommandError
from netd.daemon.supervisor.reload import Reloader
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.errors import EXIT_USAGE, OpenError, OperatorError
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents


class Daemon(Protocol):
    """What commands need of the supervisor."""

    def config_adopted(self) -> None:
        """A config is in force: what depends on it is to follow."""

    def status_line(self) -> str:
        """What the service manager shows."""


class Commands:
    """The commands. Each may raise `CommandError` or `OperatorError`."""

    def __init__(
        self,
        state: State,
        pool: WorkerPool,
        rollout: Reloader,
        loading: ConfigReader,
        events: DaemonEvents,
        daemon: Daemon,
    ) -> None:
        self._state = state
        self._pool = pool
        self._reloader = rollout
        self._config_reader = loading
        self._events = events
        self._daemon = daemon
        self._due = False  # whether a signal has asked for a reload that did not begin yet

    async def diff(self) -> Answer:
        """What a reload would do, and how many live connections each change concerns."""
        state = self._state
        diff = await self._config_reader.load(state.config, state.initial)
        tables = state.tables
        return {
            "changes": [
                {
                    "service": change.service,
                    "what": change.what,
                    "details": change.details,
                    "live": tables[change.service].read().active if change.service in tables else 0,
                    "connections": "untouched" if change.drain is None else "drained",
                }
                for change in diff.changes
            ],
            "settings": diff.settings,
            "restart_needed": diff.restart_needed,
        }

    async def reload(self, by: str) -> Answer:
        """Read the config again and put it in force, all of it or nothing of it."""
        self._not_while_stopping()
        async with self._reloader.queue:
            return await self._reload(by)

    async def reload_once(self, by: str) -> None:
        """As `reload`, for signals, of which many count as one until netd begins to do what they say."""
        if not self._due:
            self._due = True
            async with self._reloader.queue:
                self._due = False
                await self._reload(by)

    async def _reload(self, by: str) -> Answer:
        state = self._state
        systemd.notify_reloading()
        gc.disable()  # what is made now stays, and to look through it again and again would take long
        try:
            self._not_while_stopping()
            diff = await self._config_reader.load(state.config, state.initial)
            self._events.config_keys_renamed(diff.config.notices)
            await self._reloader.apply(diff, diff.config, {})
        except Exception as error:
            if isinstance(error, OSError):  # no descriptor or memory left, say
                error = OpenError([f"cannot serve it: {error.strerror}; see the limits of this process (ulimit -a)"])
            if isinstance(error, OperatorError | CommandError):
                problems = list(error.problems) if isinstance(error, OperatorError) else [str(error)]
                self._events.reload_rejected(by, problems)
            self._tell_manager()
            raise error from None
        finally:
            gc.enable()
        if diff.config.log.level != state.log_level:
            await self._set_log_level(diff.config.log.level)
        state.generation += 1
        changes = {change.service: change.what for change in diff.changes}
        self._events.reload_applied(by, state.generation, changes, [*diff.settings], [*diff.restart_needed])
        self._daemon.config_adopted()
        await self._pool.settle()
        self._tell_manager()
        return {
            "generation": state.generation,
            "changes": changes,
            "settings": diff.settings,
            "restart_needed": diff.restart_needed,
        }

    def _tell_manager(self) -> None:
        if not self._state.stopping:
            systemd.notify("READY=1", f"STATUS={self._daemon.status_line()}")

    async def switch(self, service: str, *, on: bool, by: str) -> Answer:
        """Switch a service on or off until the next reload."""
        async with self._reloader.queue:
            self._not_while_stopping()
            state = self._state
            state.require(service)
            overrides = {name: wanted for name, wanted in state.overrides.items() if name != service}
            if state.enabled_in_file(service) != on:
                overrides[service] = on
            await self._reloader.switch(overrides)
            self._daemon.config_adopted()
        (self._events.service_enabled if on else self._events.service_disabled)(service, by)
        return {"service": service, "enabled": on}

    async def connections(self, wanted: dict[str, str]) -> Answer:
        """Which connections there are."""
        self._know(wanted)
        found = await self._pool.ask_all(ListConnections(**wanted))
        answers = _of(ConnectionList, found)
        return {
            "total": sum(answer.total for answer in answers),
            "connections": [vars(row) for answer in answers for row in answer.connections],
        }

    async def peers(self, wanted: dict[str, str]) -> Answer:
        """Who has the most connections."""
        self._know(wanted)
        found = await self._pool.ask_all(ListPeers(**wanted))
        return merged_peers(_of(PeerList, found))

    async def kick(self, wanted: dict[str, str], by: str) -> Answer:
        """End connections."""
        self._know(wanted)
        answers = await self._pool.ask_all(Kick(**wanted))
        number = sum(answer.number for answer in _of(Kicked, answers))
        self._events.connections_kicked(number, by)
        return {"number": number}

    def _know(self, wanted: dict[str, str]) -> None:
        """A service that was removed may still have connections; one that nobody knows is a mistake."""
        if "service" in wanted:
            self._state.require(wanted["service"], once=True)

    async def set_log_level(self, level: str, by: str) -> Answer:
        """Change what is logged, until the next reload."""
        if level not in get_args(logs.Level):
            raise CommandError(f"expected one of {', '.join(get_args(logs.Level))}", EXIT_USAGE)
        await self._set_log_level(level)
        self._events.log_level_changed(level, by)
        return {"level": level}

    async def _set_log_level(self, level: Any) -> None:
        logs.set_level(level)
        self._state.log_level = level
        await self._pool.ask_all(SetLogLevel(level))

    def _not_while_stopping(self) -> None:
        if self._state.stopping:
            raise CommandError("netd is about to stop")


def merged_peers(answers: Iterable[PeerList]) -> Answer:
    """What several workers have answered, as one answer.

    A peer that is not among the largest of one worker is listed with its connections to the others.
    """
    found: dict[str, list[int]] = {}
    for row in (row for answer in answers for row in answer.peers):
        sums = found.setdefault(row.peer, [0, 0, 0])
        for place, number in enumerate((row.connections, row.bytes_in, row.bytes_out)):
            sums[place] += number
    merged = PeerList.of(sum(answer.total for answer in answers), found)
    return {"total": merged.total, "peers": list(map(vars, merged.peers))}


def _of(kind: type[R], answers: Mapping[WorkerProcess, R | Failed]) -> list[R]:
    """The responses of the workers that had one. Another worker failed, and what it had is not counted."""
    return [answer for answer in answers.values() if isinstance(answer, kind)]
