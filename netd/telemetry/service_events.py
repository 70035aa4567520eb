"""What can happen to a service: one function a fact, which moves the counter and writes the log line.

So the two cannot disagree. Transports and services call these and know neither structlog nor the counters.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal, get_args

from netd.peer import Credentials, Peer
from netd.reasons import Drop, Outcome, Refusal
from netd.shared.table import CELL, DURATIONS, Counts, Role, Table
from netd.telemetry.throttle import QUIET, ThrottledLog

# Where in a column the hot path counts.
_ACCEPTED, _FAILED, _LOOPS, _CHECKS = CELL["accepted"], CELL["failed"], CELL["loops"], CELL["checks"]
_BYTES_IN, _BYTES_OUT = CELL["bytes_in"], CELL["bytes_out"]
_DATAGRAMS_IN, _DATAGRAMS_OUT = CELL["datagrams_in"], CELL["datagrams_out"]
_CLOSED = {outcome: CELL[f"closed.{outcome}"] for outcome in get_args(Outcome)}
_REFUSED = {reason: CELL[f"refused.{reason}"] for reason in get_args(Refusal)}
_DROPPED = {reason: CELL[f"dropped.{reason}"] for reason in get_args(Drop)}
_SHORTEST = CELL[f"durations.{DURATIONS[0]:g}"]
_DURATION = CELL["duration_us"]


def _where(error: BaseException) -> str:
    """What tells one bug from another: a bounded number of places in the code, nothing a peer can choose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"


AccessLog = Literal["all", "summary", "off"] | int
"""Which connections get a line when they end: all of them, none but a sum once a minute, none, or one in so many."""


class ListenerEvents(ThrottledLog):
    """What can happen to the listeners of one service where they are opened: lines alone, which move no counter."""

    def __init__(self, service: str) -> None:
        super().__init__(service=service)

    def listening(self, endpoint: str) -> None:
        """The service can be reached at ``endpoint``."""
        self._log.info("listening", endpoint=endpoint)

    def address_skipped(self, endpoint: str, error: str) -> None:
        """One of the addresses a name stands for is not on this host."""
        self._log.warning("address_skipped", endpoint=endpoint, error=error)

    def options_failed(self, endpoint: str, error: str) -> None:
        """A socket that was open already did not get all options of a new config; it serves as before."""
        self._log.error("options_failed", endpoint=endpoint, error=error)

    def reply_guard_disabled(self) -> None:
        """The config switches the reply guard of a UDP service off."""
        self._log.warning("reply_guard_disabled", advice="a forged source can turn its answers against others")


class ServiceEvents(ThrottledLog):
    """What can happen to one service in one process.

    ``process`` (a worker by its number, another by its role) writes its column of ``table``; without one, the numbers
    are this process's own. ``clock`` counts seconds from anywhere, steadily. The connections of a ``quiet`` one are
    debug lines.
    """

    def __init__(
        self,
        service: str,
        table: Table | None = None,
        process: int | Role = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        quiet: bool = False,
    ) -> None:
        super().__init__(clock, service=service)
        self.service = service
        self.table = table or Table()
        if isinstance(process, int):
            self.table.workers = process + 1
        self._cells = self.table.column(process)
        self._quiet = quiet
        self._access: AccessLog = "all"
        self._closed = [0, 0, 0]  # connections, octets in and out, of which `log.connections: summary` has not told
        self._next_summary = 0.0

    @property
    def counters(self) -> Counts:
        """What the service has done, in all workers."""
        return self.table.read()

    def summarize(self, *, final: bool = False) -> None:
        self.connections_closed(final=final)
        super().summarize(final=final)

    def connection_accepted(self) -> None:
        """A connection was taken; it will be closed."""
        self._cells[_ACCEPTED] += 1

    def connection_refused(self, reason: Refusal, peer: str | Credentials = "", number: int = 1) -> None:
        """So many connections were closed before a word, the last one from this address, or from this process here."""
        self._cells[_REFUSED[reason]] += number
        told = {"reason": reason} | ({"peer": str(peer)} if peer else {})
        source = peer if isinstance(peer, str) else peer.user
        self._tell(f"refused.{reason}", source, number, "warning", "connection_refused", **told)

    def connection_closed(self, peer: Peer, bytes_in: int, bytes_out: int, duration: float, outcome: Outcome) -> None:
        """A connection is over, after ``duration`` seconds. One without a byte was a probe, and is a debug line.

        For which of the others there is a line, `tell_connections` says.
        """
        cells = self._cells
        cells[_CLOSED[outcome]] += 1
        cells[_SHORTEST + bisect_left(DURATIONS, duration)] += 1
        cells[_DURATION] += int(duration * 1e6)
        log = self._log.debug
        if not (bytes_in or bytes_out):
            cells[_CHECKS] += 1
        else:
            cells[_BYTES_IN] += bytes_in
            cells[_BYTES_OUT] += bytes_out
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
            self.connections_closed(final=True)
            self._access, self._closed = access, [0, 0, 0]

    def _is_told(self, bytes_in: int, bytes_out: int) -> bool:
        """Whether this connection gets a line of its own."""
        closed = self._closed
        closed[0] += 1
        closed[1] += bytes_in
        closed[2] += bytes_out
        return isinstance(self._access, int) and closed[0] % self._access == 0

    def connections_closed(self, *, final: bool = False) -> None:
        """So many connections are over since this was told last, where a sum a minute is asked for."""
        number, bytes_in, bytes_out = self._closed
        if self._access == "summary" and number and (final or self._clock() >= self._next_summary):
            self._next_summary = self._clock() + QUIET
            self._closed = [0, 0, 0]
            self._log.info("connections_closed", number=number, bytes_in=bytes_in, bytes_out=bytes_out)

    def conversation_failed(self, peer: Peer, error: BaseException) -> None:
        """A bug in the service ended this conversation, or left this datagram without an answer.

        Each bug (kind of error and line of code) is told with its traceback, and again once a minute at most.
        """
        self._cells[_FAILED] += 1
        where = _where(error)
        self._tell(where, "", 1, "error", "conversation_failed", peer=peer.remote, error=where, exc_info=error)

    def inherit_failed(self, error: BaseException) -> None:
        """A bug in the service kept it from taking over what the one before a reload knew; it serves all the same."""
        self._cells[_FAILED] += 1
        self._log.error("inherit_failed", error=_where(error), exc_info=error)

    def datagrams_received(self, number: int, octets: int) -> None:
        """So many datagrams came, and the service got them."""
        self._cells[_DATAGRAMS_IN] += number
        self._cells[_BYTES_IN] += octets

    def datagrams_answered(self, number: int, octets: int) -> None:
        """So many answers were handed to the kernel."""
        self._cells[_DATAGRAMS_OUT] += number
        self._cells[_BYTES_OUT] += octets

    def datagrams_dropped(self, number: int, reason: Drop, peer: Peer | None = None) -> None:
        """So many datagrams were not given to the service, or their answers not sent; the last one of ``peer``."""
        self._cells[_DROPPED[reason]] += number
        told = {"reason": reason} | ({"peer": peer.remote} if peer else {})
        source = peer.source if peer else ""
        self._tell(f"dropped.{reason}", source, number, "warning", "datagrams_dropped", **told)

    def loop_detected(self, peer: Peer) -> None:
        """A peer sends back what it is answered, hundreds of times on end; its rate is what bounds it."""
        self._cells[_LOOPS] += 1
        self._tell("loop", peer.source, 1, "warning", "loop_detected", peer=peer.remote)

    def accept_paused(self, error: str) -> None:
        """The system has no means for another connection; this listener rests for a moment."""
        self._tell("accept_paused", "", 1, "error", "accept_paused", error=error)

    def service_stopped(self) -> None:
        """The service is over; what it did. Nothing is a debug line."""
        summary = self.counters.summary()
        log = self._log.info if summary else self._log.debug
        log("service_stopped", **summary)
