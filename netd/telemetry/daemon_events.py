"""Events of the whole daemon: one method each, which increments the counter and writes the log line."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
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
        """The start has failed. Each problem has a line of its own."""
        for problem in _bounded(problems):
            self._log.error("start_failed", problem=problem)

    def config_notices(self, notices: Iterable[object]) -> None:
        """The config has something that may not be meant: the old name of a key, or a risk of a program."""
        for notice in notices:
            self._log.warning("config_notice_issued", notice=str(notice))

    def netd_started(self, services: int, sockets: int) -> None:
        """Every enabled service is served."""
        self._log.info("netd_started", services=services, sockets=sockets)

    def worker_started(self, worker: int, pid: int) -> None:
        """A worker serves."""
        self._log.info("worker_started", worker=worker, pid=pid)

    def worker_aborted(self, worker: int, pid: int, seconds: float) -> None:
        """A worker did not respond for ``seconds``, and gets SIGABRT; `worker_lost` follows, and says where it was."""
        self._log.error("worker_aborted", worker=worker, pid=pid, seconds=seconds)

    def launcher_aborted(self, user: str, pid: int, seconds: float) -> None:
        """The process that starts programs as ``user`` did not respond, and gets SIGABRT; `launcher_lost` follows."""
        self._log.error("launcher_aborted", user=user, pid=pid, seconds=seconds)

    def message_rejected(self, worker: int | str, pid: int, error: str) -> None:
        """A worker, or a launcher, sent an invalid message, and is killed. It has a bug, or an attacker controls it.

        ``worker`` is the number of a worker, or the user of a launcher.
        """
        fields: dict[str, object] = {"worker": worker} if isinstance(worker, int) else {"user": worker}
        fields |= {"pid": pid, "error": error}
        self._log_throttled("message_rejected", str(worker), 1, "error", "message_rejected", **fields)

    def request_rejected(self, worker: int, error: str) -> None:
        """A worker got an invalid message from the supervisor, which is a bug. The worker continues."""
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
        """A worker exited, and its connections were closed. Another one starts after ``delay``, if netd does not stop.

        ``stack`` is its Python stack, if it was aborted or crashed, and ``culprit`` the fields ``at``, ``services`` and
        ``sources``: where in which service it was, and for which peers.
        """
        fields: dict[str, object] = {} if delay is None else {"delay": delay}
        fields |= culprit
        if stack:
            fields["stack"] = stack
        self._count("worker_lost")
        self._log.error("worker_lost", worker=worker, pid=pid, reason=reason, connections=connections, **fields)

    def launcher_started(self, user: str, pid: int) -> None:
        """The process that starts programs as ``user`` is ready."""
        self._log.info("launcher_started", user=user, pid=pid)

    def launcher_lost(self, user: str, pid: int, reason: str, delay: float) -> None:
        """The process that starts programs as ``user`` exited. Its programs go on, no connection is refused, and it is
        replaced after ``delay``.
        """
        self._log.error("launcher_lost", user=user, pid=pid, reason=reason, delay=delay)

    def launcher_failed(self, user: str, error: str) -> None:
        """The process that starts programs as ``user`` cannot be started. The start is tried again."""
        self._log.error("launcher_failed", user=user, error=error)

    def worker_failed(self, worker: int, error: str) -> None:
        """A worker cannot be started, or did not accept the config. The start is tried again."""
        self._log.error("worker_failed", worker=worker, error=error)

    def workers_delayed(self, number: int, draining: int) -> None:
        """So many workers start only when some of the ``draining`` ones have ended, since there are 64 at most."""
        self._log.warning("workers_delayed", number=number, draining=draining)

    def worker_ended(self, worker: int, pid: int) -> None:
        """A worker that was no longer needed has exited."""
        self._log.info("worker_ended", worker=worker, pid=pid)

    def control_failed(self, error: str) -> None:
        """The default path of the control socket cannot be used: netd serves without one."""
        self._log.warning("control_failed", error=error)

    def control_refused(self, by: Credentials | None) -> None:
        """A user without the right to do so tried to control netd."""
        self._count("control_refused")
        fields = {"by": user_name(by.uid), "pid": by.pid} if by else {}
        self._log_throttled("control_refused", by.user if by else "", 1, "warning", "control_refused", **fields)

    def no_service_enabled(self, config: str) -> None:
        """The config enables no service, so netd serves nothing."""
        self._log.warning("no_service_enabled", config=config)

    def descriptors_limited(self, needed: int | None, limit: int) -> None:
        """The limits of the config need more descriptors than the process may have (RLIMIT_NOFILE)."""
        self._log.warning("descriptors_limited", needed=needed, limit=limit)

    def store_limited(self, number: int, limit: int) -> None:
        """For a restart systemd stores ``limit`` sockets, so it closes ``number`` others then."""
        advice = "a restart refuses their clients; raise FileDescriptorStoreMax= and FDSTORE in the unit"
        self._log.warning("store_limited", number=number, limit=limit, advice=advice)

    def source_banned(self, source: str, seconds: float, by: str) -> None:
        """All services refuse a source for ``seconds``. ``by`` is the command of an operator, or the rule that bans."""
        self._count("source_banned")
        self._log.warning("source_banned", source=source, seconds=seconds, by=by)

    def source_unbanned(self, source: str, by: str) -> None:
        """A ban was removed by command (`netd ban remove`)."""
        self._log.info("source_unbanned", source=source, by=by)

    def socket_unclaimed(self, name: str, endpoint: str) -> None:
        """A socket that systemd has passed is used by no service."""
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

    def service_isolated(self, service: str) -> None:
        """A service in which workers were lost again and again has one of its own from now on."""
        advice = "`netd status SERVICE` names the last clients; a reload with changed code moves it back"
        self._log.warning("service_isolated", service=service, advice=advice)

    def expiry_neared(self, file: str, not_after: float) -> None:
        """A certificate expires in less than thirty days, or has expired. Once, until it is renewed.

        ``not_after`` is in seconds since 1970.
        """
        self._log.warning("expiry_neared", file=file, expires=f"{datetime.fromtimestamp(not_after, UTC):%Y-%m-%d}")

    def target_changed(self, service: str, target: str, state: str, by: str) -> None:
        """A target of a service was enabled, disabled or drained by command, until netd is started again."""
        self._log.info("target_changed", service=service, target=target, state=state, by=by)

    def connections_kicked(self, number: int, by: str) -> None:
        """Connections were closed by command (`netd kick`)."""
        self._log.info("connections_kicked", number=number, by=by)

    def log_level_changed(self, level: str, by: str) -> None:
        """The log level was set by command, until the next reload."""
        self._log.warning("log_level_changed", log_level=level, by=by)

    def log_reopened(self) -> None:
        """The log file was opened again, or netd has connected to the syslogd again, after SIGUSR1."""
        self._log.info("log_reopened")

    def log_failed(self, error: str) -> None:
        """The log cannot be written where the config says. ``error`` says why, and where it goes instead."""
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
        """A bug outside of any conversation ends a process of netd."""
        self._log.critical("netd_failed", exc_info=error)
