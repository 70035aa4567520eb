"""What all services of a netd share: memory for places and rates, bans, and the addresses that are its own."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from netd.admission.addresses import Prefixes
from netd.admission.bans import MOST, BanRules, exemption
from netd.reasons import Refusal
from netd.shared.daemon_limits import DaemonLimits

Report = Callable[[bytes, str, Refusal], None]
"""Hears of a source that was refused too often, by which service, and why the last time."""


def _unreported(source: bytes, service: str, refusal: Refusal) -> None:
    """Where there are no bans, offenders are not reported."""


_BANS = BanRules()


@dataclass(slots=True)
class DaemonAdmission:
    """What the admission of all services in one process has in common."""

    daemon_limits: DaemonLimits = field(default_factory=DaemonLimits)
    worker: int = 0
    """Which of the workers this process is."""
    connections: int | None = None
    """``daemon.connections``"""
    banned: dict[bytes, float] = field(default_factory=dict)
    """Sources, and until when (seconds, steady)."""
    ports: Set[int] = frozenset()
    """The ports on which this netd serves UDP."""
    paths: Set[str | bytes] = frozenset()
    """The paths and abstract names at which this netd takes UNIX datagrams, as the kernel gives them."""
    report: Report = _unreported
    bans: BanRules = _BANS
    exempt: Prefixes[str] = field(default_factory=lambda: exemption(_BANS.exempt))
    """Sources that are never reported, and served also where their network is banned."""

    def ban(self, source: bytes, until: float | None) -> None:
        """Refuse a source until then; None: no more. There is room for `MOST`; those that end first make it."""
        self.banned.pop(source, None)
        if until is not None:
            if len(self.banned) >= MOST:
                del self.banned[min(self.banned, key=lambda other: self.banned[other])]
            self.banned[source] = until

    def adopt(self, connections: int | None, bans: BanRules) -> None:
        """This is the config from now on."""
        self.connections, self.bans, self.exempt = connections, bans, exemption(bans.exempt)
