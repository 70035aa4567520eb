"""Bans: a source that keeps being refused is refused everywhere for a while, longer each time.

Only connections count, never datagrams, whose source anybody can forge: else a stranger could have somebody else
banned.
"""

from dataclasses import dataclass

from pydantic import model_validator

from netd.admission.addresses import LOCAL, Named, NetworkOption, Prefixes, source_of
from netd.values import Duration, Model, Rate, RateOrOff

MOST = 4096
"""Bans that are remembered at most; above that, the one that ends first is given up."""


class BanRules(Model):
    """When a source is banned from all services."""

    threshold: RateOrOff = Rate(100, "m", 100)
    """A source whose connections are refused by its own fault (access, per_source, rate) more often than this is
    banned; off: only `netd ban add` bans. A client that does not know it is unwanted tries once a second at most, a
    scanner or a flood is through this in a blink."""
    duration: Duration = 60.0
    """How long the first time; twice as long each time again. A minute ends a flood and hardly hurts by mistake."""
    max_duration: Duration = 3600.0
    """How long at most; also the time after which one doubling is forgotten."""
    exempt: tuple[NetworkOption, ...] = (Named("local", LOCAL),)
    """Who is never banned, also not by hand, and is served where its IPv6 /64 is: networks, addresses, `local` or
    `any`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "BanRules":
        if self.duration > self.max_duration:
            raise ValueError("duration is longer than max_duration")
        if self.threshold and self.threshold.only == "udp":
            raise ValueError("threshold: only connections count, so it cannot be for udp")
        return self


@dataclass(slots=True)
class Ban:
    """What is remembered of one source."""

    until: float
    """When it ends (seconds, steady)."""
    times: int
    """How many times in a row, as far as they are not forgotten."""
    why: str


class Bans:
    """Who is banned. It is told the time (seconds, steady)."""

    def __init__(self, rules: BanRules) -> None:
        self._bans: dict[bytes, Ban] = {}
        self.adopt(rules)

    def adopt(self, rules: BanRules) -> None:
        """These are the rules from now on; bans that are under way stay, but those of who is exempt now."""
        self.rules = rules
        self._exempt = exemption(rules.exempt)
        for source in [source for source in self._bans if self._spared(source)]:
            del self._bans[source]

    def offend(self, source: bytes, why: str, now: float) -> float | None:
        """A source was refused too often: for how many seconds it is banned now; None if it is exempt, or banned."""
        if self._spared(source) or self.until(source, now) is not None:
            return None
        times = 0
        if ban := self._bans.get(source):
            times = max(0, ban.times - int((now - ban.until) // self.rules.max_duration))
        seconds: float = min(self.rules.duration * 2.0 ** min(times, 40), self.rules.max_duration)
        self._put(source, Ban(now + seconds, times + 1, why), now)
        return seconds

    def add(self, address: bytes, seconds: float, why: str, now: float) -> None:
        """Ban the source of an address (4 or 16 octets) by hand; ValueError where it is exempt."""
        source = source_of(address)
        if self._spared(source) or self._exempt.find(address) is not None:
            raise ValueError("bans.exempt lists it")
        before = self._bans.get(source)
        self._put(source, Ban(now + seconds, before.times if before else 0, why), now)

    def remove(self, source: bytes, now: float) -> bool:
        """Lift a ban, and forget the ones before; whether there was one."""
        ban = self._bans.pop(source, None)
        return ban is not None and ban.until > now

    def until(self, source: bytes, now: float) -> float | None:
        """When the ban of a source ends; None if it is not banned."""
        ban = self._bans.get(source)
        return ban.until if ban and ban.until > now else None

    def active(self, now: float) -> dict[bytes, Ban]:
        """Who is banned now, by source; who is out last comes last."""
        bans = [(source, ban) for source, ban in self._bans.items() if ban.until > now]
        return dict(sorted(bans, key=lambda item: item[1].until))

    def _spared(self, source: bytes) -> bool:
        address = source if len(source) == 4 else source + bytes(8)
        # The loopback of IPv6 is one address of a /64 that holds no other.
        return self._exempt.find(address) is not None or (
            source == bytes(8) and self._exempt.find(bytes(15) + b"\1") is not None
        )

    def _put(self, source: bytes, ban: Ban, now: float) -> None:
        self._bans.pop(source, None)
        if len(self._bans) >= MOST:
            longest = self.rules.max_duration
            for other in [other for other, old in self._bans.items() if old.until + old.times * longest <= now]:
                del self._bans[other]
            if len(self._bans) >= MOST:
                del self._bans[min(self._bans, key=lambda other: self._bans[other].until)]
        self._bans[source] = ban


def exemption(named: tuple[Named, ...]) -> Prefixes[str]:
    """Finds the name under which an address is exempt."""
    return Prefixes((network, one.text) for one in named for network in one.networks)
