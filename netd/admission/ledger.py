"""What all services of a netd share: memory for places and rates, who is banned, and what addresses are its own."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from netd.admission.addresses import Prefixes
from netd.admission.bans import MOST, BanRules, exemption
from netd.admission.rates import CELLS, Rates
from netd.reasons import Refusal
from netd.telemetry.counters import MOST_WORKERS, SharedMemory

Report = Callable[[bytes, str, Refusal], None]
"""Hears of a source that was refused too often, by which service, and why the last time."""


class Ledger(SharedMemory):
    """The memory. ``descriptor`` is that of one made by another process; else one is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__("netd-admission", (MOST_WORKERS + CELLS) * 8, descriptor)
        numbers = self.octets.cast("q")
        self.active = numbers[:MOST_WORKERS]
        """How many connections each worker has, of all services."""
        self.rates = Rates(numbers[MOST_WORKERS:])

    def forget(self, worker: int) -> None:
        """A worker is over, with all its connections."""
        self.active[worker] = 0


def _nobody(source: bytes, service: str, refusal: Refusal) -> None:
    """Where there are no bans, nobody wants to hear of offenders."""


_BANS = BanRules()


@dataclass(slots=True)
class House:
    """What the doors of all services in one process have in common."""

    ledger: Ledger = field(default_factory=Ledger)
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
    report: Report = _nobody
    bans: BanRules = _BANS
    spared: Prefixes[str] = field(default_factory=lambda: exemption(_BANS.exempt))
    """Who is never reported, and served also where its network is banned."""

    def ban(self, source: bytes, until: float | None) -> None:
        """Refuse a source until then; None: no more. There is room for `MOST`; those that end first make it."""
        self.banned.pop(source, None)
        if until is not None:
            if len(self.banned) >= MOST:
                del self.banned[min(self.banned, key=lambda other: self.banned[other])]
            self.banned[source] = until

    def adopt(self, connections: int | None, bans: BanRules) -> None:
        """This is the config from now on."""
        self.connections, self.bans, self.spared = connections, bans, exemption(bans.exempt)
