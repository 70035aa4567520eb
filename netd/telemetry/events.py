"""One function a fact: it moves the counter and writes the log line, so the two cannot disagree.

Transports and services call these and know neither structlog nor the counters. What a peer can cause at will is
logged on the edge: the first time, then once a minute with the number since.
"""

import time
from collections.abc import Callable
from typing import Literal

import structlog

from netd.conversation import Peer
from netd.telemetry.counters import Counters

Outcome = Literal["done", "reset", "idle", "lifetime", "peer_error", "failed", "stopped"]
"""How a connection ended: the service closed it, the peer broke it off, a limit ended it, the peer broke the rules,
the service has a bug, netd stops."""

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


def _where(error: BaseException) -> str:
    """What tells one bug from another: a bounded number of places in the code, nothing a peer can choose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"


class ServiceEvents:
    """What can happen to one service. ``clock`` counts seconds from anywhere, steadily."""

    def __init__(self, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters()
        self._edge = Edge(clock)
        self._log = structlog.get_logger().bind(service=service)

    def listening(self, endpoint: str) -> None:
        """The service can be reached at ``endpoint``."""
        self._log.info("listening", endpoint=endpoint)

    def connection_accepted(self) -> None:
        """A connection was taken; it will be closed."""
        self.counters.accepted += 1

    def connection_refused(self, reason: str) -> None:
        """A connection was closed before a word."""
        self.counters.refused[reason] += 1
        if number := self._edge.count(reason):
            self._log.warning("connection_refused", reason=reason, number=number)

    def connection_closed(self, peer: Peer, bytes_in: int, bytes_out: int, duration: float, outcome: Outcome) -> None:
        """A connection is over, after ``duration`` seconds. One without a byte was a probe, and is a debug line."""
        counters = self.counters
        counters.closed[outcome] += 1
        counters.bytes_in += bytes_in
        counters.bytes_out += bytes_out
        log = self._log.info if bytes_in or bytes_out else self._log.debug
        log(
            "connection_closed",
            peer=peer.remote,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            duration=round(duration, 6),
            outcome=outcome,
        )

    def conversation_failed(self, peer: Peer, error: BaseException) -> None:
        """A bug in the service ended this conversation, or left this datagram without an answer.

        Each bug (kind of error and line of code) is told with its traceback, and again once a minute at most.
        """
        self.counters.failed += 1
        if number := self._edge.count(_where(error)):
            self._log.error("conversation_failed", peer=peer.remote, number=number, exc_info=error)

    def datagrams_received(self, number: int, octets: int) -> None:
        """So many datagrams came, and the service got them."""
        self.counters.datagrams_in += number
        self.counters.bytes_in += octets

    def datagrams_answered(self, number: int, octets: int) -> None:
        """So many answers were handed to the kernel."""
        self.counters.datagrams_out += number
        self.counters.bytes_out += octets

    def datagrams_dropped(self, number: int, reason: str) -> None:
        """So many datagrams were not given to the service, or their answers not sent."""
        self.counters.dropped[reason] += number
        if number := self._edge.count(reason, number):
            self._log.warning("datagrams_dropped", reason=reason, number=number)

    def accept_paused(self, error: str) -> None:
        """The system has no means for another connection; this listener rests for a moment."""
        self.counters.refused["no_resources"] += 1
        if number := self._edge.count("accept_paused"):
            self._log.error("accept_paused", error=error, number=number)

    def address_skipped(self, endpoint: str, error: str) -> None:
        """One of the addresses a name stands for is not on this host."""
        self._log.warning("address_skipped", endpoint=endpoint, error=error)

    def service_stopped(self) -> None:
        """The service is over; what it did. Nothing is a debug line."""
        summary = self.counters.summary()
        log = self._log.info if summary else self._log.debug
        log("service_stopped", **summary)


class DaemonEvents:
    """What can happen to the daemon as a whole."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def netd_started(self, version: str, config: str) -> None:
        """The config is good; sockets come next."""
        self._log.info("netd_started", version=version, config=config)

    def netd_ready(self, services: int, sockets: int) -> None:
        """Every enabled service is listening."""
        self._log.info("netd_ready", services=services, sockets=sockets)

    def drain_started(self, signal: str, connections: int, drain: float) -> None:
        """Nothing more is accepted; live conversations have ``drain`` seconds."""
        self._log.info("drain_started", signal=signal, connections=connections, drain=drain)

    def loop_blocked(self, seconds: float) -> None:
        """A service does not give the loop back: it did not end within so many seconds, and is left behind."""
        self._log.critical("loop_blocked", seconds=seconds)

    def netd_stopped(self) -> None:
        """Everything is closed."""
        self._log.info("netd_stopped")

    def netd_failed(self, error: BaseException) -> None:
        """A bug outside of any conversation stops the daemon."""
        self._log.critical("netd_failed", exc_info=error)
