"""Events of the whole daemon: one method each, which increments the counter and writes the log line."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from netd.accounts import user_name
from netd.peer import Credentials
from netd.telemetry.throttle import ThrottledLog

Event = Literal["worker_lost", "reload_applied", "reload_rejected", "source_banned", "control_refused"]
"""The events that are counted."""

_MOST_PROBLEMS = 20  # lines about one config


def _bounded(problems: Sequence[str]) -> Iterator[str]:
    """The problems, and in place of those beyond the first ones their number."""
    yield from problems[:_MOST_PROBLEMS]
    if (more := len(problems) - _MOST_PROBLEMS) > 0:
        yield f"and {more} more, which netd check lists"


class DaemonEvents(ThrottledLog):
    """Events of the whole daemon. ``by`` is the cause: a signal, or a command and its user (`netd reload, root`)."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Event] = Counter(dict.fromkeys(get_args(Event), 0))
        """The number of each since netd started."""
        self.last: dict[Event, float] = {}
        """When each last happened, by CLOCK_MONOTONIC."""
        self.reload_problems: tuple[str, ...] = ()
        """The problems of the config that was read last, if a reload has rejected it."""

    @property
    def last_reload_successful(self) -> bool:
        """Whether the last config that was read, at the start or by a reload, was put in force."""
        return not self.reload_problems

    def _count(self, event: Event) -> None:
        self.counts[event] += 1
        self.last[event] = time.monotonic()

    def netd_starting(self, version: str, config: str, workers: int) -> None:
        """The config has no problems, and netd starts; its sockets are opened next."""
        self._log.info("netd_starting", version=version, config=config, workers=workers)

    def start_failed(self, problems: Sequence[str]) -> None:
        """The start failed. Each problem has a line of its own."""
        for problem in _bounded(problems):
            self._log.error("start_failed", problem=problem)

    def config_notices(self, notices: Iterable[object]) -> None:
        """What the config says is accepted, but may not be meant: keys that were renamed, risks of programs."""
        for notice in notices:
            self._log.warning("config_notice_issued", notice=str(notice))

    def netd_started(self, services: int, sockets: int) -> None:
        """Every enabled service is listening."""
        self._log.info("netd_started", services=services, sockets=sockets)

    def worker_started(self, worker: int, pid: int) -> None:
        """A worker has started to serve."""
        self._log.info("worker_started", worker=worker, pid=pid)

    def worker_aborted(self, worker: int, pid: int, seconds: float) -> None:
        """A worker did not respond for this many seconds, and gets SIGABRT; `worker_lost` follows: it says where."""
        self._log.error("worker_aborted", worker=worker, pid=pid, seconds=seconds)

    def launcher_aborted(self, user: str, pid: int, seconds: float) -> None:
        """A launcher did not respond for this many seconds, and gets SIGABRT; `launcher_lost` follows."""
        self._log.error("launcher_aborted", user=user, pid=pid, seconds=seconds)

    def message_rejected(self, worker: int | str, pid: int, error: str) -> None:
        """A worker sent an invalid message, and is killed. It has a bug, or is controlled by an attacker.

        A launcher in its place is named by its user.
        """
        fields: dict[str, object] = {"worker": worker} if isinstance(worker, int) else {"user": worker}
        fields |= {"pid": pid, "error": error}
        self._log_throttled("message_rejected", str(worker), 1, "error", "message_rejected", **fields)

    def request_rejected(self, worker: int, error: str) -> None:
        """The supervisor sent a worker an invalid message, which is a bug. The worker continues."""
        self._log_throttled("request_rejected", "", 1, "error", "request_rejected", worker=worker, error=error)

    def worker_lost(
        self,
        worker: int,
        pid: int,
        reason: str,
        connections: int,
        delay: float | None,
        stack: str,
        culprit: Mapping[str, str],
    ) -> None:
        """A worker exited, and its connections were closed. It is restarted after ``delay`` seconds; None: never.

        ``stack`` is its Python stack, if it was aborted or crashed, and ``culprit`` the fields ``at`` and ``services``:
        where in which service it was.
        """
        fields: dict[str, object] = {} if delay is None else {"delay": delay}
        fields |= culprit
        if stack:
            fields["stack"] = stack
        self._count("worker_lost")
        self._log.error("worker_lost", worker=worker, pid=pid, reason=reason, connections=connections, **fields)

    def launcher_started(self, user: str, pid: int) -> None:
        """The process that starts programs as this user has started."""
        self._log.info("launcher_started", user=user, pid=pid)

    def launcher_lost(self, user: str, pid: int, reason: str, delay: float) -> None:
        """The process that starts programs as this user exited. Its programs go on. It is replaced after ``delay``."""
        self._log.error("launcher_lost", user=user, pid=pid, reason=reason, delay=delay)

    def launcher_failed(self, user: str, error: str) -> None:
        """The process that starts programs as this user could not be started. The start is retried."""
        self._log.error("launcher_failed", user=user, error=error)

    def worker_failed(self, worker: int, error: str) -> None:
        """A worker could not be started, or did not accept the config. The start is retried."""
        self._log.error("worker_failed", worker=worker, error=error)

    def workers_delayed(self, number: int, draining: int) -> None:
        """So many workers start when some of the ``draining`` ones have ended: there are `MOST_WORKERS` at most."""
        self._log.warning("workers_delayed", number=number, draining=draining)

    def worker_ended(self, worker: int, pid: int) -> None:
        """A worker that was no longer needed has exited."""
        self._log.info("worker_ended", worker=worker, pid=pid)

    def control_failed(self, error: str) -> None:
        """The default path of the control socket cannot be used. netd serves without one."""
        self._log.warning("control_failed", error=error)

    def control_refused(self, by: Credentials | None) -> None:
        """A peer without permission tried to control netd."""
        self._count("control_refused")
        fields = {"by": user_name(by.uid), "pid": by.pid} if by else {}
        self._log_throttled("control_refused", by.user if by else "", 1, "warning", "control_refused", **fields)

    def no_service_enabled(self, config: str) -> None:
        """The config enables no service, so netd serves nothing."""
        self._log.warning("no_service_enabled", config=config)

    def descriptors_limited(self, needed: int | None, limit: int) -> None:
        """The limits of the config need more descriptors than this process may have; None: no limit is set."""
        self._log.warning("descriptors_limited", needed=needed, limit=limit)

    def store_limited(self, number: int, limit: int) -> None:
        """The service manager stores ``limit`` sockets, so it closes ``number`` others when netd restarts."""
        advice = "a restart refuses their clients; raise FileDescriptorStoreMax= and FDSTORE in the unit"
        self._log.warning("store_limited", number=number, limit=limit, advice=advice)

    def source_banned(self, source: str, seconds: float, by: str) -> None:
        """All services refuse a source for ``seconds``; ``by`` is the operator, or the reason."""
        self._count("source_banned")
        self._log.warning("source_banned", source=source, seconds=seconds, by=by)

    def source_unbanned(self, source: str, by: str) -> None:
        """A ban was removed by command."""
        self._log.info("source_unbanned", source=source, by=by)

    def socket_unclaimed(self, name: str, endpoint: str) -> None:
        """The service manager passed a socket that no service uses."""
        self._log.warning("socket_unclaimed", name=name, endpoint=endpoint)

    def reload_applied(
        self, by: str, generation: int, changes: Mapping[str, str], settings: list[str], restart_needed: list[str]
    ) -> None:
        """A new config is in force, with these changes of services and settings."""
        fields = {"settings": settings} if settings else {}
        fields |= {"restart_needed": restart_needed} if restart_needed else {}
        self._count("reload_applied")
        self.reload_problems = ()
        self._log.info("reload_applied", by=by, generation=generation, changes=changes, **fields)

    def reload_rejected(self, by: str, problems: Sequence[str]) -> None:
        """The new config cannot be put in force. The old one stays. Each problem has a line of its own."""
        self._count("reload_rejected")
        self.reload_problems = tuple(_bounded(problems)) or ("rejected",)
        for problem in self.reload_problems:
            self._log.error("reload_rejected", by=by, problem=problem)

    def service_enabled(self, service: str, by: str) -> None:
        """A service was enabled by command, until the next reload."""
        self._log.info("service_enabled", service=service, by=by)

    def service_disabled(self, service: str, by: str) -> None:
        """A service was disabled by command, until the next reload."""
        self._log.info("service_disabled", service=service, by=by)

    def connections_kicked(self, number: int, by: str) -> None:
        """Connections were closed by command."""
        self._log.info("connections_kicked", number=number, by=by)

    def log_level_changed(self, level: str, by: str) -> None:
        """The log level was set by command, until the next reload."""
        self._log.warning("log_level_changed", log_level=level, by=by)

    def log_reopened(self) -> None:
        """The log file was opened again, or netd has connected to the syslogd again, after SIGUSR1."""
        self._log.info("log_reopened")

    def log_failed(self, error: str) -> None:
        """The log cannot be written where the config says. ``error`` has the reason, and where the log goes instead."""
        self._log.error("log_failed", error=error)

    def drain_started(self, by: str, connections: int, drain: float) -> None:
        """No connections are accepted any more, and open ones have ``drain`` seconds to finish."""
        self._log.info("drain_started", by=by, connections=connections, drain=drain)

    def netd_stopped(self) -> None:
        """All sockets are closed, and netd exits."""
        self._log.info("netd_stopped")

    def command_failed(self, command: str, error: BaseException) -> None:
        """A command of the operator failed because of a bug. It may have changed something."""
        self._log.error("command_failed", command=command, exc_info=error)

    def netd_failed(self, error: BaseException) -> None:
        """A bug outside of any conversation ends this process."""
        self._log.critical("netd_failed", exc_info=error)
