"""Access rules: which peers a service serves, and when.

The rule with the longest prefix decides; of two with the same prefix, the one that denies. Where `allow` has entries,
all other peers are refused. Rules match a UNIX peer by its user and groups; a rule on the user precedes one on a group.

Certificate rules are a second condition, apart from these: a peer needs one of them too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema, WrapValidator

from netd.addresses import Network
from netd.admission.addresses import parse_networks
from netd.admission.certificates import parse_rule
from netd.notation import Notation
from netd.text import shown
from netd.values import Model, parse_zone

_ACCOUNT = re.compile(r"(uid|gid):([A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?)", re.ASCII)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_RANGE = rf"(?:{'|'.join(_DAYS)})(?:-(?:{'|'.join(_DAYS)}))?"
_HOURS = re.compile(rf"(?:({_DAY_RANGE}(?:,{_DAY_RANGE})*) +)?(\d\d):(\d\d)-(\d\d):(\d\d)(?: +(\S+))?", re.ASCII)


class Entry(NamedTuple):
    """The peers that a rule matches: those of some networks, a user or group of this host on a UNIX socket, or those
    with a certificate.
    """

    text: str
    """As the operator wrote it."""
    networks: tuple[Network, ...] = ()
    kind: str = ""
    """``uid`` or ``gid``; empty for networks."""
    account: str = ""
    """The name or number of a user or group."""
    certificate: str = ""
    """A certificate rule, as `parse_rule` returns it."""

    @classmethod
    def parse(cls, text: object) -> "Entry":
        """Parse ``10.0.0.0/8``, ``192.0.2.7``, ``any``, ``local``, ``uid:NAME`` or ``gid:NAME``; else ValueError."""
        if isinstance(text, str) and (match := _ACCOUNT.fullmatch(text)):
            return cls(text, kind=match[1], account=match[2])
        try:
            return cls(str(text), parse_networks(text))
        except ValueError as error:
            if parse_rule(text):
                raise ValueError(f"certificate rules are for access.allow, got {shown(text)}") from None
            raise ValueError(str(error).replace("local or any", "local, any, uid:NAME or gid:NAME")) from None

    @classmethod
    def parse_allowed(cls, text: object) -> "Entry":
        """The same for `allow`, where ``cn:NAME`` and other certificate rules are possible too; else ValueError."""
        if certificate := parse_rule(text):
            return cls(str(text), certificate=certificate)
        return cls.parse(text)

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
_ENTRY = PlainSerializer(
    lambda entry: f"{entry.kind}:{entry.account}" if entry.kind else entry.text, return_type=str, when_used="json"
)
_STRING = WithJsonSchema({"type": "string"})
_PEER_RULE = Notation(
    "peer rule",
    "A network, or for UNIX peers `uid:NAME` or `gid:NAME`: a user or group of this host, by name or number.",
)
_PEER_OR_CERTIFICATE_RULE = Notation(
    "peer or certificate rule",
    "A peer rule, or for clients with certificates `cn:NAME`, `san:dns:NAME`, `san:uri:URI` or `sha256:DIGITS`.",
)
EntryOption = Annotated[InstanceOf[Entry], BeforeValidator(Entry.parse), _ENTRY, _STRING, _PEER_RULE]
AllowedOption = Annotated[
    InstanceOf[Entry], BeforeValidator(Entry.parse_allowed), _ENTRY, _STRING, _PEER_OR_CERTIFICATE_RULE
]
HoursOption = Annotated[
    InstanceOf[Hours],
    BeforeValidator(Hours.parse),
    _TEXT,
    WithJsonSchema({"type": "string", "pattern": f"^{_HOURS.pattern}$"}),
    Notation(
        "time of the week",
        "`[DAYS ]HH:MM-HH:MM[ ZONE]`, as in `Mon-Fri 08:00-18:00 Europe/Berlin` or `Sat,Sun 22:00-06:00`: days of "
        "`Mon` to `Sun`, hours to `24:00`, and a time zone.",
    ),
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
AllowedEntries = Annotated[tuple[AllowedOption, ...], _all_at_once(Entry.parse_allowed)]
Times = Annotated[tuple[HoursOption, ...], _all_at_once(Hours.parse)]


class AccessRules(Model):
    """The peers that a service serves, and when. ``defaults.access`` gives the values that are not set here."""

    allow: AllowedEntries = ()
    """Peers that are served: networks, single addresses, `any`, `local` (loopback and UNIX peers), and for UNIX peers
    `uid:NAME` and `gid:NAME` (names or numbers). Without one of these: all peers that are not denied; else only these.
    Certificate rules, where clients have certificates (`tls.client`), are a second condition: `cn:*.ops.example` (the
    common name), `san:dns:NAME`, `san:uri:URI` (alternative names) and `sha256:DIGITS` (of the certificate in DER). A
    peer needs an allowed address and a certificate that one of them matches. In `cn` and `san:dns`, where letters of
    ASCII have no case, `*` stands for one whole label."""
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
