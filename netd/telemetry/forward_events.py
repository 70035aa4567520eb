"""The events of the targets of one service: the counters and the log lines of connections to them."""

import time
from collections.abc import Callable
from typing import Literal, get_args

from netd.shared.table import Layout, Role, Table
from netd.telemetry.throttle import ThrottledLog

Why = Literal["refused", "timeout", "unreachable", "unresolved", "tls", "denied", "no_resources", "error"]
"""Why a target could not be reached: it refused the connection, or nothing listens there; it did not answer in time;
there is no route to it; its name has no address; TLS with it failed; this process may not connect to it; the system
lacks descriptors, ports or memory; another error."""

CheckWhy = Literal[Why, "unexpected"]
"""Why the check of a target has failed: likewise, or it has answered something else than is expected."""

NoTarget = Literal[Why, "out_of_service"]
"""Why a connection has no target: the last one could not be reached, or all are out of service."""

_HANDSHAKES = ("forward_tls_handshakes", "forward_tls_handshakes_resumed")
COUNTERS = ("forward_connects", *_HANDSHAKES, *(f"forward_failures.{why}" for why in get_args(Why)))
"""What a service type that forwards counts beside the common counters."""


class ForwardEvents(ThrottledLog):
    """The events of the targets of a service. ``process`` counts them in its column of ``table``, if there is one."""

    def __init__(
        self,
        service: str,
        table: Table | None = None,
        process: int | Role = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, service=service)
        table = table or Table(layout=Layout(COUNTERS))
        self._cells = table.column(process)
        self._connects = table.layout.cells["forward_connects"]
        self._handshakes, self._resumed = (table.layout.cells[name] for name in _HANDSHAKES)
        self._failures = {why: table.layout.cells[f"forward_failures.{why}"] for why in get_args(Why)}

    def connecting(self) -> None:
        """A connection to a target is begun."""
        self._cells[self._connects] += 1

    def handshake_done(self, *, resumed: bool) -> None:
        """A TLS handshake with a target was completed; ``resumed``: with the keys of an earlier session."""
        self._cells[self._handshakes] += 1
        self._cells[self._resumed] += resumed

    def connect_failed(self, target: str, why: Why, error: str, *, is_first: bool) -> None:
        """A target of `forward` cannot be reached. Once, until it has been reached again.

        ``is_first``: it could be reached before, so this is logged.
        """
        self._cells[self._failures[why]] += 1
        if is_first:
            self._log.warning("target_failed", target=target, reason=why, error=error)

    def target_recovered(self, target: str) -> None:
        """A target that could not be reached has been reached again."""
        self._log.info("target_recovered", target=target)

    def target_tls_failed(self, target: str, error: str) -> None:
        """Connections over TLS to a target have failed after the handshake, the last one with this ``error``: the
        target has sent an alert, as one with TLS 1.3 does that accepts no certificate of netd, or has violated TLS.
        """
        self._log_throttled("tls", target, 1, "warning", "target_tls_failed", target=target, error=error)

    def target_check_failed(self, target: str, why: CheckWhy, error: str) -> None:
        """Checks of a target have failed (`check.fall`), the last one for this ``reason``: it gets no connections."""
        self._log.warning("target_check_failed", target=target, reason=why, error=error)

    def target_check_passed(self, target: str) -> None:
        """Checks of a target have succeeded again (`check.rise`): it gets connections."""
        self._log.info("target_check_passed", target=target)

    def name_failed(self, name: str, error: str) -> None:
        """The name of a target can no longer be resolved; the old addresses are used, if there are some."""
        self._log.warning("name_failed", name=name, error=error)

    def name_resolved(self, name: str) -> None:
        """The name of a target can be resolved again."""
        self._log.info("name_resolved", name=name)

    def targets_exhausted(self, source: str, why: NoTarget) -> None:
        """Connections were ended since no target could be reached, the last one for this ``reason``, or all are
        `out_of_service`.
        """
        details = {"source": source, "reason": why}
        self._log_throttled(f"exhausted.{why}", "", 1, "error", "targets_exhausted", **details)
