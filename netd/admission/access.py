"""Access rules: who may talk to a service, and when.

The rule with the longest prefix decides, a denial where both are as long. Where anybody is allowed by name, the rest is
refused. A UNIX peer is known by its user and groups instead, of which the user is the more particular.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.admission.addresses import ANY, LOCAL, Network, Prefixes, parse_networks
from netd.settings import Model, shown

_ACCOUNT = re.compile(r"(uid|gid):([A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)", re.ASCII)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_RANGE = rf"(?:{'|'.join(_DAYS)})(?:-(?:{'|'.join(_DAYS)}))?"
_HOURS = re.compile(rf"(?:({_DAY_RANGE}(?:,{_DAY_RANGE})*) +)?(\d\d):(\d\d)-(\d\d):(\d\d)(?: +(\S+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody: the peers of some networks, or a user or group of this host behind a UNIX socket."""

    text: str
    """As the operator wrote it."""
    networks: tuple[Network, ...] = ()
    kind: str = ""
    """``uid`` or ``gid``; empty for networks."""
    account: str = ""
    """The name or number of a user or group."""

    @classmethod
    def parse(cls, text: object) -> "Entry":
        """``10.0.0.0/8``, ``192.0.2.7``, ``any``, ``local``, ``uid:NAME`` or ``gid:NAME``; else ValueError."""
        if isinstance(text, str) and (match := _ACCOUNT.fullmatch(text)):
            return cls(text, kind=match[1], account=match[2])
        try:
            return cls(str(text), parse_networks(text))
        except ValueError as error:
            raise ValueError(str(error).replace("local or any", "local, any, uid:NAME or gid:NAME")) from None

    def numbered(self, find: Callable[[str, str], int]) -> "Entry":
        """The same with a number for a name. ``find`` gives that of a kind and name, or raises ValueError."""
        if not self.kind or self.account.isdigit():
            return self
        return replace(self, account=str(find(self.kind, self.account)))


@dataclass(frozen=True, slots=True)
class Hours:
    """Times of the week, such as ``Mon-Fri 08:00-18:00 Europe/Berlin``."""

    text: str
    days: frozenset[int]
    """Monday is 0."""
    start: int
    end: int
    """Minutes since midnight; where the end does not come after the start, it is that of the next day."""
    zone: tzinfo | None
    """None: that of this host."""

    @classmethod
    def parse(cls, text: object) -> "Hours":
        """``[DAYS ]HH:MM-HH:MM[ ZONE]``; else ValueError."""
        match = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if match:
            start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
            if start < 1440 and end <= 1440 and int(match[3]) < 60 and int(match[5]) < 60:
                zone = _zone(match[6]) if match[6] else None
                return cls(match[0], frozenset(_days(match[1] or "Mon-Sun")), start, end, zone)
        raise ValueError(f"expected times such as 'Mon-Fri 08:00-18:00 Europe/Berlin', got {shown(text)}")

    def hold(self, now: float) -> bool:
        """Whether it is such a time; ``now`` in seconds since 1970."""
        local = datetime.fromtimestamp(now, self.zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or ((today - 1) % 7 in self.days and minute < self.end)


def _days(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        start = _DAYS.index(first)
        found += [(start + day) % 7 for day in range((_DAYS.index(last or first) - start) % 7 + 1)]
    return found


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"unknown time zone {shown(name)}; IANA names are known, such as Europe/Berlin") from None


_TEXT = PlainSerializer(lambda value: value.text, return_type=str, when_used="json")
EntryOption = Annotated[
    InstanceOf[Entry],
    BeforeValidator(Entry.parse),
    PlainSerializer(
        lambda entry: f"{entry.kind}:{entry.account}" if entry.kind else entry.text, return_type=str, when_used="json"
    ),
    WithJsonSchema({"type": "string"}),
]
HoursOption = Annotated[
    InstanceOf[Hours],
    BeforeValidator(Hours.parse),
    _TEXT,
    WithJsonSchema({"type": "string", "pattern": f"^{_HOURS.pattern}$"}),
]


class AccessRules(Model):
    """Who may talk to a service. What is not given comes from ``defaults.access``."""

    allow: tuple[EntryOption, ...] = ()
    """Who may: networks, single addresses, `any`, `local` (loopback and UNIX peers), and for UNIX peers `uid:NAME` and
    `gid:NAME` (names or numbers). Empty: everybody who is not denied; else nobody but these."""
    deny: tuple[EntryOption, ...] = ()
    """Who may not. Of all rules that concern a peer the one with the longest prefix decides; this one on a tie."""
    times: tuple[HoursOption, ...] = ()
    """When, as in `Mon-Fri 08:00-18:00 Europe/Berlin`: days and zone may be missing (every day; the zone of this host),
    and a time may go on past midnight. Empty: always. Live connections go on."""

    @property
    def asks_groups(self) -> bool:
        """Whether a UNIX peer's groups matter."""
        return any(entry.kind == "gid" for entry in (*self.allow, *self.deny))


NO_GROUPS = "access has gid rules, which cannot hold for datagrams: use uid rules, or unix://"
"""Why there may be none where UNIX datagrams come: the kernel tells the user and one group of who sends one."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of a peer, and which one says so."""

    allowed: bool
    why: str


_NO_RULES = Ruling(True, "there is no rule about it")


class Access:
    """The rules of one service, made ready to be asked."""

    def __init__(self, rules: AccessRules) -> None:
        ruled = [(entry, Ruling(False, f"access.deny: {entry.text}")) for entry in rules.deny]
        ruled += [(entry, Ruling(True, f"access.allow: {entry.text}")) for entry in rules.allow]
        self.open = not ruled
        """Whether nobody is refused, as far as addresses go."""
        self._rest = Ruling(False, "access.allow does not list it") if rules.allow else _NO_RULES
        self._prefixes = Prefixes((network, ruling) for entry, ruling in ruled for network in entry.networks)
        self._users = _by_number(ruled, "uid")
        self._groups = _by_number(ruled, "gid")
        # UNIX peers are local, which is more particular than any; among entries as particular the first denies.
        self._unix = next((ruling for entry, ruling in ruled if entry.networks == LOCAL), None) or next(
            (ruling for entry, ruling in ruled if entry.networks == ANY), self._rest
        )
        self.groups_matter = rules.asks_groups
        """Whether a UNIX peer's groups have to be known."""
        self.times = rules.times
        self._minute = -1
        self._in_time = True

    def ruling(self, address: bytes) -> Ruling:
        """On a peer with this address (4 or 16 octets)."""
        return self._prefixes.find(address) or self._rest

    def unix_ruling(self, user: int | None, groups: Sequence[int]) -> Ruling:
        """On a UNIX peer; a user of None is one the kernel does not vouch for."""
        if user is not None and (ruling := self._users.get(user)):
            return ruling
        found = [ruling for group in groups if (ruling := self._groups.get(group))]
        return min(found, key=lambda ruling: ruling.allowed, default=self._unix)

    def in_time(self, now: float) -> bool:
        """Whether the service is to be had now (seconds since 1970)."""
        if not self.times:
            return True
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._in_time = minute, any(hours.hold(now) for hours in self.times)
        return self._in_time


def _by_number(ruled: list[tuple[Entry, Ruling]], kind: str) -> dict[int, Ruling]:
    """The rulings on users or groups; the first one on each counts."""
    found: dict[int, Ruling] = {}
    for entry, ruling in ruled:
        if entry.kind == kind and entry.account.isdigit():
            found.setdefault(int(entry.account), ruling)
    return found
