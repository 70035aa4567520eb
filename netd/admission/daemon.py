"""The admission state that all services of a netd share: limits and rates, bans, and the daemon's own addresses."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from netd.admission.addresses import Prefixes
from netd.admission.bans import MOST, ROOM, BanRules, exemption
from netd.load_average import LoadAverage
from netd.reasons import Refusal
from netd.shared.daemon_limits import DaemonLimits

Report = Callable[[bytes, str, Refusal], None]
"""Called with a source that was refused too often, the service that refused it, and the reason of the last refusal."""


ReportVisitor = Callable[[bytes, str], None]
"""Called with the address (4 or 16 octets) of a peer that a sensor has admitted, and the name of the sensor."""


def _unreported(source: bytes, service: str, refusal: Refusal) -> None:
    """The default: sources are not reported."""


_BANS = BanRules()


MOST_THREADS = 512
"""The default of ``daemon.threads``."""


class DaemonBounds(NamedTuple):
    """What all services may use together."""

    connections: int | None = None
    """``daemon.connections``"""
    threads: int = MOST_THREADS
    """``daemon.threads``"""


@dataclass(slots=True)
class DaemonAdmission:
    """The state that the admission of all services in one process shares."""

    daemon_limits: DaemonLimits = field(default_factory=DaemonLimits)
    worker: int = 0
    """The number of this worker."""
    connections: int | None = None
    """``daemon.connections``"""
    threads: int = MOST_THREADS
    """``daemon.threads``"""
    banned: dict[bytes, float] = field(default_factory=dict)
    """Banned sources, and when their bans end (seconds, monotonic)."""
    ports: Set[int] = frozenset()
    """The ports on which this netd serves UDP."""
    paths: Set[str | bytes] = frozenset()
    """The paths and abstract names at which this netd receives UNIX datagrams, as the kernel returns them."""
    report: Report = _unreported
    report_visitor: ReportVisitor = lambda address, service: None
    bans: BanRules = _BANS
    load: Callable[[float], float] = field(default_factory=LoadAverage)
    """The load average of the host, at a time (seconds, monotonic)."""
    exempt: Prefixes[str] = field(default_factory=lambda: exemption(_BANS.exempt))
    """Addresses that are never reported, and are served even if their IPv6 /64 is banned."""

    def ban(self, source: bytes, until: float | None) -> None:
        """Refuse a source until this time; None: lift its ban. Beyond `MOST`, those that end first make room."""
        self.banned.pop(source, None)
        if until is not None:
            if len(self.banned) >= MOST:
                for other in nsmallest(ROOM, self.banned, key=lambda other: self.banned[other]):
                    del self.banned[other]
            self.banned[source] = until

    def apply(self, bounds: DaemonBounds, bans: BanRules) -> None:
        """Apply a new config."""
        self.connections, self.threads = bounds
        self.bans, self.exempt = bans, exemption(bans.exempt)
