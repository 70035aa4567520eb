"""The messages that give a worker a config, and the memory that belongs to it."""

import os
from collections.abc import Iterable

from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessTables
from netd.daemon.messages.from_supervisor import Prepare, ServiceEntry
from netd.services import table
from netd.services.python.running import RunningCode
from netd.shared.table import Table
from netd.telemetry.code_events import CodeEvents


def code_of(service: str, place: str) -> RunningCode:
    """The code of a service, with its own events. What it prints is not redirected."""
    return RunningCode(CodeEvents(service))


class Memory:
    """The access tables, and the counters of services by name, as the supervisor keeps them."""

    def __init__(self) -> None:
        self._access = AccessTables()
        self._place = self._access.add(AccessRules())
        self._access.seal()
        self.counters: dict[str, Table] = {}

    def close(self) -> None:
        self._access.close()

    def entry(
        self, name: str, kind: str = "", *, listeners: Iterable[int] = (), options: str = "{}", changed: bool = True
    ) -> ServiceEntry:
        """A service of a config. Without ``kind``, its name is also its type."""
        place = (self._place.offset, self._place.length)
        return ServiceEntry(name, kind or name, options, "{}", place, list(listeners), changed, "all")

    def prepare(
        self,
        *entries: ServiceEntry,
        new_listeners: dict[int, int] | None = None,
        draining: dict[str, float] | None = None,
    ) -> tuple[Prepare, list[int]]:
        """A config with these services, and its descriptors. ``new_listeners`` are descriptors by number.

        Counters are sent for a service that is not in ``counters`` yet. The receiver owns the descriptors.
        """
        new_listeners = new_listeners or {}
        added = [entry for entry in entries if entry.name not in self.counters]
        for entry in added:
            kind = table.find(entry.type)
            self.counters[entry.name] = Table(layout=kind.layout) if kind else Table()
        message = Prepare(
            services=[entry.encode() for entry in entries],
            new_listeners=list(new_listeners),
            new_counters=[entry.name for entry in added],
            draining=draining or {},
            connections=None,
            threads=512,
            bans="{}",
        )
        shared = [self._access.descriptor, *new_listeners.values()]
        return message, [os.dup(one) for one in [*shared, *(self.counters[one.name].descriptor for one in added)]]
