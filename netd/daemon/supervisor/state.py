"""The state of the supervisor: the config in force, the services enabled or disabled by command, the counters."""

import time
from collections.abc import Container

from netd import host_zone
from netd.admission.bans import Bans
from netd.config.model import Config, ServiceConfig
from netd.daemon.messages.from_worker import ProgramsChanged
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.targets import ServiceTargets
from netd.errors import EXIT_USAGE
from netd.services.forward.options import ForwardOptions
from netd.services.table import find
from netd.shared.daemon_limits import DaemonLimits
from netd.shared.table import CELL, SUPERVISOR, Table
from netd.telemetry.listener_events import ListenerEvents
from netd.telemetry.program_events import ProgramCounts
from netd.text import suggestion
from netd.transport.listener import Listener


class State:
    """The config in force, and everything that is kept for its services."""

    def __init__(self, config: Config) -> None:
        self.initial = config.model_copy(update={"services": ()})
        """The config that netd was started with, without its services, which may have keys that no process needs."""
        self.file = config
        """The config that was last read from the file."""
        self.overrides: dict[str, bool] = {}
        """The services that were enabled or disabled by command since."""
        self.config = config
        """The config in force: the file with the overrides."""
        self.seen = set(self.names)
        """The names of all services, including removed ones."""
        self._tables: dict[tuple[str, str], Table] = {}  # by service and type: a new type starts at 0
        self._targets: dict[tuple[str, str], ServiceTargets] = {}  # likewise, of services that forward
        self._workers = 0  # columns of workers in each table
        self._programs: dict[int, dict[str, int]] = {}  # that no worker waits for: by launcher, by service
        self.daemon_limits = DaemonLimits()
        """The limits that all services share."""
        self.bans = Bans(config.bans)
        self.moved: set[str] = set()
        """The services that have a worker of their own since they took those of others down."""
        self.generation = 1
        """How many configs have been in force."""
        self.log_level = config.log.level
        """The level in force: that of the config, or the one set by command since."""
        self.ready = False
        """Whether the start is complete: every service listens, and the workers serve."""
        self.stopping = False
        """Whether netd is stopping, and accepts no connections."""
        self.status_line = ""
        """The status last sent to the service manager."""
        self.started = time.monotonic()
        """When netd was started (CLOCK_MONOTONIC)."""

    @property
    def in_force(self) -> Config:
        """What a reload changes: `config`, with the log level that was set by command."""
        return self.config.model_copy(update={"log": self.config.log.model_copy(update={"level": self.log_level})})

    @property
    def names(self) -> list[str]:
        """The services, enabled or not."""
        return [service.name for service in self.file.services]

    @property
    def active(self) -> int:
        """The number of open connections, including those of services that were removed or have another type now."""
        return self.daemon_limits.connections

    @property
    def seconds(self) -> float:
        """The time since the start of netd, in seconds."""
        return time.monotonic() - self.started

    @property
    def isolated(self) -> tuple[str, ...]:
        """The services that have a worker of their own."""
        return tuple(service.name for service in self.config.enabled if self.is_isolated(service))

    def is_isolated(self, service: ServiceConfig) -> bool:
        """Whether a service has a worker of its own while it is enabled."""
        return service.isolate or service.name in self.moved

    def require(self, service: str, *, once: bool = False) -> None:
        """Raise `CommandError`, with a similar name, if there is no such service. ``once``: a removed one will do."""
        if service not in (self.seen if once else self.names):
            name = service[:64]
            raise CommandError(f"there is no service '{name}'{suggestion(name, self.names)}", EXIT_USAGE)

    def enabled_in_file(self, service: str) -> bool:
        """Whether the file enables the service."""
        return any(one.enabled for one in self.file.services if one.name == service)

    def effective(self, config: Config, overrides: dict[str, bool]) -> Config:
        """The config with these services enabled or disabled."""
        # Services that do not change stay the same objects, which makes the comparison of configs fast.
        services = tuple(
            service
            if overrides.get(service.name, service.enabled) == service.enabled
            else service.model_copy(update={"enabled": not service.enabled})
            for service in config.services
        )
        return config.model_copy(update={"services": services})

    def apply(self, config: Config, overrides: dict[str, bool]) -> None:
        """Store a config that is in force in the workers now."""
        host_zone.read_again()
        self.config = self.effective(config, overrides)
        self.file, self.overrides = config, overrides
        self.seen |= set(self.names)
        self.moved &= {service.name for service in self.config.enabled}
        self.bans.apply(config.bans)
        self.drop_unused_tables()

    @property
    def tables(self) -> dict[str, Table]:
        """The counters by service, of the services in force that have been enabled."""
        keys = [(service.name, service.type) for service in self.config.services]
        return {key[0]: self._tables[key] for key in keys if key in self._tables}

    def table(self, service: ServiceConfig) -> Table:
        """The counters of a service, with the layout of its type. Made at the first call."""
        key = (service.name, service.type)
        if key not in self._tables:
            kind = find(service.type)
            assert kind is not None, "the config was checked"
            self._tables[key] = made = Table(layout=kind.layout)
            made.workers = self._workers
            if made.targets:
                self._targets[key] = ServiceTargets(made.targets)
        return self._tables[key]

    def targets(self, service: ServiceConfig) -> tuple[ServiceTargets, ForwardOptions] | None:
        """The targets of a service, and the options that name them; None: it does not forward."""
        self.table(service)
        found = self._targets.get((service.name, service.type))
        return (found, service.options) if found and isinstance(service.options, ForwardOptions) else None

    def add_worker(self, number: int) -> None:
        """Count what the worker with this number writes, which has started."""
        self._workers = max(number + 1, self._workers)
        for table in self._tables.values():
            table.workers = self._workers

    def drop_unused_tables(self) -> None:
        """Close the counters of services that are not in the config, or have another type there."""
        for key in self._tables.keys() - {(service.name, service.type) for service in self.config.services}:
            self._tables.pop(key).close_descriptor()
            self._targets.pop(key, None)
        for service in self.config.services:
            if isinstance(service.options, ForwardOptions) and (service.name, service.type) in self._targets:
                self._targets[service.name, service.type].keep(service.options.to)

    def settle_counters(self, running: Container[int]) -> int:
        """Count the open connections of a worker that has exited as closed (``lost``). Returns how many there were.

        Only these numbers belong to ``running`` workers. What the worker may have written elsewhere is removed.
        """
        self.daemon_limits.settle(running)
        lost = sum(table.settle(running) for table in self._tables.values())
        for targets in self._targets.values():
            targets.write()
        return lost

    def count_programs(self, launcher: int, changed: ProgramsChanged) -> None:
        """Count the programs of a service that no worker waits for, as the launcher with this process id says."""
        self._programs.setdefault(launcher, {})[changed.service] = changed.running
        running = sum(services.get(changed.service, 0) for services in self._programs.values())
        for (service, _), table in self._tables.items():
            if service == changed.service and "programs_started" in table.layout.cells:
                table.column(SUPERVISOR)[CELL["active"]] = running
                counts = ProgramCounts(table, SUPERVISOR)
                counts.started(changed.started)
                if changed.ended:
                    counts.ended(changed.ended, changed.fault, changed.cpu, changed.seconds)
                elif changed.fault:
                    counts.not_started()

    def settle_programs(self, launchers: Container[int]) -> None:
        """Count no programs of launchers but these: another one does not know those that no worker has told it of."""
        for lost in [launcher for launcher in self._programs if launcher not in launchers]:
            for service in self._programs[lost]:
                self.count_programs(lost, ProgramsChanged(service, 0))
            del self._programs[lost]

    def bans_until(self) -> dict[str, float]:
        """The bans for `SetBans`: sources in hexadecimal, with the time until which they hold (CLOCK_MONOTONIC)."""
        return {source.hex(): ban.until for source, ban in self.bans.active(time.monotonic()).items()}

    def log_listening(self, listener: Listener) -> None:
        """Log that a service listens."""
        ListenerEvents(listener.service).listening(listener.url)

    def address_skipped(self, service: str, url: str, error: str) -> None:
        """Log that one of the addresses of a name is not on this host."""
        ListenerEvents(service).address_skipped(url, error)

    def options_failed(self, service: str, url: str, error: str) -> None:
        """Log that the options of an open socket could not be changed."""
        ListenerEvents(service).options_failed(url, error)
