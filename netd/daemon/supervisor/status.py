"""The reports for `netd status`, and for workers, which show them over HTTP (`metrics`).

They are made from the workers' shared memory and the supervisor's state, without a request to a worker.
"""

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from netd import __version__
from netd.config.model import ServiceConfig
from netd.daemon.messages.from_supervisor import Report
from netd.daemon.supervisor.certificates import Certificates
from netd.daemon.supervisor.control import Answer, log_exceptions
from netd.daemon.supervisor.crashes import Crashes
from netd.daemon.supervisor.history import History
from netd.daemon.supervisor.kernel_drops import KernelDrops
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.programs import starts_programs
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Result
from netd.reasons import FORMAT_VERSION
from netd.telemetry.counters import published
from netd.telemetry.daemon_events import DaemonEvents, Event
from netd.telemetry.program_events import last_failure
from netd.telemetry.sink import Sink
from netd.transport.loop import Loop


def since_1970() -> float:
    """What to add to a time of CLOCK_MONOTONIC for the Unix time, by the clock as it is now."""
    return time.time() - time.monotonic()


class Status:
    """Makes the reports, and sends them to the workers that request them."""

    def __init__(
        self,
        state: State,
        listeners: Listeners,
        pool: WorkerPool,
        crashes: Crashes,
        kernel_drops: KernelDrops,
        events: DaemonEvents,
        sink: Sink,
        loop: Loop,
    ) -> None:
        self._state = state
        self._listeners = listeners
        self._pool = pool
        self._crashes = crashes
        self._kernel_drops = kernel_drops
        self._events = events
        self._sink = sink
        self._loop = loop
        self._history = History()
        self._certificates = Certificates(state, events)
        self._run = f"{os.getpid()}-{state.started:.6f}"
        self._reports = {"status": self.status, "history": self.history}
        self._requested: set[tuple[WorkerProcess, str]] = set()

    async def current(self, service: str = "") -> Answer:
        """The status, with all that has moved until now; of ``service`` alone, with its limits, if one is given."""
        await self._count_traffic()
        answer = self.status()
        if service:
            self._state.require(service)  # a reload may have removed it meanwhile
            config = next(one for one in self._state.config.services if one.name == service)
            [found] = [one for one in answer["services"] if one["service"] == service]
            answer["services"] = [found | {"limits": config.policy.model_dump(mode="json")["limits"]}]
        return answer

    def _count_traffic(self) -> Result[None]:
        return self._pool.requests.count_traffic(self._pool.all_workers)

    def status(self) -> Answer:
        """The report that `netd status --json` prints."""
        self._kernel_drops.count()
        state, pool = self._state, self._pool
        now = time.monotonic()
        urls: dict[str, list[str]] = {}
        for one in self._listeners:
            urls.setdefault(one.listener.service, []).append(one.listener.url)
        workers = [(worker, False) for _, worker in sorted(pool.workers.items())]
        workers += [(worker, True) for worker in pool.draining]
        events = self._events.counts
        return {
            "version": __version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "run": self._run,
            "config": state.config.source,
            "generation": state.generation,
            "last_reload_successful": self._events.last_reload_successful,
            "last_reload_problems": list(self._events.reload_problems),
            # By the clock as it is now, which may have been set since.
            "started": round(since_1970() + state.started, 3),
            "uptime_seconds": round(state.seconds, 3),
            "ready": state.ready and not state.stopping and pool.serves,
            "healthy": pool.healthy,
            "stopping": state.stopping,
            "log_level": state.log_level,
            "banned_sources": len(state.bans.active(now)),
            "counters": {
                "workers_lost": events["worker_lost"],
                "reloads_applied": events["reload_applied"],
                "reloads_rejected": events["reload_rejected"],
                "sources_banned": events["source_banned"],
                "control_refused": events["control_refused"],
                "log_lines_lost": self._sink.lost + pool.lines_lost,
            },
            "last": {
                "workers_lost": self._last("worker_lost"),
                "reloads_rejected": self._last("reload_rejected"),
                "sources_banned": self._last("source_banned"),
            },
            "workers_missing": pool.missing,
            "workers": [
                {
                    "worker": worker.number,
                    "service": worker.service,
                    "pid": worker.pid,
                    "uptime_seconds": round(now - worker.started, 1),
                    "heartbeat_seconds": round(now - worker.last_heartbeat, 1),
                    "missed_heartbeats": worker.missed_heartbeats,
                    "leaving": is_leaving,
                }
                for worker, is_leaving in workers
            ],
            "services": [self._service(service, urls.get(service.name, [])) for service in state.config.services],
        }

    def _last(self, event: Event) -> float | None:
        """The Unix time of the last event of this kind."""
        when = self._events.last.get(event)
        return None if when is None else round(since_1970() + when, 3)

    def _service(self, service: ServiceConfig, urls: list[str]) -> dict[str, Any]:
        state = self._state
        override = state.overrides.get(service.name)
        if override is None:
            why = "" if service.enabled else "by the config"
        else:
            why = f"by netd {'enable' if override else 'disable'}, until the next reload"
        table = state.table(service)
        counts = table.read()
        programs = starts_programs(service)
        targets = state.targets(service)
        failure = last_failure(table, time.monotonic()) if programs else None
        return {
            "service": service.name,
            "type": service.type,
            "enabled": service.enabled,
            "why": why,
            "endpoints": urls if service.enabled else [str(endpoint) for endpoint in service.listen],
            "connections": counts.active,
            "requests": counts.all_requests,
            "refused": counts.refused.total(),
            "dropped": counts.dropped.total(),
            "failed": counts.failed,
            "failing": failure.why if failure and failure.is_last else "",
            "failed_at": failure and round(since_1970() + failure.at, 3),
            "hanging": self._hanging(service.name),
            "counters": published(counts, programs=programs, forwards=targets is not None),
            **({"targets": targets[0].report(targets[1], since_1970())} if targets else {}),
            "isolated": service.enabled and state.is_isolated(service),
            "moved": service.name in state.moved,
            **self._crash_report(service.name),
            **self._certificates.report(service),
        }

    def _hanging(self, service: str) -> list[Answer]:
        """The handlers of a service that hang, by its workers."""
        return [
            {"worker": worker.number, "at": one.at, "peer": one.peer}
            | {"seconds": round(one.seconds, 1), "cpu_seconds": round(one.cpu_seconds, 1)}
            for worker in self._pool.all_workers
            for one in worker.hanging
            if one.service == service
        ]

    def _crash_report(self, service: str) -> dict[str, Any]:
        """The losses of workers in which a service ran, if there were some."""
        record = self._crashes.record_of(service)
        if record is None:
            return {}
        rests = self._pool.rests_until(service)
        return {
            "crashes": {
                "number": record.number,
                "at": round(since_1970() + record.at, 3),
                "sources": list(record.sources),
                "rests_until": None if rests is None else round(since_1970() + rests, 3),
            }
        }

    def line(self) -> str:
        """The status that the service manager shows."""
        state = self._state
        counted = (
            (len(state.config.enabled), "service"),
            (state.active, "connection"),
            (len(self._pool.workers), "worker"),
        )
        return ", ".join(f"{number} {noun}{'s' * (number != 1)}" for number, noun in counted) + (
            f", config {state.generation}"
            + ("" if self._events.last_reload_successful else "; the last reload was rejected")
        )

    def history(self) -> Answer:
        """The counters over the last minutes (`History.report`)."""
        return self._history.report(since_1970())

    def take_sample(self) -> None:
        """Add the counters to the history, and warn of certificates. Called with every heartbeat."""
        self._certificates.warn()
        self._count_traffic().then(lambda: log_exceptions(self._events, "history", self._take_sample))

    def _take_sample(self) -> None:
        tables = self._state.tables.items()
        self._history.take_sample({name: table.read() for name, table in tables}, time.monotonic())

    def request_report(self, worker: WorkerProcess, report: str) -> None:
        """Send a worker a report with the next tick of the timer wheel, which is at most ten times a second."""
        if not self._requested:
            self._loop.later(0.0, lambda: self._count_traffic().then(self._send_reports))
        self._requested.add((worker, report))

    def _send_reports(self) -> None:
        requested, self._requested = self._requested, set()
        for report, make in self._reports.items():
            workers = [worker for worker, name in requested if name == report]
            if workers:
                log_exceptions(self._events, report, partial(self._send_report, report, make, workers))

    def _send_report(self, report: str, make: Callable[[], Answer], workers: list[WorkerProcess]) -> None:
        """Send a report. A worker with a full socket buffer does not get it, and requests it again."""
        self._pool.requests.send(Report(report, {"format_version": FORMAT_VERSION, **make()}), workers, must=False)
