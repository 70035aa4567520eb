"""The programs of the config in force: what each is, which identity it has, and which launcher starts it."""

import itertools
import os
import pwd
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from netd import accounts
from netd.config.model import ServiceConfig
from netd.daemon import systemd
from netd.daemon.messages.to_launcher import Errors, Gives, Program
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.launchers import Launcher, LauncherPool, ProgramEntry
from netd.daemon.supervisor.listeners import ListenerRecord
from netd.daemon.supervisor.spawn import WorkerError
from netd.errors import OpenError, OperatorError
from netd.privileges import RunAs
from netd.services.check import Check
from netd.services.exec import Exec
from netd.services.exec.environment import base_environment
from netd.services.exec.options import ProgramOptions
from netd.services.table import find

_MOST_RUNS = 8
_LIMITS = {
    "cpu": "CPU",
    "memory": "AS",
    "files": "NOFILE",
    "file_size": "FSIZE",
    "stack": "STACK",
    "core": "CORE",
}


@dataclass(frozen=True)
class Placed:
    """A program of a service, and its launcher."""

    service: str
    launcher: Launcher
    number: int
    record: int | None = None
    """The number of the listener that the program gets."""


@dataclass
class PreparedPrograms:
    """The programs of a config that is not in force yet."""

    by_service: dict[str, list[Placed]] = field(default_factory=dict)
    added: list[Placed] = field(default_factory=list)

    def place(self, service: str, placed: Placed) -> None:
        """Have the service use this."""
        self.by_service.setdefault(service, []).append(placed)

    def entry(self, service: str) -> tuple[int, int] | None:
        """The numbers of the launcher and of the program of a service, for a worker; None: no worker starts it."""
        for placed in self.by_service.get(service, ()):
            if placed.record is None:
                return placed.launcher.number, placed.number
        return None


class Programs:
    """The programs of the services."""

    def __init__(self, launchers: LauncherPool) -> None:
        self._launchers = launchers
        self._numbers = itertools.count(1)
        self.in_force = PreparedPrograms()

    async def prepare(self, diff: ConfigDiff, records: Iterable[ListenerRecord]) -> PreparedPrograms:
        """Have launchers know the programs of a config that are not in force. Raises `OpenError` if one cannot be."""
        if diff.config.daemon.on_stop == "leave" and os.getpid() == 1:
            raise OperatorError(
                ["daemon.on_stop: netd has process id 1, so all processes end with it; set drain or kill"]
            )
        if diff.config.daemon.on_stop == "leave" and systemd.has_dynamic_user():
            problem = "systemd gives the user of this netd to another service, and ends programs with it (DynamicUser=)"
            raise OperatorError([f"daemon.on_stop: {problem}; see the drop-in programs-leave.conf"])
        prepared = PreparedPrograms()
        listeners: dict[str, list[ListenerRecord]] = {}
        for record in records:
            listeners.setdefault(record.listener.service, []).append(record)
        wanted: dict[RunAs, list[tuple[int | None, ProgramEntry]]] = {}
        problems: list[str] = []
        for service in diff.config.enabled:
            if not starts_programs(service):
                continue
            own: list[ListenerRecord | None] = [None]
            if is_listener(service):
                own = [*listeners.get(service.name, ())]
            for one in own:
                try:
                    if placed := self._unchanged(service, one, diff):
                        prepared.place(service.name, placed)
                        continue
                    run_as = identity(service)
                    entry = ProgramEntry(self._program(service, run_as), one.listener if one else None)
                    wanted.setdefault(run_as, []).append((one.id if one else None, entry))
                except ValueError as error:
                    problems.append(f"services.{service.name}.options: {error}")
        if problems:
            raise OpenError(problems)
        try:
            for run_as, numbered in wanted.items():
                await self._add(run_as, numbered, prepared)
        except BaseException:
            self.abort(prepared)
            raise
        return prepared

    def _unchanged(self, service: ServiceConfig, record: ListenerRecord | None, diff: ConfigDiff) -> Placed | None:
        """What is in force for a service and its listener, if the new config does not change it.

        Other keys of the service, such as `access`, may change: a program that has the listener goes on. Raises
        ValueError if there is no such account.
        """
        number = record and record.id
        for placed in self.in_force.by_service.get(service.name, ()):
            if placed.record == number:
                if service.name not in diff.reconfigured:
                    return placed
                run_as = identity(service)
                before = placed.launcher.programs[placed.number].program
                same = placed.launcher.run_as == run_as and before == replace(
                    self._program(service, run_as), number=before.number
                )
                return placed if same else None
        return None

    async def _add(
        self, run_as: RunAs, numbered: list[tuple[int | None, ProgramEntry]], prepared: PreparedPrograms
    ) -> None:
        entries = [entry for _, entry in numbered]
        try:
            launcher = await self._launchers.add(run_as, entries)
        except WorkerError as error:
            where = f"services.{entries[0].program.service}"
            raise OpenError([f"{where}: cannot start programs as user {run_as.name}: {error}"]) from None
        for record, entry in numbered:
            placed = Placed(entry.program.service, launcher, entry.program.number, record)
            prepared.added.append(placed)
            prepared.place(entry.program.service, placed)

    def trusts_own_user(self) -> bool:
        """Whether the user of this process may control netd: not where its programs are all that has that user.

        Of an account of a service, which logs in nowhere, programs are the only processes beside netd. A person that
        runs netd is trusted: programs of the same user could end it in any case.
        """
        return not (self.in_force.by_service and accounts.is_of_a_service(os.geteuid()))

    def abort(self, prepared: PreparedPrograms) -> None:
        """Forget the programs of a config that is not put in force."""
        self._remove(prepared.added)

    def commit(self, prepared: PreparedPrograms) -> list[Placed]:
        """Put the prepared programs in force. Returns those that are not any more, for `finish`."""
        kept = {placed for placed_list in prepared.by_service.values() for placed in placed_list}
        removed = [one for placed_list in self.in_force.by_service.values() for one in placed_list if one not in kept]
        self.in_force = prepared
        return removed

    async def end_listening(self, removed: list[Placed]) -> None:
        """End those of the removed programs that have listeners, and wait for their ends: they hold the ports."""
        for launcher, placed in _by_launcher(one for one in removed if one.record is not None):
            await self._launchers.end_listening(launcher, [one.number for one in placed])

    def finish(self, removed: list[Placed], draining: Mapping[str, float]) -> None:
        """Start none of the removed programs any more, and those that have a listener now when something comes.

        Every worker has been told, and has closed those listeners. ``draining`` has the services that were switched
        off, and the seconds until their programs are ended.
        """
        for one in removed:
            if (seconds := draining.get(one.service)) is not None:
                self._launchers.end(one.launcher, [one.number], seconds)
        self._remove([one for one in removed if one.record is None])
        for launcher, placed in _by_launcher(one for one in self.in_force.added if one.record is not None):
            self._launchers.listen(launcher, [one.number for one in placed])
        self.in_force.added.clear()

    def _remove(self, removed: list[Placed]) -> None:
        for launcher, placed in _by_launcher(removed):
            self._launchers.remove(launcher, [one.number for one in placed])

    def _program(self, service: ServiceConfig, run_as: RunAs) -> Program:
        options = service.options
        assert isinstance(options, ProgramOptions), "its type starts programs"
        account = _account(run_as)
        limits = service.policy.limits
        gives: Gives = "output"
        errors: Errors = "log"
        lifetime, connections = limits.lifetime, limits.connections
        if isinstance(options, Exec.Options):
            gives, errors = ("listener" if is_listener(service) else "connection"), options.stderr
        elif isinstance(options, Check.Options):
            # One runs at a time; but the one before may not have ended yet, and a worker may have been replaced.
            lifetime, connections = options.timeout, _MOST_RUNS
        return Program(
            number=next(self._numbers),
            service=service.name,
            command=list(options.command),
            argv0=options.argv0 or os.path.basename(options.command[0]),
            environment=base_environment(account, options, os.environ),
            directory=options.directory,
            umask=options.umask,
            nice=max(0, options.nice),  # below 0 the launcher has it
            limits=_limits(options),
            gives=gives,
            errors=errors,
            described=isinstance(options, Exec.Options)
            and (options.relay or service.policy.proxy_protocol is not None),
            connections=connections,
            lifetime=lifetime,
            stop_signal=signal.Signals[f"SIG{options.stop.signal}"],
            stop_after=options.stop.after,
        )


def starts_programs(service: ServiceConfig) -> bool:
    """Whether netd starts programs for a service."""
    kind = find(service.type)
    return kind is not None and kind.starts_programs


def is_listener(service: ServiceConfig) -> bool:
    """Whether the program of a service gets its listeners, so that no worker has them."""
    return isinstance(service.options, Exec.Options) and service.options.mode == "listener"


def hands_over(service: ServiceConfig) -> bool:
    """Whether the program of a service has the connections or listeners, so that netd sees none of the octets."""
    return isinstance(service.options, Exec.Options) and not service.options.relay


def _by_launcher(placed: Iterable[Placed]) -> Iterable[tuple[Launcher, list[Placed]]]:
    found: dict[Launcher, list[Placed]] = {}
    for one in placed:
        found.setdefault(one.launcher, []).append(one)
    return found.items()


def _limits(options: ProgramOptions) -> dict[str, tuple[int, int]]:
    found = {}
    for key, name in _LIMITS.items():
        if (value := getattr(options.limits, key)) is not None:
            found[name] = int(value), int(value)
    return found


def identity(service: ServiceConfig) -> RunAs:
    """The identity that the program of a service runs as. Raises ValueError if there is no such account."""
    options = service.options
    assert isinstance(options, ProgramOptions), "its type starts programs"
    if os.geteuid() != 0:
        return RunAs(_own_name(), no_new_privileges=options.no_new_privileges)
    user = accounts.find_user(options.user or "nobody")
    group = accounts.find_id("gid", options.group) if options.group else user.pw_gid
    if options.groups is True:
        groups = tuple(os.getgrouplist(user.pw_name, group))
    else:
        groups = tuple(accounts.find_id("gid", name) for name in options.groups or ())
    return RunAs(
        user.pw_name, user.pw_uid, group, groups, options.root, options.no_new_privileges, min(0, options.nice)
    )


def _own_name() -> str:
    try:
        return accounts.find_user(str(os.geteuid())).pw_name
    except ValueError:
        return str(os.geteuid())


def _account(run_as: RunAs) -> pwd.struct_passwd:
    """The account of an identity; a number without one has the name of its number, and no home."""
    number = os.geteuid() if run_as.user is None else run_as.user
    try:
        return accounts.find_user(str(number))
    except ValueError:
        return pwd.struct_passwd((str(number), "x", number, os.getegid(), "", "/", "/bin/sh"))
