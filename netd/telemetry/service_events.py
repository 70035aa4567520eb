"""The events of a service: one method for each, which updates the counter and writes the log line.

So the two cannot disagree. Transports and services call these methods, and use neither structlog nor the counters.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal, get_args

from netd.peer import Credentials, Peer
from netd.reasons import Drop, Outcome, Refusal
from netd.shared.table import CELL, DURATIONS, Counts, Role, Table
from netd.telemetry.forward_events import ForwardEvents
from netd.telemetry.program_events import ProgramEvents
from netd.telemetry.throttle import QUIET, ThrottledLog

# The cells that the hot path updates.
_ACCEPTED, _FAILED, _LOOPS, _CHECKS = CELL["accepted"], CELL["failed"], CELL["loops"], CELL["checks"]
_REQUESTS = CELL["requests"]
_BYTES_IN, _BYTES_OUT = CELL["bytes_in"], CELL["bytes_out"]
_DATAGRAMS_IN, _DATAGRAMS_OUT = CELL["datagrams_in"], CELL["datagrams_out"]
_CLOSED = {outcome: CELL[f"closed.{outcome}"] for outcome in get_args(Outcome)}
_REFUSED = {reason: CELL[f"refused.{reason}"] for reason in get_args(Refusal)}
_DROPPED = {reason: CELL[f"dropped.{reason}"] for reason in get_args(Drop)}
_SHORTEST = CELL[f"durations.{DURATIONS[0]:g}"]
_DURATION = CELL["duration_us"]


def _origin(error: BaseException) -> str:
    """The type of an error, and the line that raised it: a bounded number of texts, and none that a peer can choose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"


Traffic = tuple[int, int, int]
"""What has moved on a connection: requests, octets received, octets sent. A request is what one recv(2) returned."""
NOTHING: Traffic = (0, 0, 0)


def _known(details: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in details.items() if value}


ConnectionLog = Literal["all", "debug", "summary", "off"] | int
"""The connections that are logged when they close: all, all at debug, a sum once a minute, none, or one in so many."""


class ListenerEvents(ThrottledLog):
    """The events of one service's listeners, in the process that opens them: log lines without counters."""

    def __init__(self, service: str) -> None:
        super().__init__(service=service)

    def listening(self, endpoint: str) -> None:
        """The service listens on ``endpoint``."""
        self._log.info("listening", endpoint=endpoint)

    def address_skipped(self, endpoint: str, error: str) -> None:
        """One of the addresses that a name resolves to is not on this host."""
        self._log.warning("address_skipped", endpoint=endpoint, error=error)

    def options_failed(self, endpoint: str, error: str) -> None:
        """Setting the socket options of a new config on an open socket failed; the socket serves as before."""
        self._log.error("options_failed", endpoint=endpoint, error=error)

    def reply_guard_disabled(self) -> None:
        """The config disables the reply guard of a UDP service."""
        self._log.warning("reply_guard_disabled", advice="forged source addresses can direct answers at other hosts")

    def filter_refused(self, endpoint: str) -> None:
        """A program has this TCP listener, and netd no right to attach a filter to it: bans do not hold there."""
        self._log.warning("filter_refused", endpoint=endpoint, advice="give netd CAP_NET_ADMIN (capabilities(7))")

    def filter_limited(self, number: int, limit: int) -> None:
        """A socket filter has room for ``limit`` bans. The others, which end first, do not hold at its listeners."""
        advice = "a socket filter has no room for more; maybe raise the sysctl net.core.optmem_max"
        self._log.warning("filter_limited", number=number, limit=limit, advice=advice)

    def filter_failed(self, endpoint: str, error: str) -> None:
        """The socket filter with address rules and bans cannot be exchanged, or removed. The socket has the old one."""
        advice = "its program may have locked it: netd disable and netd enable open a new socket"
        self._log.error("filter_failed", endpoint=endpoint, error=error, advice=advice)


class ServiceEvents(ThrottledLog):
    """The events of one service in one process.

    ``process`` (a worker by its number, another process by its role) writes its column of ``table``; without a table,
    the counters are this process's alone. ``clock`` returns monotonic seconds. ``connection_log`` is the first mode of
    `set_connection_log`.
    """

    def __init__(
        self,
        service: str,
        table: Table | None = None,
        process: int | Role = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        connection_log: ConnectionLog = "all",
    ) -> None:
        super().__init__(clock, service=service)
        self.service = service
        self.table = table or Table()
        if isinstance(process, int):
            self.table.workers = process + 1
        self._cells = self.table.column(process)
        self.programs: ProgramEvents | None = None
        """The events of its programs, if its type starts some."""
        if "programs_started" in self.table.layout.cells:
            self.programs = ProgramEvents(service, self.table, process, lambda: self._connection_log == "all", clock)
        self.forward: ForwardEvents | None = None
        """The events of its targets, if its type forwards."""
        if "forward_connects" in self.table.layout.cells:
            self.forward = ForwardEvents(service, self.table, process, clock)
        self._connection_log: ConnectionLog = connection_log
        # Connections, octets received and octets sent since the last line of `log.connections: summary`.
        self._closed = [0, 0, 0]
        self._next_summary = 0.0

    @property
    def counters(self) -> Counts:
        """The counters of the service, over all workers."""
        return self.table.read()

    def log_pending(self, *, final: bool = False) -> None:
        self.connections_closed(final=final)
        for one in (self.programs, self.forward):
            if one:
                one.log_pending(final=final)
        super().log_pending(final=final)

    def connection_accepted(self) -> None:
        """A connection was accepted. `connection_closed` follows."""
        self._cells[_ACCEPTED] += 1

    def connection_refused(
        self, reason: Refusal, source: str | Credentials = "", number: int = 1, *, endpoint: str = "", via: str = ""
    ) -> None:
        """``number`` connections were refused, the last one from this address or local process, or from a proxy that
        has named this address (``via``).
        """
        self._cells[_REFUSED[reason]] += number
        details = {"reason": reason, "endpoint": endpoint, "via": via}
        if isinstance(source, Credentials):
            details["peer"] = str(source)
            source = source.user
        details["source"] = source
        self._log_throttled(f"refused.{reason}", source, number, "warning", "connection_refused", **_known(details))

    def traffic_moved(self, requests: int, bytes_in: int, bytes_out: int) -> None:
        """So much more has moved on an open connection."""
        cells = self._cells
        cells[_REQUESTS] += requests
        cells[_BYTES_IN] += bytes_in
        cells[_BYTES_OUT] += bytes_out

    def connection_closed(
        self,
        peer: Peer,
        bytes_in: int,
        bytes_out: int,
        duration: float,
        outcome: Outcome,
        requests: int = 0,
        counted: Traffic = NOTHING,
        *,
        unseen: bool = False,
        target: str = "",
    ) -> None:
        """A connection was closed after ``duration`` seconds. One without an octet was a check, and is a debug line.

        ``unseen``: its octets were a program's, so it is not known whether there were some; or no target was reached.
        ``target`` is what it was passed on to.

        ``counted`` is what `traffic_moved` has counted of it. A connection without a request counts as one: the service
        has spoken first, or the connection was a check. `set_connection_log` selects which of the others are logged.
        """
        cells = self._cells
        cells[_CLOSED[outcome]] += 1
        cells[_SHORTEST + bisect_left(DURATIONS, duration)] += 1
        cells[_DURATION] += int(duration * 1e6)
        cells[_REQUESTS] += (requests or 1) - counted[0]
        log = self._debug
        if not (bytes_in or bytes_out):
            cells[_CHECKS] += not unseen
        else:
            cells[_BYTES_IN] += bytes_in - counted[1]
            cells[_BYTES_OUT] += bytes_out - counted[2]
        if (bytes_in or bytes_out) and self._connection_log != "debug":
            log = self._log.info
            if self._connection_log != "all" and not self._sample(bytes_in, bytes_out):
                return
        if log is None:
            return
        log(
            "connection_closed",
            peer=peer.remote,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            duration=round(duration, 6),
            outcome=outcome,
            **({"via": peer.via} if peer.proxied else {}),
            **({"target": target} if target else {}),
        )

    def message_unanswered(self, peer: Peer, what: str) -> None:
        """A connection waits for the rest of a message: ``what`` it has received. Once for a connection."""
        self._log.debug("message_unanswered", peer=peer.remote, received=what)

    def set_connection_log(self, mode: ConnectionLog) -> None:
        """Select the connections that are logged from now on. The pending sum is logged first."""
        if mode != self._connection_log:
            self.connections_closed(final=True)
            self._connection_log, self._closed = mode, [0, 0, 0]

    def _sample(self, bytes_in: int, bytes_out: int) -> bool:
        """Add a closed connection to the sum. Return whether it is one of those that get their own line."""
        closed = self._closed
        closed[0] += 1
        closed[1] += bytes_in
        closed[2] += bytes_out
        return isinstance(self._connection_log, int) and closed[0] % self._connection_log == 0

    def connections_closed(self, *, final: bool = False) -> None:
        """In the mode ``summary``: log the sum of the connections closed since the last such line, once a minute."""
        number, bytes_in, bytes_out = self._closed
        if self._connection_log == "summary" and number and (final or self._clock() >= self._next_summary):
            self._next_summary = self._clock() + QUIET
            self._closed = [0, 0, 0]
            self._log.info("connections_closed", number=number, bytes_in=bytes_in, bytes_out=bytes_out)

    def conversation_failed(self, peer: Peer, error: BaseException) -> None:
        """A bug in the service ended this conversation, or left this datagram without an answer.

        Each bug (type of error and line of code) is logged with its traceback, then at most once a minute.
        """
        self._cells[_FAILED] += 1
        origin = _origin(error)
        details = {"peer": peer.remote, "error": origin, "exc_info": error}
        self._log_throttled(origin, "", 1, "error", "conversation_failed", **details)

    def inherit_failed(self, error: BaseException) -> None:
        """A bug kept the service from taking over its predecessor's state at a reload; it serves without it."""
        self._cells[_FAILED] += 1
        self._log.error("inherit_failed", error=_origin(error), exc_info=error)

    def datagrams_received(self, number: int, octets: int) -> None:
        """``number`` datagrams were received and passed to the service."""
        self._cells[_DATAGRAMS_IN] += number
        self._cells[_BYTES_IN] += octets

    def datagrams_answered(self, number: int, octets: int) -> None:
        """``number`` answers were passed to the kernel."""
        self._cells[_DATAGRAMS_OUT] += number
        self._cells[_BYTES_OUT] += octets

    def datagrams_dropped(
        self, number: int, reason: Drop, endpoint: str, peer: Peer | None = None, error: str = ""
    ) -> None:
        """``number`` datagrams to ``endpoint`` were dropped, or their answers not sent; the last one is from ``peer``.

        ``error`` is that of the system call.
        """
        self._cells[_DROPPED[reason]] += number
        details = {"reason": reason, "endpoint": endpoint, "error": error}
        if peer:
            details |= {"peer": peer.remote, "source": peer.source}
        source = peer.source if peer else ""
        self._log_throttled(f"dropped.{reason}", source, number, "warning", "datagrams_dropped", **_known(details))

    def loop_detected(self, peer: Peer) -> None:
        """A peer sent back the answers it received, hundreds of times in a row. A rate limits it, or a drop ends it."""
        self._cells[_LOOPS] += 1
        details = {"peer": peer.remote, "source": peer.source}
        self._log_throttled("loop", peer.source, 1, "warning", "loop_detected", **details)

    def accept_paused(self, error: str) -> None:
        """accept(2) failed for lack of resources; the listener pauses for a moment."""
        self._log_throttled("accept_paused", "", 1, "error", "accept_paused", error=error)

    def service_stopped(self) -> None:
        """The service has stopped: a line with its counters, at debug if all are zero."""
        summary: dict[str, object] = {}
        for name, value in self.counters.summary().items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            found = {f"{name}_{part}".replace(".", "_").rstrip("_"): count for part, count in parts}
            summary |= {key: count for key, count in found.items() if "duration" not in key}  # those are for /metrics
        log = self._log.info if summary else self._log.debug
        log("service_stopped", **summary)
