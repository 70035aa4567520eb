"""Commands of the control socket: reload, enable and disable services, list and close connections.

Each command is a coroutine. While one waits for a worker or for the config, the loop serves everything else.
"""

import contextlib
import gc
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, get_args

from netd.config import in_force
from netd.config.model import ServiceConfig
from netd.daemon import systemd
from netd.daemon.messages.from_supervisor import (
    Kick,
    LeaveTarget,
    ListConnections,
    ListPeers,
    Request,
    SetLogLevel,
)
from netd.daemon.messages.from_worker import ConnectionList, Failed, Kicked, PeerList, R
from netd.daemon.resource_limits import described
from netd.daemon.supervisor.config_reader import ConfigReader
from netd.daemon.supervisor.control import Answer, CommandError
from netd.daemon.supervisor.launchers import LauncherPool
from netd.daemon.supervisor.reload import Reloader
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.status import since_1970
from netd.daemon.supervisor.targets import ServiceTargets
from netd.daemon.supervisor.usage import usage_of
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Result
from netd.errors import EXIT_USAGE, OpenError, OperatorError
from netd.services.forward.options import ForwardOptions
from netd.services.forward.state import Said
from netd.services.forward.target import Target
from netd.shared.memory import MOST_ISOLATED
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.text import shown, suggestion

_MOST_VALUES = 50_000
"""In an answer to `config`: some megabytes, of the 16 MiB that a client takes."""

_SAID: dict[str, Said] = {"enable": "enabled", "drain": "drain", "disable": "disabled"}
"""What a target is after the command."""


class Daemon(Protocol):
    """The members of the supervisor that commands use."""

    def config_applied(self) -> None:
        """Update what depends on the config, after a new one is in force."""

    def status_line(self) -> str:
        """The status that the service manager shows."""


class Commands:
    """The commands. Each may raise `CommandError` or `OperatorError`."""

    def __init__(
        self,
        state: State,
        pool: WorkerPool,
        launchers: LauncherPool,
        reloader: Reloader,
        config_reader: ConfigReader,
        events: DaemonEvents,
        daemon: Daemon,
    ) -> None:
        self._state = state
        self._pool = pool
        self._reloader = reloader
        self._config_reader = config_reader
        self._events = events
        self._daemon = daemon
        self._launchers = launchers
        self._reload_pending = False  # whether SIGHUP requested a reload that has not begun

    def ask_all(self, request: Request[R], descriptors: Sequence[int] = ()) -> Result[dict[WorkerProcess, R | Failed]]:
        """Send a request to all workers and launchers."""
        return self._pool.ask(request, descriptors, [*self._pool.all_workers, *self._launchers.processes])

    async def config(self, selection: dict[str, str]) -> Answer:
        """The config in force, key by key, and where each value came from: of all, or of a service."""
        state = self._state
        service = selection.get("service")
        if service is not None:
            state.require(service)
        config, changed = state.config, in_force.Commands(state.overrides, state.log_level)
        work = in_force.values(config, changed, service, defaults=selection.get("defaults") == "yes")
        values = await self._config_reader.tasks.in_slices(work)
        if len(values) > _MOST_VALUES:
            raise CommandError(f"more than {_MOST_VALUES} values are in force; ask for one service")
        return {
            "config": config.source,
            "pid": os.getpid(),
            "generation": state.generation,
            "values": [value.fields() for value in values],
        }

    async def diff(self) -> Answer:
        """What a reload would change, and how many open connections each change affects."""
        state = self._state
        diff = await self._config_reader.load(state.in_force, state.initial)
        tables = state.tables
        return {
            "changes": [
                {
                    "service": change.service,
                    "what": change.what,
                    "details": change.details,
                    "connections": tables[change.service].read().active if change.service in tables else 0,
                    "drained": change.drain is not None,
                }
                for change in diff.changes
            ],
            "settings": diff.settings,
            "restart_needed": diff.restart_needed,
        }

    async def reload(self, by: str) -> Answer:
        """Read the config again and put it in force. If any part fails, nothing changes."""
        self._not_while_stopping()
        async with self._reloader.queue:
            return await self._reload(by)

    async def reload_once(self, by: str) -> None:
        """As `reload`, for signals. Signals that arrive before a reload begins cause one reload."""
        if not self._reload_pending:
            self._reload_pending = True
            async with self._reloader.queue:
                self._reload_pending = False
                await self._reload(by)

    async def _reload(self, by: str) -> Answer:
        state = self._state
        systemd.notify_reloading()
        gc.disable()  # the new config stays in memory; collections while it is built would only take time
        try:
            self._not_while_stopping()
            diff = await self._config_reader.load(state.in_force, state.initial)
            self._events.config_notices(diff.config.notices)
            await self._reloader.apply(diff, diff.config, {})
        except Exception as error:
            if isinstance(error, OSError):  # such as no descriptor or memory left
                error = OpenError([f"cannot serve it: {described(error)}"])
            if isinstance(error, OperatorError | CommandError):
                problems = list(error.problems) if isinstance(error, OperatorError) else [str(error)]
                self._events.reload_rejected(by, problems)
            self._notify_manager()
            raise error from None
        finally:
            gc.enable()
        if diff.config.log.level != state.log_level:
            await self._set_log_level(diff.config.log.level)
        state.generation += 1
        changes = {change.service: change.what for change in diff.changes}
        self._events.reload_applied(by, state.generation, changes, [*diff.settings], [*diff.restart_needed])
        self._daemon.config_applied()
        await self._pool.wait_for_starts()
        self._notify_manager()
        shortage = "" if self._pool.serves else f"{self._pool.shortage}: see worker_lost and worker_failed in the log"
        return {
            "generation": state.generation,
            "changes": [
                {"service": change.service, "what": change.what, "details": change.details} for change in diff.changes
            ],
            "settings": diff.settings,
            "restart_needed": diff.restart_needed,
            "warnings": [shortage] * bool(shortage),
        }

    def _notify_manager(self) -> None:
        if not self._state.stopping:
            systemd.notify("READY=1", f"STATUS={self._daemon.status_line()}")

    async def switch(self, service: str, *, on: bool, by: str) -> Answer:
        """Enable or disable a service until the next reload."""
        async with self._reloader.queue:
            self._not_while_stopping()
            state = self._state
            state.require(service)
            was = next(one.enabled for one in state.config.services if one.name == service)
            overrides = {name: enabled for name, enabled in state.overrides.items() if name != service}
            if state.enabled_in_file(service) != on:
                overrides[service] = on
            await self._reloader.switch(overrides)
            self._daemon.config_applied()
        (self._events.service_enabled if on else self._events.service_disabled)(service, by)
        return {"service": service, "enabled": on, "changed": was != on, "until_reload": service in overrides}

    async def isolate(self, service: str) -> None:
        """Move a service that took workers down to one of its own, until its code changes, or netd is started again."""
        async with self._reloader.queue:
            state = self._state
            enabled = any(one.name == service for one in state.config.enabled)
            if state.stopping or not enabled or service in state.isolated or len(state.isolated) >= MOST_ISOLATED:
                return
            state.moved.add(service)
            try:
                await self._reloader.switch(state.overrides)
            except BaseException as error:
                state.moved.discard(service)
                if isinstance(error, OperatorError | CommandError):  # more workers were lost: the next loss tries again
                    return
                raise
            self._events.service_isolated(service)
            self._daemon.config_applied()

    async def connections(self, selection: dict[str, str]) -> Answer:
        """The open connections, of all or of a service or peer."""
        self._require_service(selection)
        responses = await self.ask_all(ListConnections(**selection))
        lists = _of_type(ConnectionList, responses)
        launchers = {process.pid for process in self._launchers.processes}
        return {
            "total": sum(one.total for one in lists),
            "connections": [
                {
                    "id": row.id,
                    "service": row.service,
                    "transport": row.transport,
                    "peer": row.peer,
                    "local": row.local,
                    "age_seconds": row.seconds,
                    "idle_seconds": row.idle,
                    "received_bytes": row.bytes_in,
                    "sent_bytes": row.bytes_out,
                    "unanswered": row.unanswered,
                    "handed_over": row.handed_over,
                    **({"via": row.via} if row.via else {}),
                    "target": row.target,
                    **({"pid": row.pid, **usage_of(row.pid, launchers)} if row.pid else {}),
                }
                for one in lists
                for row in one.connections
            ],
        }

    async def peers(self, selection: dict[str, str]) -> Answer:
        """The peers with the most connections."""
        self._require_service(selection)
        responses = await self.ask_all(ListPeers(**selection))
        return merged_peers(_of_type(PeerList, responses))

    async def kick(self, selection: dict[str, str], by: str) -> Answer:
        """Close connections, and return how many."""
        self._require_service(selection)
        responses = await self.ask_all(Kick(**selection))
        number = sum(response.number for response in _of_type(Kicked, responses))
        self._events.connections_kicked(number, by)
        return {"closed": number}

    def targets(self, service: str) -> Answer:
        """The targets of a service that forwards."""
        _, targets, options = self._targets(service)
        return {"service": service, "targets": targets.report(options, since_1970())}

    def change_target(self, service: str, what: str, url: str, by: str) -> Answer:
        """Enable a target, or disable or drain it. Of one that is disabled, connections have `limits.drain` to end."""
        self._not_while_stopping()
        config, targets, options = self._targets(service)
        target = _find_target(url, options.to)
        if target is None:
            hint = suggestion(url, map(str, options.to))
            raise CommandError(f"'{service}' has no target {shown(url)}{hint}", EXIT_USAGE)
        said = _SAID[what]
        changed = targets.say(target, said, by)
        if changed:
            self._events.target_changed(service, str(target), said, by)
            if said == "disabled":
                drain = config.policy.limits.drain
                word = targets.said(target)
                order = LeaveTarget(service, str(target))
                self._pool.send_later(drain, order, lambda: targets.said(target) is word)
        return {"service": service, "target": str(target), "state": said, "changed": changed}

    def _targets(self, service: str) -> tuple[ServiceConfig, ServiceTargets, ForwardOptions]:
        self._state.require(service)
        config = next(one for one in self._state.config.services if one.name == service)
        found = self._state.targets(config)
        if found is None:
            raise CommandError(f"'{service}' has no targets: its type is {config.type}, and not forward", EXIT_USAGE)
        return config, *found

    def _require_service(self, selection: dict[str, str]) -> None:
        """Raise `CommandError` for a service that never existed. A removed one may still have connections."""
        if "service" in selection:
            self._state.require(selection["service"], once=True)

    def log_level(self) -> Answer:
        """The log level."""
        return {"log_level": self._state.log_level}

    async def set_log_level(self, level: str, by: str) -> Answer:
        """Set the log level until the next reload."""
        if level not in get_args(logs.Level):
            raise CommandError(f"expected one of {', '.join(get_args(logs.Level))}", EXIT_USAGE)
        was = self._state.log_level
        await self._set_log_level(level)
        self._events.log_level_changed(level, by)
        return {"log_level": level, "changed": was != level}

    async def _set_log_level(self, level: Any) -> None:
        logs.set_level(level)
        self._state.log_level = level
        await self.ask_all(SetLogLevel(level))

    def _not_while_stopping(self) -> None:
        if self._state.stopping:
            raise CommandError("netd is stopping")


def _find_target(url: str, targets: Iterable[Target]) -> Target | None:
    """The target with this URL, however it is written. A request is words, so any blanks between two are one."""
    found = {_joined(str(target)): target for target in targets}
    with contextlib.suppress(ValueError):
        return found.get(_joined(url)) or next((one for one in found.values() if one == Target.parse(url)), None)
    return None


def _joined(url: str) -> str:
    return " ".join(url.split())


def merged_peers(answers: Iterable[PeerList]) -> Answer:
    """The peer lists of several workers as one.

    A worker lists only its largest peers, so a sum lacks the connections to workers that do not list the peer.
    """
    found: dict[str, list[int]] = {}
    for row in (row for answer in answers for row in answer.peers):
        sums = found.setdefault(row.peer, [0, 0, 0])
        for place, number in enumerate((row.connections, row.bytes_in, row.bytes_out)):
            sums[place] += number
    merged = PeerList.of(sum(answer.total for answer in answers), found)
    return {
        "total": merged.total,
        "peers": [
            {
                "peer": row.peer,
                "connections": row.connections,
                "received_bytes": row.bytes_in,
                "sent_bytes": row.bytes_out,
            }
            for row in merged.peers
        ],
    }


def _of_type(kind: type[R], answers: Mapping[WorkerProcess, R | Failed]) -> list[R]:
    """The responses of this type. Workers that failed are left out, and their connections are not counted."""
    return [answer for answer in answers.values() if isinstance(answer, kind)]
