"""Bans: all services refuse a source for a while that one service has refused too often; longer each time.

A sensor bans each source that connects to it (`sensor.py`). Only connections count, never datagrams: their source can
be forged, and an attacker could have another host banned.
"""

from dataclasses import dataclass
from heapq import nsmallest

from pydantic import model_validator

from netd.admission.addresses import LOCAL, Named, NetworkOption, Prefixes, first_address, source_of
from netd.values import Duration, Model, Rate, RateOrOff

MOST = 4096
"""The largest number of bans."""
ROOM = 64
"""The bans that end for a further one: those that end first. So many at once, since a search for each would take time
in a flood."""


class BanRules(Model):
    """When all services refuse a source, and for how long."""

    threshold: RateOrOff = Rate(100, "m", 100)
    """A source is banned if its connections are refused for access, certificate, per_source or rate more often than
    this; off: only `netd ban add` bans. A client that retries without end does so once a second at most; a scanner or a
    flood exceeds this within seconds."""
    duration: Duration = 60.0
    """How long the first ban lasts; each further one lasts twice as long. A minute ends a flood, and a wrong ban does
    little harm."""
    max_duration: Duration = 3600.0
    """The longest ban; also the time without a ban after which one doubling is undone."""
    exempt: tuple[NetworkOption, ...] = (Named("local", LOCAL),)
    """Sources that are never banned, also not by `netd ban add`, and are served even if their IPv6 /64 is banned:
    networks, addresses, `local` or `any`."""

    @model_validator(mode="after")
    def _check(self) -> "BanRules":
        if self.duration > self.max_duration:
            raise ValueError("duration is longer than max_duration")
        if self.threshold and self.threshold.only == "udp":
            raise ValueError("threshold: only connections count, so it cannot be for udp")
        return self


@dataclass(slots=True)
class Ban:
    """The last ban of a source."""

    until: float
    """When it ends (seconds, monotonic)."""
    times: int
    """How many bans in a row it counts as, for the next one's duration."""
    why: str


class Bans:
    """The banned sources. ``now`` is in seconds of a monotonic clock."""

    def __init__(self, rules: BanRules) -> None:
        self._bans: dict[bytes, Ban] = {}
        self.apply(rules)

    def apply(self, rules: BanRules) -> None:
        """Apply new rules. Bans stay, but those of sources that are exempt now end."""
        self.rules = rules
        self._exempt = exemption(rules.exempt)
        for source in [source for source in self._bans if self._is_exempt(source)]:
            del self._bans[source]

    def record_offence(self, source: bytes, why: str, now: float) -> float | None:
        """Ban a source that was refused too often. Return for how many seconds; None: it is exempt or banned."""
        if self._is_exempt(source) or self.until(source, now) is not None:
            return None
        times = 0
        if ban := self._bans.get(source):
            times = max(0, ban.times - int((now - ban.until) // self.rules.max_duration))
        seconds: float = min(self.rules.duration * 2.0 ** min(times, 40), self.rules.max_duration)
        self._store(source, Ban(now + seconds, times + 1, why), now)
        return seconds

    def add(self, address: bytes, seconds: float, why: str, now: float) -> None:
        """Ban the source of an address (4 or 16 octets), for the operator or a sensor; ValueError if it is exempt."""
        source = source_of(address)
        if self._is_exempt(source) or self._exempt.find(address) is not None:
            raise ValueError("listed in bans.exempt")
        before = self._bans.get(source)
        self._store(source, Ban(now + seconds, before.times if before else 0, why), now)

    def remove(self, source: bytes, now: float) -> bool:
        """Lift a ban, and forget the earlier ones. Return whether the source was banned."""
        ban = self._bans.pop(source, None)
        return ban is not None and ban.until > now

    def until(self, source: bytes, now: float) -> float | None:
        """The time at which the ban of a source ends; None if it is not banned."""
        ban = self._bans.get(source)
        return ban.until if ban and ban.until > now else None

    def active(self, now: float) -> dict[bytes, Ban]:
        """The bans in force by source, in the order in which they end."""
        bans = [(source, ban) for source, ban in self._bans.items() if ban.until > now]
        return dict(sorted(bans, key=lambda item: item[1].until))

    def _is_exempt(self, source: bytes) -> bool:
        # The source ::/64 has one address that a peer can have, the loopback ::1.
        return self._exempt.find(first_address(source)) is not None or (
            source == bytes(8) and self._exempt.find(bytes(15) + b"\1") is not None
        )

    def _store(self, source: bytes, ban: Ban, now: float) -> None:
        self._bans.pop(source, None)
        if len(self._bans) >= MOST:
            longest = self.rules.max_duration
            for other in [other for other, old in self._bans.items() if old.until + old.times * longest <= now]:
                del self._bans[other]
            if len(self._bans) >= MOST:
                for other in nsmallest(ROOM, self._bans, key=lambda other: self._bans[other].until):
                    del self._bans[other]
        self._bans[source] = ban


def exemption(named: tuple[Named, ...]) -> Prefixes[str]:
    """The exempt networks as prefixes. Their value is the network's text in the config."""
    return Prefixes((network, one.text) for one in named for network in one.networks)
