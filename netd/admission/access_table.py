"""Access rules as a table: made once, by what loads a config, and asked where it lies by any process.

A table is octets that hold the answer to each question, in order, so that to ask takes a bisection and no object for
each rule. Rules are numbered from 1, those that deny first, so that a number alone says whether a peer is allowed; 0
stands for the rest, of which there is no rule. Numbers are in the order of this host's octets: a table does not leave
it.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import NamedTuple

from netd.addresses import Network
from netd.admission.access import AccessRules, Hours
from netd.admission.addresses import ANY, LOCAL, intervals

_MAGIC = b"netd-acl"
_HIGHEST = 2**32 - 1  # of the numbers of users and groups that Linux can have


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
    """Whether a UNIX peer's groups matter."""
    unix: int
    """The rule about UNIX peers by their being local."""
    octets: int
    """Of the texts."""


_HEADER = Struct("=8s10I")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of a peer, and which one says so."""

    allowed: bool
    why: str


def compile_rules(rules: AccessRules) -> bytes:
    """The table of these rules. Equal rules have equal tables."""
    ruled = (*rules.deny, *rules.allow)
    networks: dict[Network, int] = {}
    users: dict[int, int] = {}
    groups: dict[int, int] = {}
    local = everybody = 0
    texts = []
    for number, entry in enumerate(ruled, 1):
        # The first rule on a network, user or group counts.
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
    starts4, numbers4 = intervals(32, networks, 0)
    starts6, numbers6 = intervals(128, networks, 0)
    header = _Header(
        _MAGIC,
        denied=len(rules.deny),
        allowed=len(rules.allow),
        times=len(rules.times),
        ipv4=len(starts4),
        ipv6=len(starts6),
        users=len(users),
        groups=len(groups),
        asks_groups=rules.asks_groups,
        # UNIX peers are local, which is more particular than any.
        unix=local or everybody,
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
    """Answers from a table. ``table`` is what `compile_rules` made, which must not change; ValueError: it is not that.

    A table is not looked through when one of these is made: it may be long, and each worker makes one of each.
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
            (4, rules + header.times),
        ):
            columns.append(self._table[at : at + size * number])
            at += size * number
        if at + header.octets != len(table):
            raise _foreign()
        # Of an IPv6 address, the two halves are each in a column of their own, in which bisect needs no object a step.
        self._highs, self._lows = (column.cast("Q") for column in columns[:2])
        self._numbers6, self._starts4, self._numbers4, *accounts, self._ends = (one.cast("I") for one in columns[2:])
        self._users, self._groups = accounts[:2], accounts[2:]
        self._texts = self._table[at:]
        if self._starts4[0] or self._highs[0] or self._lows[0]:
            raise _foreign()
        self._denied = header.denied
        self._rest = not header.allowed
        self.open = not rules
        """Whether nobody is refused, as far as addresses go."""
        self.groups_matter = bool(header.asks_groups)
        """Whether a UNIX peer's groups have to be known."""
        self.times = tuple(Hours.parse(self._text(rules + number)) for number in range(1, header.times + 1))
        self._minute = -1
        self._in_time = True

    @classmethod
    def of(cls, rules: AccessRules) -> "Access":
        """That of a table for these rules."""
        return cls(compile_rules(rules))

    def allows(self, address: bytes) -> bool:
        """Whether a peer with this address (4 or 16 octets) may come."""
        number = self._find(address)
        return number > self._denied if number else self._rest

    def ruling(self, address: bytes) -> Ruling:
        """The same, and why."""
        return self._ruling(self._find(address))

    def unix_ruling(self, user: int | None, groups: Sequence[int]) -> Ruling:
        """On a UNIX peer; a user of None is one the kernel does not vouch for."""
        if user is not None and (number := _account(self._users, user)):
            return self._ruling(number)
        found = [number for group in groups if (number := _account(self._groups, group))]
        return self._ruling(min(found, key=lambda number: number > self._denied, default=self._header.unix))

    def in_time(self, now: float) -> bool:
        """Whether the service is to be had now (seconds since 1970)."""
        if not self.times:
            return True
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._in_time = minute, any(hours.hold(now) for hours in self.times)
        return self._in_time

    @property
    def rules(self) -> dict[str, list[str]]:
        """The rules by key, as they are written in a file, but with the numbers of users and groups."""
        texts = [self._text(number).rpartition("\0")[2] for number in range(1, len(self._ends) + 1)]
        rules = self._denied + self._header.allowed
        return {"allow": texts[self._denied : rules], "deny": texts[: self._denied], "times": texts[rules:]}

    def _find(self, address: bytes) -> int:
        """The rule with the longest prefix of this address."""
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
            return Ruling(self._rest, "there is no rule about it" if self._rest else "access.allow does not list it")
        allowed = number > self._denied
        return Ruling(allowed, f"access.{'allow' if allowed else 'deny'}: {self._text(number).partition(chr(0))[0]}")

    def _text(self, number: int) -> str:
        if number > len(self._ends):
            raise _foreign()
        return self._texts[self._ends[number - 2] if number > 1 else 0 : self._ends[number - 1]].tobytes().decode()


def _account(accounts: Sequence[memoryview], account: int) -> int:
    """The rule on a user or group; 0 where there is none."""
    numbers, rules = accounts
    place = bisect_left(numbers, account)
    return int(rules[place]) if place < len(numbers) and numbers[place] == account else 0


def _foreign() -> ValueError:
    return ValueError("this is no table of access rules")
