"""What is in force: the config, what was switched on or off since, and the counters."""

import time

from netd.admission.bans import Bans
from netd.config.model import Config, ServiceConfig
from netd.daemon.supervisor.control import CommandError
from netd.errors import EXIT_NO
from netd.services.table import find
from netd.shared.daemon_limits import DaemonLimits
from netd.shared.table import Table
from netd.telemetry.service_events import ListenerEvents
from netd.text import suggestion
from netd.transport.listen import Listener


class State:
    """What the supervisor knows of the services."""

    def __init__(self, config: Config) -> None:
        self.initial = config
        """The one netd was started with."""
        self.file = config
        """The config as its file has it."""
        self.overrides: dict[str, bool] = {}
        """What was switched on or off since it was read."""
        self.config = config
        """What is in force: both together."""
        self.seen = set(self.names)
        """The services there are or have been."""
        self._tables: dict[tuple[str, str], Table] = {}  # by service and type: another type counts anew
        self.daemon_limits = DaemonLimits()
        """What the services' admission shares."""
        self.bans = Bans(config.bans)
        self.generation = 1
        """How many configs have been in force."""
        self.log_level = config.log.level
        self.ready = False
        """Whether every service listens, and a worker serves it."""
        self.stopping = False
        """Whether nothing more is accepted, since netd is about to end."""
        self.status_line = ""
        """What the service manager was last told."""
        self.started = time.time()
        self._since = time.monotonic()

    @property
    def names(self) -> list[str]:
        """The services, on or off."""
        return [service.name for service in self.file.services]

    @property
    def active(self) -> int:
        """How many connections are open."""
        return sum(self.daemon_limits.active)  # also of services that were removed, or have another type by now

    @property
    def seconds(self) -> float:
        """How long netd has run."""
        return time.monotonic() - self._since

    def require(self, service: str, *, once: bool = False, exit_code: int = EXIT_NO) -> None:
        """See that there is such a service, or ``once`` was. `CommandError` proposes the name that may be meant."""
        if service not in (self.seen if once else self.names):
            name = service[:64]
            raise CommandError(f"there is no service '{name}'{suggestion(name, self.names)}", exit_code)

    def enabled_in_file(self, service: str) -> bool:
        """Whether the file switches it on."""
        return any(one.enabled for one in self.file.services if one.name == service)

    def effective(self, config: Config, overrides: dict[str, bool]) -> Config:
        """The config with what was switched on or off."""
        # Most services are as they were, and the same objects, so that comparing them takes no time.
        services = tuple(
            service
            if overrides.get(service.name, service.enabled) == service.enabled
            else service.model_copy(update={"enabled": not service.enabled})
            for service in config.services
        )
        return config.model_copy(update={"services": services})

    def adopt(self, config: Config, overrides: dict[str, bool]) -> None:
        """This is in force now."""
        self.config = self.effective(config, overrides)
        self.file, self.overrides = config, overrides
        self.seen |= set(self.names)
        self.bans.apply(config.bans)
        self.drop_unused_tables()

    @property
    def tables(self) -> dict[str, Table]:
        """The counters by service, of those in force that have been on."""
        keys = [(service.name, service.type) for service in self.config.services]
        return {key[0]: self._tables[key] for key in keys if key in self._tables}

    def table(self, service: ServiceConfig) -> Table:
        """The counters of a service, as its type has them."""
        key = (service.name, service.type)
        if key not in self._tables:
            kind = find(service.type)
            assert kind is not None, "the config was checked"
            self._tables[key] = Table(layout=kind.layout)
        return self._tables[key]

    def drop_unused_tables(self) -> None:
        """Give up the counters of services that are not in the config, or have another type there."""
        for key in self._tables.keys() - {(service.name, service.type) for service in self.config.services}:
            self._tables.pop(key).close_descriptor()

    def settle(self, worker: int) -> int:
        """A worker is over, and what it had open is, too; how many connections that were."""
        self.daemon_limits.clear(worker)
        return sum(table.reap_counters(worker) for table in self._tables.values())

    def bans_until(self) -> dict[str, float]:
        """Who is banned, as workers are told: sources in hexadecimal, and until when (CLOCK_MONOTONIC)."""
        return {source.hex(): ban.until for source, ban in self.bans.active(time.monotonic()).items()}

    def tell_listening(self, listener: Listener) -> None:
        """A service can be reached there."""
        ListenerEvents(listener.service).listening(listener.url)

    def address_skipped(self, service: str, url: str, error: str) -> None:
        """One of the addresses a name stands for is not on this host."""
        ListenerEvents(service).address_skipped(url, error)

    def options_failed(self, service: str, url: str, error: str) -> None:
        """An open socket did not get the options of a new config."""
        ListenerEvents(service).options_failed(url, error)
