"""Admission to one service: every question a transport has about a peer, answered in the same order for all of them.

Pure: it is told addresses, numbers and the time. What it counts stands in shared memory, so it counts across workers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, NewType

from netd.admission.access_table import Access
from netd.admission.addresses import source_of
from netd.admission.bans import exemption
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.admission.reply_guard import ReplyGuard
from netd.reasons import Drop, Refusal
from netd.shared.rates import taken
from netd.shared.sources import Sources
from netd.shared.table import CELL, Table
from netd.values import Rate

_ACTIVE = CELL["active"]

Ticket = NewType("Ticket", bytes)
"""What a connection has taken: a place of the service and one of the daemon, and one of the source that it names, if it
names any. It is to be given back once (`AdmissionControl.release`)."""
_UNCOUNTED = Ticket(b"")


class Verdict(NamedTuple):
    """On the datagrams of one peer, good for a second."""

    drop: Drop | None
    """Why they are dropped, if they are."""
    key: bytes | None = None
    """What they have to spend a token of (`AdmissionControl.take_token`); None: nothing."""
    amplify: bool = True
    """Whether answers may be longer than questions."""


class Check(NamedTuple):
    """One thing that admission looks at, and what it finds."""

    name: str
    """The rule or limit, as the config calls it, or ``bans``."""
    passes: bool
    why: str


class AdmissionControl:
    """Who may come in to one service, as one process decides. ``wall`` gives seconds since 1970."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        access: Access,
        table: Table,
        shared: DaemonAdmission,
        wall: Callable[[], float],
    ) -> None:
        self.policy = policy
        self.access = access
        """May be exchanged for an equal one at any time: what it reads from lies in memory that is given up."""
        self.guard = ReplyGuard(policy)
        """A transport asks it about each answer to a datagram; `check_datagram` asks it about questions."""
        self._name = name
        self._table = table
        self._shared = shared
        self._wall = wall
        self._exempt = exemption(policy.limits.exempt)
        # The rate is a part of the key, so that a new one starts with full buckets.
        self._connection_key = f"{name} {policy.limits.rate} tcp ".encode()
        self._datagram_key = f"{name} {policy.limits.rate} udp ".encode()
        self._cells = table.column(shared.worker)
        self._all_active = table.all(_ACTIVE)
        self._sources = Sources(table.sources, shared.worker)
        limits = policy.limits
        self._connection_rate = _rate_for("tcp", limits.rate)
        self._datagram_rate = _rate_for("udp", limits.rate)
        self._total_connection_rate = _rate_for("tcp", limits.total_rate)
        self._total_datagram_rate = _rate_for("udp", limits.total_rate)

    @property
    def groups_matter(self) -> bool:
        """Whether a UNIX peer's groups have to be known."""
        return self.access.groups_matter

    # Connections.

    def admit_socket(self) -> Ticket | Refusal:
        """Let a connection in of which the peer is not known yet, or say why not: it has its places, and `admit` comes.

        Nothing is asked about the other end of the socket, nor does it count as a source.
        """
        return self._reserve() or _UNCOUNTED

    def admit(
        self, address: bytes, now: float, busy: Refusal | None = None, *, placed: bool = False
    ) -> Ticket | Refusal:
        """Let a connection from this address (4 or 16 octets) in, or say why not.

        ``busy`` is why the transport has no means for another one, if so. One that is ``placed`` has the ticket of
        `admit_socket`, which this one takes the place of; if it is refused, that one is still to be given back.
        """
        source = source_of(address)
        if refusal := self._refusal(address, source, now, busy) or (None if placed else self._reserve()):
            return refusal
        ticket = self._count(address, source, now)
        if isinstance(ticket, str) and not placed:
            self._give_back()
        return ticket

    def admit_unix(
        self, user: int | None, groups: Sequence[int], now: float, busy: Refusal | None = None, *, placed: bool = False
    ) -> Ticket | Refusal:
        """The same of a connection from this user, with these groups."""
        if not self.access.unix_ruling(user, groups).allowed:
            return "access"
        if not self.access.in_time(self._wall()):
            return "times"
        if refusal := busy or (None if placed else self._reserve()):
            return refusal
        if not self._take_total(self._total_connection_rate, now):
            if not placed:
                self._give_back()
            return "total_rate"
        return _UNCOUNTED

    def release(self, ticket: Ticket) -> None:
        """A connection that was admitted is over. A ticket is given back once."""
        self._give_back()
        if ticket:
            self._sources.leave(ticket)

    def _refusal(self, address: bytes, source: bytes, now: float, busy: Refusal | None) -> Refusal | None:
        """What speaks against a peer before it takes a place."""
        if self._banned(address, source, now):
            return "banned"
        if not self.access.open and not self.access.allows(address):
            return self._offence(source, address, "access", now)
        if not self.access.in_time(self._wall()):
            return "times"
        if busy:
            return busy
        rate, rates = self._connection_rate, self._shared.daemon_limits.rates
        # The rate comes before all that would have to be undone: a flood is to cost little.
        if rate and self._is_counted(address) and not rates.take(self._connection_key + source, rate, now):
            return self._offence(source, address, "rate", now)
        return None

    def _count(self, address: bytes, source: bytes, now: float) -> Ticket | Refusal:
        """Take what a connection that has its places takes besides."""
        limit = self.policy.limits.per_source
        ticket = _UNCOUNTED
        if limit is not None and self._is_counted(address):
            if not self._sources.enter(source, limit, self._table.workers):
                return self._offence(source, address, "per_source", now)
            ticket = Ticket(source)
        if not self._take_total(self._total_connection_rate, now):
            if ticket:
                self._sources.leave(ticket)
            return "total_rate"
        return ticket

    def _is_counted(self, address: bytes) -> bool:
        return self._exempt.find(address) is None

    def _reserve(self) -> Refusal | None:
        """Take a place; or say which limit there is none of.

        The place is taken before the others are counted, so that two workers never take the last one both; at worst
        both let it be.
        """
        limit, limit_of_all = self.policy.limits.connections, self._shared.connections
        workers, active = self._table.workers, self._shared.daemon_limits.active
        self._cells[_ACTIVE] += 1
        active[self._shared.worker] += 1
        refusal: Refusal | None = None
        if limit is not None and sum(self._all_active[:workers]) > limit:
            refusal = "connections"
        elif limit_of_all is not None and sum(active[:workers]) > limit_of_all:
            refusal = "daemon_connections"
        if refusal:
            self._give_back()
        return refusal

    def _give_back(self) -> None:
        self._cells[_ACTIVE] -= 1
        self._shared.daemon_limits.active[self._shared.worker] -= 1

    def _offence(self, source: bytes, address: bytes, refusal: Refusal, now: float) -> Refusal:
        """The source's own fault. One that goes on with it is reported."""
        shared = self._shared
        rate = shared.bans.threshold
        if (
            rate
            and shared.exempt.find(address) is None
            and not shared.daemon_limits.rates.take(b"!" + source, rate, now)
        ):
            shared.report(source, self._name, refusal)
        return refusal

    # Datagrams.

    def check_datagram(self, address: bytes, port: int, now: float, *, non_unicast: bool) -> Verdict:
        """What becomes of datagrams from this address and port; ``non_unicast``: sent to broadcast or multicast."""
        if drop := self._drops(address, port, now, non_unicast=non_unicast):
            return Verdict(drop)
        exempt = self._datagram_rate is None or self._exempt.find(address) is not None
        key = self._key(None if exempt else source_of(address))
        return Verdict(None, key, self.guard.amplifies(address))

    def _drops(self, address: bytes, port: int, now: float, *, non_unicast: bool) -> Drop | None:
        if minds := self.guard.check_question(address, port, self._shared.ports, non_unicast=non_unicast):
            return minds
        if self._banned(address, source_of(address), now):
            return "banned"
        if not self.access.open and not self.access.allows(address):
            return "access"
        return None if self.access.in_time(self._wall()) else "times"

    def check_unix_datagram(self, user: int | None, path: str | bytes) -> Verdict:
        """What becomes of datagrams from this user, whose groups the kernel does not tell, so no rule asks for any.

        ``path`` is the sender's: one of this netd's own would answer the answer.
        """
        if path in self._shared.paths:
            return Verdict("source_path")
        if not self.access.unix_ruling(user, ()).allowed:
            return Verdict("access")
        if not self.access.in_time(self._wall()):
            return Verdict("times")
        return Verdict(None, self._key(None))

    def _key(self, source: bytes | None) -> bytes | None:
        """What datagrams of a source spend, where it has a rate; of the empty key, they spend of the total alone."""
        if source is not None:
            return self._datagram_key + source
        return b"" if self._total_datagram_rate else None

    def take_token(self, key: bytes, now: float) -> Drop | None:
        """Take the tokens for one datagram; or say which rate it is over."""
        rate = self._datagram_rate
        if key and rate and not self._shared.daemon_limits.rates.take(key, rate, now):
            return "rate"
        return None if self._take_total(self._total_datagram_rate, now) else "total_rate"

    # Why.

    def explain(self, address: bytes, port: int, now: float, *, datagram: bool) -> Iterator[Check]:
        """What `admit`, or `check_datagram` and `take_token`, would find of a peer, in their order. Takes nothing."""
        shared = self._shared
        source = source_of(address)
        if datagram:
            yield Check("reply_guard", *self.guard.explain_question(address, port, shared.ports))
        banned = self._banned(address, source, now)
        left = shared.banned.get(source, now) - now
        yield Check("bans", not banned, f"banned for another {left:.0f} s" if banned else "not banned")
        ruling = self.access.ruling(address)
        yield Check("access", ruling.allowed, ruling.why)
        yield from self._explain_rest(source, now, self._exempt.find(address), datagram=datagram)
        if datagram:
            yield Check("amplify", passes=True, why=self.guard.explain_answer(address))

    def explain_unix(self, user: int, groups: Sequence[int], now: float, *, datagram: bool) -> Iterator[Check]:
        """The same of a UNIX peer."""
        ruling = self.access.unix_ruling(user, groups)
        yield Check("access", ruling.allowed, ruling.why)
        yield from self._explain_rest(None, now, "UNIX", datagram=datagram)

    def _explain_rest(self, source: bytes | None, now: float, exempt: str | None, *, datagram: bool) -> Iterator[Check]:
        shared, limits = self._shared, self.policy.limits
        in_time = self.access.in_time(self._wall())
        times = ", ".join(hours.text for hours in self.access.times) or "always"
        yield Check("access.times", in_time, times)
        rate = self._datagram_rate if datagram else self._connection_rate
        if exempt or source is None:
            yield Check("limits.exempt", passes=True, why=f"{exempt}: neither rate nor per_source")
        else:
            key = (self._datagram_key if datagram else self._connection_key) + source
            yield _tokens("limits.rate", rate, shared.daemon_limits.rates.left(key, rate, now) if rate else 0)
        if not datagram:
            yield _room("limits.connections", sum(self._all_active), limits.connections)
            yield _room("daemon.connections", sum(shared.daemon_limits.active), shared.connections)
        if not datagram and not exempt and source is not None:
            yield _room("limits.per_source", self._sources.number(source, self._table.workers), limits.per_source)
        total = self._total_datagram_rate if datagram else self._total_connection_rate
        left = taken(self._table.total_rate[0], int(now * 1e9), total, total.burst)[0] if total else 0
        yield _tokens("limits.total_rate", total, left)

    # Both.

    def _banned(self, address: bytes, source: bytes, now: float) -> bool:
        shared = self._shared
        # An exempt address may be in the network of a banned one.
        return bool(shared.banned) and shared.banned.get(source, 0.0) > now and shared.exempt.find(address) is None

    def _take_total(self, rate: Rate | None, now: float) -> bool:
        if rate is None:
            return True
        bucket = self._table.total_rate
        given, bucket[0] = taken(bucket[0], int(now * 1e9), rate, 1)
        return bool(given)


def _room(name: str, number: int, limit: int | None) -> Check:
    if limit is None:
        return Check(name, passes=True, why="off")
    return Check(name, number < limit, f"{number} of {limit}")


def _tokens(name: str, rate: Rate | None, left: int) -> Check:
    if rate is None:
        return Check(name, passes=True, why="off")
    return Check(name, bool(left), f"{left} of {rate.burst} left, {rate.number}/{rate.unit} come")


def _rate_for(transport: Literal["tcp", "udp"], rate: Rate | None) -> Rate | None:
    return rate if rate and rate.only in (None, transport) else None
