"""Access rules: which peers a service serves, and when.

The rule with the longest prefix decides; of two with the same prefix, the one that denies. Where `allow` has entries,
all other peers are refused. Rules match a UNIX peer by its user and groups; a rule on the user precedes one on a group.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema, WrapValidator

from netd.addresses import Network
from netd.admission.addresses import parse_networks
from netd.text import shown
from netd.values import Model, parse_zone

_ACCOUNT = re.compile(r"(uid|gid):([A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)", re.ASCII)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_RANGE = rf"(?:{'|'.join(_DAYS)})(?:-(?:{'|'.join(_DAYS)}))?"
_HOURS = re.compile(rf"(?:({_DAY_RANGE}(?:,{_DAY_RANGE})*) +)?(\d\d):(\d\d)-(\d\d):(\d\d)(?: +(\S+))?", re.ASCII)


class Entry(NamedTuple):
    """The peers that a rule matches: those of some networks, or a user or group of this host on a UNIX socket."""

    text: str
    """As the operator wrote it."""
    networks: tuple[Network, ...] = ()
    kind: str = ""
    """``uid`` or ``gid``; empty for networks."""
    account: str = ""
    """The name or number of a user or group."""

    @classmethod
    def parse(cls, text: object) -> "Entry":
        """Parse ``10.0.0.0/8``, ``192.0.2.7``, ``any``, ``local``, ``uid:NAME`` or ``gid:NAME``; else ValueError."""
        if isinstance(text, str) and (match := _ACCOUNT.fullmatch(text)):
            return cls(text, kind=match[1], account=match[2])
        try:
            return cls(str(text), parse_networks(text))
        except ValueError as error:
            raise ValueError(str(error).replace("local or any", "local, any, uid:NAME or gid:NAME")) from None

    def numbered(self, find: Callable[[str, str], int]) -> "Entry":
        """The same entry with a number for its user or group, from ``find(kind, name)``, which may raise ValueError."""
        if not self.kind or self.account.isdigit():
            return self
        return self._replace(account=str(find(self.kind, self.account)))


@dataclass(frozen=True, slots=True)
class Hours:
    """Times of the week, such as ``Mon-Fri 08:00-18:00 Europe/Berlin``."""

    text: str
    days: frozenset[int]
    """Monday is 0."""
    start: int
    end: int
    """Minutes since midnight. An end that does not come after the start is on the next day."""
    zone: tzinfo | None
    """None: the zone of this host."""

    @classmethod
    def parse(cls, text: object) -> "Hours":
        """Parse ``[DAYS ]HH:MM-HH:MM[ ZONE]``; else ValueError."""
        match = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if match:
            start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
            if start < 1440 and end <= 1440 and int(match[3]) < 60 and int(match[5]) < 60:
                zone = parse_zone(match[6]) if match[6] else None
                return cls(match[0], frozenset(_days(match[1] or "Mon-Sun")), start, end, zone)
        raise ValueError(f"expected times such as 'Mon-Fri 08:00-18:00 Europe/Berlin', got {shown(text)}")

    def contain(self, now: float) -> bool:
        """Whether ``now`` (seconds since 1970) is within these times."""
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

T = TypeVar("T")


def _all_at_once(parse: Callable[[object], T]) -> WrapValidator:
    """Parse a list in one go, three times as fast as item by item; on an error item by item, to find the wrong one."""

    def parse_all(value: object, one_by_one: Callable[[object], tuple[T, ...]]) -> tuple[T, ...]:
        if isinstance(value, list | tuple):
            try:
                return tuple(map(parse, value))
            except ValueError:
                value = tuple(value)
        return one_by_one(value)

    return WrapValidator(parse_all)


Entries = Annotated[tuple[EntryOption, ...], _all_at_once(Entry.parse)]
Times = Annotated[tuple[HoursOption, ...], _all_at_once(Hours.parse)]


class AccessRules(Model):
    """The peers that a service serves, and when. ``defaults.access`` gives the values that are not set here."""

    allow: Entries = ()
    """Peers that are served: networks, single addresses, `any`, `local` (loopback and UNIX peers), and for UNIX peers
    `uid:NAME` and `gid:NAME` (names or numbers). Empty: all peers that are not denied; else only these."""
    deny: Entries = ()
    """Peers that are refused. Of all rules that match a peer the one with the longest prefix decides; `deny` on a
    tie."""
    times: Times = ()
    """When the service is available, as in `Mon-Fri 08:00-18:00 Europe/Berlin`. Days and zone are optional (every day;
    the zone of this host), and a time may extend past midnight. Empty: always. The end of a time closes no live
    connection."""

    @property
    def asks_groups(self) -> bool:
        """Whether a rule matches groups of UNIX peers."""
        return any(entry.kind == "gid" for entry in (*self.allow, *self.deny))


NO_GROUPS = "access has gid rules, which cannot hold for datagrams: use uid rules, or unix://"
"""The error for gid rules on a socket of UNIX datagrams: the kernel passes the sender's user and only one of its groups
(SCM_CREDENTIALS, unix(7))."""
