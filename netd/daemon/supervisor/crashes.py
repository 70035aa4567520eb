"""Services that take their workers down: which ones, for which peers, and when one gets a worker of its own."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from netd.config.model import ServiceConfig
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.stacks import culprit
from netd.shared.running import Running

_MOST_SOURCES = 8  # the last ones, of each service
_TOO_MANY = 3  # losses of a worker of several services
_WITHIN = 600.0  # seconds, after which a service gets one of its own


@dataclass
class CrashRecord:
    """The losses of workers in which a service ran."""

    number: int = 0
    at: float = 0.0
    """The last one (CLOCK_MONOTONIC)."""
    sources: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_SOURCES))
    """Of the peers that it served at the last ones, the newest last."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_TOO_MANY))
    """The times of those of workers that it shared."""


class Crashes:
    """The losses of workers, by the services that ran in them. ``services`` returns those that are enabled.

    In a worker of several services more than one may have run, so none is sure to be the cause, and an attacker may
    have chosen what the dead worker says. So nothing but a worker of its own follows from it: what is lost there, a
    service has lost alone. ``isolate`` is called with a service that is to get one.
    """

    def __init__(self, services: Callable[[], Iterable[ServiceConfig]]) -> None:
        self._services = services
        self._records: dict[str, CrashRecord] = {}
        self.isolate: Callable[[str], object] = lambda service: None

    def record_of(self, service: str) -> CrashRecord | None:
        """The record of a service that has one."""
        return self._records.get(service)

    def keep(self, services: Collection[str]) -> None:
        """Forget all services but these."""
        self._records = {name: record for name, record in self._records.items() if name in services}

    def worker_lost(self, worker: WorkerProcess, stack: str) -> dict[str, str]:
        """Record the loss of a worker with this stack. Returns ``at``, ``services`` and ``sources`` for the log."""
        services = list(self._services())
        fields = culprit(stack, services)
        running = worker.running.read() if worker.running else []
        known = {service.name for service in services if service.code}
        at_fault = _suspects([one for one in running if one.service in known], fields.get("services", ""))
        if worker.service:
            at_fault = [one for one in running if one.service == worker.service] or [Running(worker.service, "", False)]
        names = list(dict.fromkeys(one.service for one in at_fault))
        now = time.monotonic()
        for name in names:
            self._record(name, [one.source for one in at_fault if one.service == name and one.source], now)
        if names:
            fields["services"] = ", ".join(names)
        if sources := list(dict.fromkeys(one.source for one in at_fault if one.source)):
            fields["sources"] = ", ".join(sources[:_MOST_SOURCES])
        for name in names if not worker.service else ():
            recent = self._records[name].recent
            recent.append(now)
            if len(recent) == _TOO_MANY and now - recent[0] < _WITHIN:
                recent.clear()
                self.isolate(name)
        return fields

    def _record(self, service: str, sources: Iterable[str], now: float) -> None:
        record = self._records.setdefault(service, CrashRecord())
        record.number += 1
        record.at = now
        for source in sources:
            if source in record.sources:
                record.sources.remove(source)
            record.sources.append(source)


def _suspects(running: list[Running], named: str) -> list[Running]:
    """The code that may be the cause: that of the stack, else that of the loop, else all that ran in threads."""
    by_stack = [one for one in running if one.service in named.split(", ")]
    return by_stack or [one for one in running if one.in_loop] or running
