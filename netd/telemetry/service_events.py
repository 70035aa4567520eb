"""The events of a service: one method for each, which updates the counter and writes the log line.

So the two cannot disagree. Transports and services call these methods, and use neither structlog nor the counters.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Literal, get_args

from netd.addresses import address_text, unmap_host
from netd.errors import origin_of
from netd.peer import Address, Credentials, Peer, Tls
from netd.reasons import Drop, HandshakeFailure, Outcome, Refusal
from netd.shared.table import CELL, DURATIONS, Counts, Role, Table
from netd.telemetry import formats, logs
from netd.telemetry.forward_events import ForwardEvents
from netd.telemetry.program_events import ProgramEvents
from netd.telemetry.sensor_events import SensorEvents
from netd.telemetry.throttle import QUIET, ThrottledLog

# The cells that the hot path updates.
_ACCEPTED, _FAILED, _LOOPS, _CHECKS = CELL["accepted"], CELL["failed"], CELL["loops"], CELL["checks"]
_REQUESTS, _BYTES_IN, _BYTES_OUT = CELL["requests"], CELL["bytes_in"], CELL["bytes_out"]
_DATAGRAMS_IN, _DATAGRAMS_OUT = CELL["datagrams_in"], CELL["datagrams_out"]
_CLOSED = {outcome: CELL[f"closed.{outcome}"] for outcome in get_args(Outcome)}
_REFUSED = {reason: CELL[f"refused.{reason}"] for reason in get_args(Refusal)}
_DROPPED = {reason: CELL[f"dropped.{reason}"] for reason in get_args(Drop)}
_HANDSHAKES, _RESUMED = CELL["handshakes"], CELL["handshakes_resumed"]
_UNSHAKEN = {reason: CELL[f"handshakes_failed.{reason}"] for reason in get_args(HandshakeFailure)}
_SHORTEST = CELL[f"durations.{DURATIONS[0]:g}"]
_DURATION, _HANGING = CELL["duration_us"], CELL["hanging"]

Traffic = tuple[int, int, int]
"""What has moved on a connection: requests, octets received, octets sent. A request is what one recv(2) returned."""
NOTHING: Traffic = (0, 0, 0)
_LONGEST_NAME = 256


def _known(details: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in details.items() if value}


def _tls_fields(tls: Tls) -> dict[str, object]:
    """What the log says of a TLS connection: what its client has chosen is cut."""
    found = {"tls": tls.protocol, "cipher": tls.cipher, "server_name": tls.server_name, "alpn": tls.alpn}
    found |= {"subject": tls.subject[:_LONGEST_NAME], "certificate": tls.fingerprint}
    names = ",".join(tls.names)[:_LONGEST_NAME]
    return {**_known(found), **({"names": names} if names else {})}


ConnectionLog = Literal["all", "debug", "summary", "off"] | int
"""The connections that are logged when they close: all, all at debug, a sum once a minute, none, or one in so many."""


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
        self.sensor: SensorEvents | None = None
        """The events of a sensor, if it is one that serves."""
        self._connection_log: ConnectionLog = connection_log
        # Connections, octets received and octets sent since the last line of `log.connections: summary`.
        self._closed = [0, 0, 0]
        self._next_summary = 0.0

    def bind_logger(self) -> None:
        super().bind_logger()
        self._render_closed = formats.connection_line(str(self._context["service"]))
        self._write_line = logs.json_writer()

    @property
    def counters(self) -> Counts:
        """The counters of the service, over all workers."""
        return self.table.read()

    def log_pending(self, *, final: bool = False) -> None:
        self.connections_closed(final=final)
        for one in (self.programs, self.forward, self.sensor):
            if one:
                one.log_pending(final=final)
        super().log_pending(final=final)

    def connection_accepted(self) -> None:
        """A connection was accepted. `connection_closed` follows."""
        self._cells[_ACCEPTED] += 1

    def connection_refused(
        self,
        reason: Refusal,
        source: str | Credentials = "",
        number: int = 1,
        *,
        endpoint: str = "",
        via: str = "",
        tls: Tls | None = None,
    ) -> None:
        """Connections of a source were refused, before the service saw them.

        ``source`` is the address or local process of the last one, ``via`` a proxy that has named this address, ``tls``
        what a TLS handshake before it has told.
        """
        self._cells[_REFUSED[reason]] += number
        details: dict[str, Any] = {"reason": reason, "endpoint": endpoint, "via": via}
        if tls:
            details |= _tls_fields(tls)
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
        peer: Peer | Address,
        bytes_in: int,
        bytes_out: int,
        duration: float,
        outcome: Outcome,
        requests: int = 0,
        counted: Traffic = NOTHING,
        *,
        unseen: bool = False,
        target: str = "",
        truncated: bool = False,
    ) -> None:
        """A connection was closed. The line is at debug if it had no data, as the check of a load balancer, and where
        `log.connections`, or `log_connections` of its service, says so.

        ``peer`` may be the address of a TCP connection, as accept(2) returned it, where nothing else is known of it.
        ``unseen``: its octets were a program's, so it is not known whether there were some; or no target was reached.
        ``target`` is what it was passed on to. ``truncated``: the peer has ended it without the close_notify of TLS.

        ``counted`` is what `traffic_moved` has counted of it. A connection without a request counts as one: the service
        has spoken first, or the connection was a check. `set_connection_log` selects which of the others are logged.
        """
        self._count_closed(outcome, duration)
        cells = self._cells
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
            tls = None
            if isinstance(peer, Peer):
                host, port, tls = peer.host, peer.port, peer.tls
                usual = peer.transport == "tcp" and not (peer.proxied or "%" in host)
                if tls and usual:
                    usual = not (tls.fingerprint or tls.alpn or truncated)
            else:
                host, port = peer[:2]
                usual = "%" not in host
            if usual and self._write_line:
                text = f"{host}:{port}" if ":" not in host else address_text(unmap_host(host), port)
                return self._write_line(self._render_closed(text, bytes_in, bytes_out, duration, outcome, target, tls))
        if log is None:
            return
        if not isinstance(peer, Peer):
            peer = Peer("tcp", unmap_host(peer[0]), peer[1])
        log(
            "connection_closed",
            peer=peer.remote,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            duration=round(duration, 6),
            outcome=outcome,
            **({"via": peer.via} if peer.proxied else {}),
            **({"target": target} if target else {}),
            **(_tls_fields(peer.tls) if peer.tls else {}),
            **({"truncated": True} if truncated else {}),
        )

    def session_opened(self) -> None:
        """The datagrams of a peer are passed on from now on. `session_closed` follows."""
        self._cells[_ACCEPTED] += 1

    def session_closed(self, peer: Peer, bytes_in: int, bytes_out: int, duration: float, outcome: Outcome) -> None:
        """The session of a client of `forward` over datagrams ended; at debug, since its address may be forged."""
        self._count_closed(outcome, duration)
        if self._debug:
            self._log.debug(
                "session_closed",
                peer=peer.remote,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                duration=round(duration, 6),
                outcome=outcome,
            )

    def _count_closed(self, outcome: Outcome, duration: float) -> None:
        cells = self._cells
        cells[_CLOSED[outcome]] += 1
        cells[_SHORTEST + bisect_left(DURATIONS, duration)] += 1
        cells[_DURATION] += int(duration * 1e6)

    def message_unanswered(self, peer: Peer, what: str) -> None:
        """A connection waits for the rest of a message, such as its line end. Once for a connection."""
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
        """The sum of the connections closed since the last such line, once a minute: `log.connections: summary`."""
        number, bytes_in, bytes_out = self._closed
        if self._connection_log == "summary" and number and (final or self._clock() >= self._next_summary):
            self._next_summary = self._clock() + QUIET
            self._closed = [0, 0, 0]
            self._log.info("connections_closed", number=number, bytes_in=bytes_in, bytes_out=bytes_out)

    def handshake_done(self, *, resumed: bool) -> None:
        """A TLS handshake was completed; ``resumed``: with the keys of an earlier session."""
        self._cells[_HANDSHAKES] += 1
        self._cells[_RESUMED] += resumed

    def handshake_failed(self, peer: Peer, reason: HandshakeFailure, error: str) -> None:
        """A TLS handshake failed; docs/tls.md explains each ``reason``. ``error`` has the words of OpenSSL."""
        self._cells[_UNSHAKEN[reason]] += 1
        details = {"reason": reason, "error": error, "peer": peer.remote, "source": peer.source}
        self._log_throttled(f"tls.{reason}", peer.source, 1, "warning", "handshake_failed", **_known(details))

    def conversation_failed(self, peer: Peer, error: BaseException) -> None:
        """A bug in a service ended a conversation, or left a datagram without an answer.

        Each bug (type of error and line of code) is logged with its traceback, then at most once a minute.
        """
        self._cells[_FAILED] += 1
        origin = origin_of(error)
        details = {"peer": peer.remote, "error": origin, "exc_info": error}
        self._log_throttled(origin, "", 1, "error", "conversation_failed", **details)

    def handler_stalled(self, peer: Peer, at: str, seconds: float, cpu_seconds: float) -> None:
        """A handler has neither read nor written for so many seconds, and does not wait for its client: ``at`` is the
        line where it is, ``cpu_seconds`` the processor time that it has used meanwhile, which shows a loop without end.

        Each line of code is logged once, then at most once a minute.
        """
        details = {"at": at, "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1), "peer": peer.remote}
        self._log_throttled(f"hung {at}", "", 1, "warning", "handler_stalled", **details)

    def handlers_hanging(self, number: int) -> None:
        """So many handlers hang now in this process: a number, which `handler_stalled` has told of."""
        self._cells[_HANGING] = number

    def inherit_failed(self, error: BaseException) -> None:
        """A bug kept a service from taking over the state of the one before the reload; it serves without it."""
        self._cells[_FAILED] += 1
        self._log.error("inherit_failed", error=origin_of(error), exc_info=error)

    def datagrams_received(self, number: int, octets: int) -> None:
        """``number`` datagrams were received and passed to the service."""
        self._cells[_DATAGRAMS_IN] += number
        self._cells[_BYTES_IN] += octets

    def datagrams_answered(self, number: int, octets: int) -> None:
        """``number`` answers were passed to the kernel."""
        self._cells[_DATAGRAMS_OUT] += number
        self._cells[_BYTES_OUT] += octets

    def datagram_reflected(self, octets: int) -> None:
        """One datagram was received, and passed to the kernel as its own answer."""
        cells = self._cells
        cells[_DATAGRAMS_IN] += 1
        cells[_DATAGRAMS_OUT] += 1
        cells[_BYTES_IN] += octets
        cells[_BYTES_OUT] += octets

    def datagrams_dropped(
        self, number: int, reason: Drop, endpoint: str, peer: Peer | None = None, error: str = ""
    ) -> None:
        """Datagrams to ``endpoint`` were dropped, or the answers to them; the last one is from ``peer``.

        ``error`` is that of the system call.
        """
        self._cells[_DROPPED[reason]] += number
        details = {"reason": reason, "endpoint": endpoint, "error": error}
        if peer:
            details |= {"peer": peer.remote, "source": peer.source}
        source = peer.source if peer else ""
        self._log_throttled(f"dropped.{reason}", source, number, "warning", "datagrams_dropped", **_known(details))

    def loop_detected(self, peer: Peer) -> None:
        """A peer sends back what it gets, hundreds of times in a row. A rate limits it, or a drop ends it."""
        self._cells[_LOOPS] += 1
        details = {"peer": peer.remote, "source": peer.source}
        self._log_throttled("loop", peer.source, 1, "warning", "loop_detected", **details)

    def accept_paused(self, error: str) -> None:
        """There are no descriptors or memory left for another connection: the listener pauses for a moment."""
        self._log_throttled("accept_paused", "", 1, "error", "accept_paused", error=error)

    def service_stopped(self) -> None:
        """A service has stopped. Its counters that are not 0 are fields (``accepted``, ``closed_done``,
        ``refused_banned``, …); if all are 0, the line is at debug.
        """
        summary: dict[str, object] = {}
        for name, value in self.counters.summary().items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            found = {f"{name}_{part}".replace(".", "_").rstrip("_"): count for part, count in parts}
            summary |= {key: count for key, count in found.items() if "duration" not in key}  # those are for /metrics
        log = self._log.info if summary else self._log.debug
        log("service_stopped", **summary)
