"""What can happen to the daemon as a whole: one function a fact, which moves the counter and writes the log line."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from netd.peer import Credentials
from netd.telemetry.throttle import ThrottledLog

Event = Literal["worker_lost", "reload_applied", "reload_rejected", "source_banned", "control_refused"]
"""What is counted."""


class DaemonEvents(ThrottledLog):
    """What can happen to the daemon as a whole. ``by`` had it done: a signal, or a peer on the control socket."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Event] = Counter(dict.fromkeys(get_args(Event), 0))
        """How often each of these has happened since netd started."""
        self.last_reload_successful = True
        """Whether the config that netd was told to use last, at its start or by a reload, is the one in force."""

    def netd_started(self, version: str, config: str, workers: int) -> None:
        """The config is good; sockets come next."""
        self._log.info("netd_started", version=version, config=config, workers=workers)

    def config_keys_renamed(self, notices: Iterable[str]) -> None:
        """Keys of a config that was read have another name now."""
        for notice in notices:
            self._log.warning("config_key_renamed", notice=notice)

    def netd_ready(self, services: int, sockets: int) -> None:
        """Every enabled service is listening."""
        self._log.info("netd_ready", services=services, sockets=sockets)

    def worker_started(self, worker: int, pid: int) -> None:
        """A worker serves."""
        self._log.info("worker_started", worker=worker, pid=pid)

    def worker_aborted(self, worker: int, pid: int, seconds: float) -> None:
        """A worker's loop did not answer for so long: it is ended, and tells what it was doing when it is lost."""
        self._log.error("worker_aborted", worker=worker, pid=pid, seconds=seconds)

    def message_rejected(self, worker: int, pid: int, error: str) -> None:
        """A worker sent what is no message of the channel: a bug, or an attacker has the worker. It is killed."""
        told = {"worker": worker, "pid": pid, "error": error}
        self._log_throttled("message_rejected", str(worker), 1, "error", "message_rejected", **told)

    def request_rejected(self, worker: int, error: str) -> None:
        """The supervisor sent what a worker does not take for a message, which is a bug; the worker goes on."""
        self._log_throttled("request_rejected", "", 1, "error", "request_rejected", worker=worker, error=error)

    def worker_lost(
        self, worker: int, pid: int, reason: str, connections: int, delay: float | None, stack: str
    ) -> None:
        """A worker died, and with it so many connections; another one takes its place after ``delay`` seconds.

        None where no other one does. ``stack`` is what it was doing, if it was aborted or crashed.
        """
        told: dict[str, object] = {} if delay is None else {"delay": delay}
        if stack:
            told["stack"] = stack
        self.counts["worker_lost"] += 1
        self._log.error("worker_lost", worker=worker, pid=pid, reason=reason, connections=connections, **told)

    def worker_failed(self, worker: int, error: str) -> None:
        """A worker could not be started, or did not take the config; it is tried again."""
        self._log.error("worker_failed", worker=worker, error=error)

    def worker_ended(self, worker: int, pid: int) -> None:
        """A worker that was no longer needed is done."""
        self._log.info("worker_ended", worker=worker, pid=pid)

    def control_failed(self, error: str) -> None:
        """The default place for the control socket cannot be used; netd serves all the same."""
        self._log.warning("control_failed", error=error)

    def control_refused(self, by: Credentials | None) -> None:
        """Somebody who may not control netd tried to."""
        self.counts["control_refused"] += 1
        self._log_throttled("control_refused", by.user if by else "", 1, "warning", "control_refused", by=str(by))

    def descriptors_limited(self, needed: int | None, limit: int) -> None:
        """The limits of the config need more descriptors than this process may have; None: without end."""
        self._log.warning("descriptors_limited", needed=needed, limit=limit)

    def source_banned(self, source: str, seconds: float, by: str) -> None:
        """A source is refused by all services for so long; ``by`` says who, or what it did."""
        self.counts["source_banned"] += 1
        self._log.warning("source_banned", source=source, seconds=seconds, by=by)

    def source_unbanned(self, source: str, by: str) -> None:
        """Somebody lifted a ban."""
        self._log.info("source_unbanned", source=source, by=by)

    def socket_unclaimed(self, name: str, endpoint: str) -> None:
        """The service manager handed over a socket that no service asks for."""
        self._log.warning("socket_unclaimed", name=name, endpoint=endpoint)

    def reload_applied(
        self, by: str, generation: int, changes: Mapping[str, str], settings: list[str], restart_needed: list[str]
    ) -> None:
        """A new config is in force: what became of each service that is not as before, and which settings differ."""
        told = {"settings": settings} if settings else {}
        told |= {"restart_needed": restart_needed} if restart_needed else {}
        self.counts["reload_applied"] += 1
        self.last_reload_successful = True
        self._log.info("reload_applied", by=by, generation=generation, changes=changes, **told)

    def reload_rejected(self, by: str, problems: list[str]) -> None:
        """The new config cannot be used, and the old one stays."""
        self.counts["reload_rejected"] += 1
        self.last_reload_successful = False
        self._log.error("reload_rejected", by=by, problems=problems)

    def service_enabled(self, service: str, by: str) -> None:
        """Somebody switched a service on, until the next reload."""
        self._log.info("service_enabled", service=service, by=by)

    def service_disabled(self, service: str, by: str) -> None:
        """Somebody switched a service off, until the next reload."""
        self._log.info("service_disabled", service=service, by=by)

    def connections_kicked(self, number: int, by: str) -> None:
        """Somebody ended so many connections."""
        self._log.info("connections_kicked", number=number, by=by)

    def log_level_changed(self, level: str, by: str) -> None:
        """Somebody changed what is logged, until the next reload."""
        self._log.warning("log_level_changed", log_level=level, by=by)

    def log_reopened(self) -> None:
        """The log goes to the file that now has its name."""
        self._log.info("log_reopened")

    def log_failed(self, error: str) -> None:
        """The log file cannot be opened; the log goes where it went."""
        self._log.error("log_failed", error=error)

    def drain_started(self, by: str, connections: int, drain: float) -> None:
        """Nothing more is accepted; live conversations have ``drain`` seconds."""
        self._log.info("drain_started", by=by, connections=connections, drain=drain)

    def netd_stopped(self) -> None:
        """Everything is closed."""
        self._log.info("netd_stopped")

    def command_failed(self, command: str, error: BaseException) -> None:
        """A bug kept a command of the operator's from being done; nothing, or not all of it, was changed."""
        self._log.error("command_failed", command=command, exc_info=error)

    def netd_failed(self, error: BaseException) -> None:
        """A bug outside of any conversation ends this process."""
        self._log.critical("netd_failed", exc_info=error)
