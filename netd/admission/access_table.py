"""Access rules as a table: compiled once, by the process that loads a config, and read in place by all processes.

A table is octets: for each family the intervals of addresses, in order, with the rule that decides in each. So a lookup
is a bisection, and needs no object for each rule. Rules are numbered from 1, those that deny first, so that the number
shows whether a peer is allowed; 0 means that no rule matches. Certificate rules have no number. Numbers are in the byte
order of this host: a table does not leave it.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import NamedTuple

from netd.addresses import Network
from netd.admission.access import AccessRules, Hours
from netd.admission.addresses import ANY, LOCAL, intervals
from netd.admission.certificates import CertificateRules

_MAGIC = b"netd-acl"
_HIGHEST = 2**32 - 1  # the largest number of a user or group on Linux


class _Header(NamedTuple):
    magic: bytes
    denied: int
    """How many rules deny."""
    allowed: int
    """How many rules allow."""
    times: int
    ipv4: int
    ipv6: int
    """How many intervals."""
    users: int
    groups: int
    asks_groups: int
    """Whether a rule matches groups of UNIX peers."""
    unix: int
    """The rule that matches all UNIX peers: the first on `local`, else the first on `any`; 0: none."""
    certificates: int
    """How many certificate rules."""
    octets: int
    """The length of the texts."""


_HEADER = Struct("=8s11I4x")  # a multiple of eight octets


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether the rules allow a peer, and which rule decided."""

    allowed: bool
    why: str


def compile_rules(rules: AccessRules) -> bytes:
    """Compile rules into a table. Equal rules have equal tables."""
    allowed = [entry for entry in rules.allow if not entry.certificate]
    ruled = (*rules.deny, *allowed)
    networks: dict[Network, int] = {}
    users: dict[int, int] = {}
    groups: dict[int, int] = {}
    local = everybody = 0
    texts = []
    for number, entry in enumerate(ruled, 1):
        # Of several rules on one network, user or group the first one counts.
        for network in entry.networks:
            networks.setdefault(network, number)
        if entry.networks == LOCAL:
            local = local or number
        elif entry.networks == ANY:
            everybody = everybody or number
        text = entry.text
        if entry.kind:
            text += f"\0{entry.kind}:{entry.account}"
            if entry.account.isdigit() and int(entry.account) <= _HIGHEST:
                (users if entry.kind == "uid" else groups).setdefault(int(entry.account), number)
        texts.append(text.encode())
    texts += [hours.text.encode() for hours in rules.times]
    texts += [entry.text.encode() for entry in rules.allow if entry.certificate]
    starts4, numbers4 = intervals(32, networks, 0)
    starts6, numbers6 = intervals(128, networks, 0)
    header = _Header(
        _MAGIC,
        denied=len(rules.deny),
        allowed=len(allowed),
        times=len(rules.times),
        ipv4=len(starts4),
        ipv6=len(starts6),
        users=len(users),
        groups=len(groups),
        asks_groups=rules.asks_groups,
        # UNIX peers are local, which is more specific than any.
        unix=local or everybody,
        certificates=len(rules.allow) - len(allowed),
        octets=sum(map(len, texts)),
    )
    pairs = [numbers for accounts in (users, groups) for numbers in zip(*sorted(accounts.items()), strict=True)]
    highs, lows = [start >> 64 for start in starts6], [start & 2**64 - 1 for start in starts6]
    columns = [numbers6, starts4, numbers4, *pairs, accumulate(map(len, texts))]
    return b"".join(
        [
            _HEADER.pack(*header),
            *(array("Q", column).tobytes() for column in (highs, lows)),
            *(array("I", column).tobytes() for column in columns),
            *texts,
        ]
    )


class Access:
    """Looks up peers in a ``table`` that `compile_rules` made, and that must not change. ValueError: other octets.

    The constructor does not read the whole table: it may be long, and each worker makes one of these for each service.
    """

    def __init__(self, table: bytes | memoryview) -> None:
        self._table = memoryview(table)
        if len(table) < _HEADER.size:
            raise _foreign()
        header = self._header = _Header._make(_HEADER.unpack_from(table))
        rules = header.denied + header.allowed
        if header.magic != _MAGIC or not header.ipv4 or not header.ipv6 or header.unix > rules:
            raise _foreign()
        columns = []
        at = _HEADER.size
        for size, number in (
            *((8, header.ipv6), (8, header.ipv6), (4, header.ipv6), (4, header.ipv4), (4, header.ipv4)),
            *((4, header.users), (4, header.users), (4, header.groups), (4, header.groups)),
            (4, rules + header.times + header.certificates),
        ):
            columns.append(self._table[at : at + size * number])
            at += size * number
        if at + header.octets != len(table):
            raise _foreign()
        # The halves of IPv6 addresses are in two columns of 64-bit numbers, in which bisect makes no large integers.
        self._highs, self._lows = (column.cast("Q") for column in columns[:2])
        self._numbers6, self._starts4, self._numbers4, *accounts, self._ends = (one.cast("I") for one in columns[2:])
        self._users, self._groups = accounts[:2], accounts[2:]
        self._texts = self._table[at:]
        if self._starts4[0] or self._highs[0] or self._lows[0]:
            raise _foreign()
        self._denied = header.denied
        self._rest = not header.allowed
        self._last_time = rules + header.times
        self.open = not rules
        """Whether all addresses are allowed, since there are no rules."""
        self.groups_matter = bool(header.asks_groups)
        """Whether the groups of UNIX peers have to be looked up."""
        self.times = tuple(Hours.parse(self._text(number + 1)) for number in range(rules, self._last_time))
        self.certificates = CertificateRules(map(self._text, range(self._last_time + 1, len(self._ends) + 1)))
        """The second condition, for peers with TLS."""
        self._minute = -1
        self._in_time = True

    @classmethod
    def of(cls, rules: AccessRules) -> "Access":
        """Compile the rules, and read their table."""
        return cls(compile_rules(rules))

    def allows(self, address: bytes) -> bool:
        """Whether a peer with this address (4 or 16 octets) is allowed."""
        number = self._find(address)
        return number > self._denied if number else self._rest

    def ruling(self, address: bytes) -> Ruling:
        """The same, with the reason."""
        return self._ruling(self._find(address))

    def starts(self, octets: int) -> Iterable[int]:
        """Where addresses of this length (4 or 16 octets) begin to have another rule, from 0 on, as numbers."""
        if octets == 4:
            return self._starts4
        return (high << 64 | low for high, low in zip(self._highs, self._lows, strict=True))

    def unix_ruling(self, user: int | None, groups: Sequence[int]) -> Ruling:
        """The ruling on a UNIX peer. A user of None: the kernel passed no credentials."""
        if user is not None and (number := _account(self._users, user)):
            return self._ruling(number)
        found = [number for group in groups if (number := _account(self._groups, group))]
        return self._ruling(min(found, key=lambda number: number > self._denied, default=self._header.unix))

    def in_time(self, now: float) -> bool:
        """Whether the service is available now (seconds since 1970), by `access.times`."""
        if not self.times:
            return True
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._in_time = minute, any(hours.contain(now) for hours in self.times)
        return self._in_time

    @property
    def rules(self) -> dict[str, list[str]]:
        """The rules by key, as a config has them, but with users and groups by number."""
        texts = [self._text(number).rpartition("\0")[2] for number in range(1, len(self._ends) + 1)]
        rules, last = self._denied + self._header.allowed, self._last_time
        allow = texts[self._denied : rules] + texts[last:]
        return {"allow": allow, "deny": texts[: self._denied], "times": texts[rules:last]}

    def _find(self, address: bytes) -> int:
        """The number of the rule with the longest prefix of this address; 0: none."""
        if len(address) == 4:
            place = bisect_right(self._starts4, int.from_bytes(address))
            return int(self._numbers4[place - 1])
        high = int.from_bytes(address[:8])
        place = bisect_right(self._highs, high)
        if self._highs[place - 1] == high:
            low = int.from_bytes(address[8:])
            place = bisect_right(self._lows, low, bisect_left(self._highs, high, 0, place), place)
        return int(self._numbers6[place - 1])

    def _ruling(self, number: int) -> Ruling:
        if not number:
            return Ruling(self._rest, "no rule matches" if self._rest else "not listed in access.allow")
        allowed = number > self._denied
        return Ruling(allowed, f"access.{'allow' if allowed else 'deny'}: {self._text(number).partition(chr(0))[0]}")

    def _text(self, number: int) -> str:
        if number > len(self._ends):
            raise _foreign()
        return self._texts[self._ends[number - 2] if number > 1 else 0 : self._ends[number - 1]].tobytes().decode()


def _account(accounts: Sequence[memoryview], account: int) -> int:
    """The number of the rule on a user or group; 0: none."""
    numbers, rules = accounts
    place = bisect_left(numbers, account)
    return int(rules[place]) if place < len(numbers) and numbers[place] == account else 0


def _foreign() -> ValueError:
    return ValueError("not a table of access rules")
