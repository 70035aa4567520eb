"""What is in force: the config, what was switched on or off since, and the counters; and how `netd status` tells it."""

import os
import time
from typing import Any

from netd import __version__
from netd.admission.bans import Bans
from netd.admission.ledger import Ledger
from netd.config.model import Config, ServiceConfig
from netd.daemon.listeners import Numbered
from netd.telemetry.counters import Table
from netd.telemetry.events import ServiceEvents
from netd.transport.sockets import Listener


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
        self.tables: dict[str, Table] = {}
        """The counters by service, of those that have been on."""
        self.ledger = Ledger()
        """What the services' admission shares."""
        self.bans = Bans(config.bans)
        self.generation = 1
        """How many configs have been in force."""
        self.log_level = config.log.level
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
        return sum(table.read().active for table in self.tables.values())

    @property
    def seconds(self) -> float:
        """How long netd has run."""
        return time.monotonic() - self._since

    def enabled_in_file(self, service: str) -> bool:
        """Whether the file switches it on."""
        return any(one.enabled for one in self.file.services if one.name == service)

    def effective(self, config: Config, overrides: dict[str, bool]) -> Config:
        """The config with what was switched on or off."""
        services = tuple(
            service.model_copy(update={"enabled": overrides.get(service.name, service.enabled)})
            for service in config.services
        )
        return config.model_copy(update={"services": services})

    def adopt(self, config: Config, overrides: dict[str, bool]) -> None:
        """This is in force now."""
        self.config = self.effective(config, overrides)
        self.file, self.overrides = config, overrides
        self.seen |= set(self.names)
        self.bans.adopt(config.bans)
        for name in self.tables.keys() - set(self.names):
            self.tables.pop(name).close_descriptor()

    def table(self, service: str) -> Table:
        """The counters of a service."""
        if service not in self.tables:
            self.tables[service] = Table()
        return self.tables[service]

    def settle(self, worker: int) -> int:
        """A worker is over, and what it had open is, too; how many connections that were."""
        self.ledger.forget(worker)
        return sum(table.settle(worker) for table in self.tables.values())

    def bans_until(self) -> dict[str, float]:
        """Who is banned, as workers are told: sources in hexadecimal, and until when (CLOCK_MONOTONIC)."""
        return {source.hex(): ban.until for source, ban in self.bans.active(time.monotonic()).items()}

    def tell_listening(self, listener: Listener) -> None:
        """A service can be reached there."""
        ServiceEvents(listener.service, self.table(listener.service)).listening(listener.url)

    def address_skipped(self, service: str, url: str, error: str) -> None:
        """One of the addresses a name stands for is not on this host."""
        ServiceEvents(service, self.table(service)).address_skipped(url, error)


def status(state: State, listeners: list[Numbered], workers: list[dict[str, Any]], *, stopping: bool) -> dict[str, Any]:
    """What `netd status --json` prints."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "config": state.config.source,
        "generation": state.generation,
        "started": state.started,
        "seconds": round(state.seconds, 1),
        "stopping": stopping,
        "log_level": state.log_level,
        "bans": len(state.bans.active(time.monotonic())),
        "workers": workers,
        "services": [_service(state, service, listeners) for service in state.config.services],
    }


def _service(state: State, service: ServiceConfig, listeners: list[Numbered]) -> dict[str, Any]:
    override = state.overrides.get(service.name)
    if override is None:
        why = "" if service.enabled else "by the config"
    else:
        why = f"by netd {'enable' if override else 'disable'}, until the next reload"
    urls = [one.listener.url for one in listeners if one.listener.service == service.name]
    counts = state.table(service.name).read()
    return {
        "service": service.name,
        "type": service.type,
        "enabled": service.enabled,
        "why": why,
        "endpoints": urls if service.enabled else [str(endpoint) for endpoint in service.listen],
        "connections": counts.active,
        "answered": counts.accepted + counts.datagrams_out,
        "refused": counts.refused.total(),
        "dropped": counts.dropped.total(),
        "failed": counts.failed,
        "counters": counts.summary(),
    }
