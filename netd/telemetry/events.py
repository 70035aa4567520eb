"""One function a fact: it moves the counter and writes the log line, so the two cannot disagree.

Transports and services call these and know neither structlog nor the counters. What a peer can cause at will is
logged on the edge: the first time, then once a minute with the number since.
"""

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import structlog

from netd.conversation import Peer
from netd.telemetry.counters import CELL, SUPERVISOR, Counts, Drop, Outcome, Refusal, Table

_QUIET = 60.0  # seconds between two log lines about the same thing


class Edge:
    """Says when something that keeps happening is worth a line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def count(self, reason: str, number: int = 1) -> int:
        """How many to speak of now: all since the last line, or 0 for silence."""
        since = self._since.get(reason, 0) + number
        now = self._clock()
        if now < self._next.get(reason, 0.0):
            self._since[reason] = since
            return 0
        self._next[reason], self._since[reason] = now + _QUIET, 0
        return since

    def silent(self, reason: str) -> bool:
        """Whether nothing has happened since the last line."""
        return not self._since.get(reason)


def _where(error: BaseException) -> str:
    """What tells one bug from another: a bounded number of places in the code, nothing a peer can choose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"


# Where in a column the hot path counts.
_ACCEPTED, _FAILED, _LOOPS = CELL["accepted"], CELL["failed"], CELL["loops"]
_BYTES_IN, _BYTES_OUT = CELL["bytes_in"], CELL["bytes_out"]
_DATAGRAMS_IN, _DATAGRAMS_OUT = CELL["datagrams_in"], CELL["datagrams_out"]
_CLOSED = {outcome: CELL[f"closed.{outcome}"] for outcome in get_args(Outcome)}
_REFUSED = {reason: CELL[f"refused.{reason}"] for reason in get_args(Refusal)}
_DROPPED = {reason: CELL[f"dropped.{reason}"] for reason in get_args(Drop)}


def _from(peer: str) -> dict[str, str]:
    return {"peer": peer} if peer else {}


class _Events:
    """Somebody who has something to tell."""

    def __init__(self, **context: object) -> None:
        self._context = context
        self._log: Any
        self.bind()
        _ALL.add(self)

    def bind(self) -> None:
        """Take the logger as it is configured now."""
        self._log = structlog.get_logger().bind(**self._context)


_ALL: weakref.WeakSet[_Events] = weakref.WeakSet()


def rebind() -> None:
    """Have everybody take the logger that is configured now: what is bound keeps the level it was bound with."""
    for events in _ALL:
        events.bind()


AccessLog = Literal["all", "summary", "off"] | int
"""Which connections get a line when they end: all of them, none but a sum once a minute, none, or one in so many."""


class ServiceEvents(_Events):
    """What can happen to one service in one process.

    ``worker`` writes its column of ``table``; without one, the numbers are this process's own. The supervisor has a
    column too. ``clock`` counts seconds from anywhere, steadily. The connections of a ``quiet`` one are debug lines.
    """

    def __init__(
        self,
        service: str,
        table: Table | None = None,
        worker: int = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        quiet: bool = False,
    ) -> None:
        super().__init__(service=service)
        self.service = service
        self.table = table or Table()
        if worker != SUPERVISOR:
            self.table.workers = worker + 1
        self._cells = self.table.column(worker)
        self._edge = Edge(clock)
        self._unsaid: dict[str, tuple[str, str, dict[str, object]]] = {}  # lines that wait for their minute to be over
        self._quiet = quiet
        self._access: AccessLog = "all"
        self._closed = [0, 0, 0]  # connections, octets in and out, of which `log.access: summary` has not told
        self._next_summary = 0.0
        self._clock = clock

    @property
    def counters(self) -> Counts:
        """What the service has done, in all workers."""
        return self.table.read()

    def _tell(self, key: str, number: int, level: str, event: str, **told: object) -> None:
        """Log on the edge; what is not said now, `summarize` says once its minute is over."""
        if said := self._edge.count(key, number):
            getattr(self._log, level)(event, number=said, **told)
        else:
            told.pop("exc_info", None)  # it would keep what the conversation had alive
            self._unsaid[key] = (level, event, told)

    def summarize(self) -> None:
        """Say what has happened since the last lines, where they are a minute old. To be called now and then."""
        self.connections_closed()
        for key, (level, event, told) in list(self._unsaid.items()):
            if self._edge.silent(key):
                del self._unsaid[key]
            else:
                self._tell(key, 0, level, event, **told)

    def listening(self, endpoint: str) -> None:
        """The service can be reached at ``endpoint``."""
        self._log.info("listening", endpoint=endpoint)

    def connection_accepted(self) -> None:
        """A connection was taken; it will be closed."""
        self._cells[_ACCEPTED] += 1

    def connection_refused(self, reason: Refusal, peer: str = "", number: int = 1) -> None:
        """So many connections were closed before a word, the last one from the address ``peer``."""
        self._cells[_REFUSED[reason]] += number
        self._tell(f"refused.{reason}", number, "warning", "connection_refused", reason=reason, **_from(peer))

    def connection_closed(self, peer: Peer, bytes_in: int, bytes_out: int, duration: float, outcome: Outcome) -> None:
        """A connection is over, after ``duration`` seconds. One without a byte was a probe, and is a debug line.

        For which of the others there is a line, `tell_connections` says.
        """
        cells = self._cells
        cells[_CLOSED[outcome]] += 1
        cells[_BYTES_IN] += bytes_in
        cells[_BYTES_OUT] += bytes_out
        log = self._log.debug
        if (bytes_in or bytes_out) and not self._quiet:
            log = self._log.info
            if self._access != "all" and not self._is_told(bytes_in, bytes_out):
                return
        log(
            "connection_closed",
            peer=peer.remote,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            duration=round(duration, 6),
            outcome=outcome,
        )

    def tell_connections(self, access: AccessLog) -> None:
        """Have these connections get a line from now on."""
        if access != self._access:
            self._access, self._closed = access, [0, 0, 0]

    def _is_told(self, bytes_in: int, bytes_out: int) -> bool:
        """Whether this connection gets a line of its own."""
        closed = self._closed
        closed[0] += 1
        closed[1] += bytes_in
        closed[2] += bytes_out
        return isinstance(self._access, int) and closed[0] % self._access == 0

    def connections_closed(self) -> None:
        """So many connections are over since this was told last, where a sum a minute is asked for."""
        number, bytes_in, bytes_out = self._closed
        if self._access == "summary" and number and self._clock() >= self._next_summary:
            self._next_summary = self._clock() + _QUIET
            self._closed = [0, 0, 0]
            self._log.info("connections_closed", number=number, bytes_in=bytes_in, bytes_out=bytes_out)

    def conversation_failed(self, peer: Peer, error: BaseException) -> None:
        """A bug in the service ended this conversation, or left this datagram without an answer.

        Each bug (kind of error and line of code) is told with its traceback, and again once a minute at most.
        """
        self._cells[_FAILED] += 1
        where = _where(error)
        self._tell(where, 1, "error", "conversation_failed", peer=peer.remote, error=where, exc_info=error)

    def datagrams_received(self, number: int, octets: int) -> None:
        """So many datagrams came, and the service got them."""
        self._cells[_DATAGRAMS_IN] += number
        self._cells[_BYTES_IN] += octets

    def datagrams_answered(self, number: int, octets: int) -> None:
        """So many answers were handed to the kernel."""
        self._cells[_DATAGRAMS_OUT] += number
        self._cells[_BYTES_OUT] += octets

    def datagrams_dropped(self, number: int, reason: Drop, peer: str = "") -> None:
        """So many datagrams were not given to the service, or their answers not sent; the last one of ``peer``."""
        self._cells[_DROPPED[reason]] += number
        self._tell(f"dropped.{reason}", number, "warning", "datagrams_dropped", reason=reason, **_from(peer))

    def loop_detected(self, peer: str) -> None:
        """A peer sends back what it is answered, hundreds of times on end; its rate is what bounds it."""
        self._cells[_LOOPS] += 1
        self._tell("loop", 1, "warning", "loop_detected", peer=peer)

    def reply_guard_disabled(self) -> None:
        """The config switches the reply guard of a UDP service off."""
        self._log.warning("reply_guard_disabled", advice="a forged source can turn its answers against others")

    def accept_paused(self, error: str) -> None:
        """The system has no means for another connection; this listener rests for a moment."""
        self._tell("accept_paused", 1, "error", "accept_paused", error=error)

    def address_skipped(self, endpoint: str, error: str) -> None:
        """One of the addresses a name stands for is not on this host."""
        self._log.warning("address_skipped", endpoint=endpoint, error=error)

    def service_stopped(self) -> None:
        """The service is over; what it did. Nothing is a debug line."""
        summary = self.counters.summary()
        log = self._log.info if summary else self._log.debug
        log("service_stopped", **summary)


class DaemonEvents(_Events):
    """What can happen to the daemon as a whole. ``by`` had it done: a signal, or a peer on the control socket."""

    def netd_started(self, version: str, config: str, workers: int) -> None:
        """The config is good; sockets come next."""
        self._log.info("netd_started", version=version, config=config, workers=workers)

    def netd_ready(self, services: int, sockets: int) -> None:
        """Every enabled service is listening."""
        self._log.info("netd_ready", services=services, sockets=sockets)

    def worker_started(self, worker: int, pid: int) -> None:
        """A worker serves."""
        self._log.info("worker_started", worker=worker, pid=pid)

    def worker_aborted(self, worker: int, pid: int, seconds: float) -> None:
        """A worker's loop did not answer for so long: it is ended, and tells what it was doing when it is lost."""
        self._log.error("worker_aborted", worker=worker, pid=pid, seconds=seconds)

    def worker_lost(
        self, worker: int, pid: int, reason: str, connections: int, delay: float | None, stack: str
    ) -> None:
        """A worker died, and with it so many connections; another one takes its place after ``delay`` seconds.

        None where no other one does. ``stack`` is what it was doing, if it was aborted or crashed.
        """
        told: dict[str, object] = {} if delay is None else {"delay": delay}
        if stack:
            told["stack"] = stack
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

    def control_refused(self, by: str) -> None:
        """Somebody who may not control netd tried to."""
        self._log.warning("control_refused", by=by)

    def descriptors_limited(self, needed: int | None, limit: int) -> None:
        """The limits of the config need more descriptors than this process may have; None: without end."""
        self._log.warning("descriptors_limited", needed=needed, limit=limit)

    def source_banned(self, source: str, seconds: float, by: str) -> None:
        """A source is refused by all services for so long; ``by`` says who, or what it did."""
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
        self._log.info("reload_applied", by=by, generation=generation, changes=changes, **told)

    def reload_rejected(self, by: str, problems: list[str]) -> None:
        """The new config cannot be used, and the old one stays."""
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
