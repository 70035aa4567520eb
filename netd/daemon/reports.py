"""What netd says of itself: to `netd status`, and to the workers, whose blocking handlers show it to others.

It is read from the memory that the workers write and from what the supervisor knows, so no worker has to be asked.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from netd import __version__
from netd.config.model import ServiceConfig
from netd.daemon.control import Answer, safely
from netd.daemon.crew import Crew
from netd.daemon.fork import Member
from netd.daemon.history import History
from netd.daemon.listeners import Listeners
from netd.daemon.state import State
from netd.daemon.warden import Warden
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.logs import Sink
from netd.transport.loop import Loop


class Reports:
    """Makes the reports, and hands them to workers that want them."""

    def __init__(
        self,
        state: State,
        listeners: Listeners,
        crew: Crew,
        warden: Warden,
        events: DaemonEvents,
        sink: Sink,
        loop: Loop,
    ) -> None:
        self._state = state
        self._listeners = listeners
        self._crew = crew
        self._warden = warden
        self._events = events
        self._sink = sink
        self._loop = loop
        self._history = History()
        self._reports = {"status": self.status, "history": self.history}
        self._wanted: set[tuple[Member, str]] = set()

    def status(self) -> Answer:
        """What `netd status --json` prints."""
        self._warden.count_drops()
        state, crew = self._state, self._crew
        now = time.monotonic()
        urls: dict[str, list[str]] = {}
        for one in self._listeners:
            urls.setdefault(one.listener.service, []).append(one.listener.url)
        workers: list[dict[str, Any]] = [
            {
                "worker": member.number,
                "pid": member.pid,
                "seconds": round(now - member.started),
                "beat": round(now - member.beaten, 1),
            }
            for _, member in sorted(crew.members.items())
        ]
        workers += [{"worker": member.number, "pid": member.pid, "leaving": True} for member in crew.leaving]
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": state.config.source,
            "generation": state.generation,
            "last_reload_successful": self._events.last_reload_successful,
            "started": state.started,
            "seconds": round(state.seconds, 3),
            "ready": state.ready and not state.stopping,
            "healthy": crew.healthy,
            "stopping": state.stopping,
            "log_level": state.log_level,
            "log_lines_lost": self._sink.lost + crew.lines_lost,
            "bans": len(state.bans.active(now)),
            "counts": dict(self._events.counts),
            "workers": workers,
            "services": [self._service(service, urls.get(service.name, [])) for service in state.config.services],
        }

    def _service(self, service: ServiceConfig, urls: list[str]) -> dict[str, Any]:
        state = self._state
        override = state.overrides.get(service.name)
        if override is None:
            why = "" if service.enabled else "by the config"
        else:
            why = f"by netd {'enable' if override else 'disable'}, until the next reload"
        counts = state.table(service.name).read()
        return {
            "service": service.name,
            "type": service.type,
            "enabled": service.enabled,
            "why": why,
            "endpoints": urls if service.enabled else [str(endpoint) for endpoint in service.listen],
            "connections": counts.active,
            "answered": counts.answered,
            "refused": counts.refused.total(),
            "dropped": counts.dropped.total(),
            "failed": counts.failed,
            "counters": counts.summary(),
        }

    def history(self) -> Answer:
        """The numbers of the last minutes."""
        return self._history.report()

    def note(self) -> None:
        """Take a sample of the numbers, with every beat."""
        tables = self._state.tables.items()
        self._history.note({name: table.read() for name, table in tables}, time.monotonic(), time.time())

    def want(self, member: Member, what: object) -> None:
        """A worker wants a report. It gets it once what is under way is done, ten times a second at most."""
        if isinstance(what, str) and what in self._reports:
            if not self._wanted:
                self._loop.later(0.0, self._hand_over)
            self._wanted.add((member, what))

    def _hand_over(self) -> None:
        wanted, self._wanted = self._wanted, set()
        for what, make in self._reports.items():
            members = [member for member, wish in wanted if wish == what]
            if members:
                safely(self._events, what, partial(self._tell, what, make, members))

    def _tell(self, what: str, make: Callable[[], Answer], members: list[Member]) -> None:
        """Tell them, but not one that has no room for it now: a thread of it waits, and asks again."""
        self._crew.requests.tell({"do": "told", "what": what, "answer": make()}, members, must=False)
