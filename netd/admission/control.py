"""Admission to one service: decides for all transports, in the same order of checks, whether a peer is served.

Pure: addresses, numbers and the time are arguments. The counts are in shared memory, so limits hold across workers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, NewType

from netd.admission.access_table import Access
from netd.admission.addresses import source_of
from netd.admission.bans import exemption
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.admission.reply_guard import ReplyGuard
from netd.admission.threads import ThreadSlots
from netd.peer import Tls
from netd.reasons import Drop, Refusal
from netd.shared.rates import taken
from netd.shared.sources import Sources
from netd.shared.table import CELL, Table
from netd.values import Rate

_ACTIVE = CELL["active"]

Ticket = NewType("Ticket", bytes)
"""What an admitted connection occupies: a place of `limits.connections` and one of `daemon.connections`, and one of
`limits.per_source` if it names a source. Each ticket is released once (`AdmissionControl.release`)."""
_UNCOUNTED = Ticket(b"")
_SHOWN = 3  # certificate rules that an explanation names
_MOST_KNOWN = 1024  # addresses of which the source is kept


class Verdict(NamedTuple):
    """The decision on the datagrams of one peer, valid for a second."""

    drop: Drop | None
    """Why they are dropped; None: they are taken."""
    key: bytes | None = None
    """The key of the bucket that each takes a token from (`AdmissionControl.take_token`); None: no rate applies."""
    amplify: bool = True
    """Whether an answer may be longer than its question."""


class Check(NamedTuple):
    """The result of one check, for `netd explain`."""

    name: str
    """The config key of the rule or limit, or ``bans``."""
    passes: bool
    why: str


class AdmissionControl:
    """The admission to one service in one process. ``wall`` returns seconds since 1970."""

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
        """A reload replaces it, also by an equal one, since it reads from memory that the reload releases."""
        self.guard = ReplyGuard(policy)
        """`check_datagram` checks questions with it, the transport checks each answer."""
        self._name = name
        self._table = table
        self._shared = shared
        self._wall = wall
        self._exempt = exemption(policy.limits.exempt)
        # By address: its source, and whether its connections are counted by source. In a flood of addresses each
        # occurs once, so no more than `_MOST_KNOWN` are kept.
        self._known: dict[bytes, tuple[bytes, bool]] = {}
        # The rate is a part of the key, so that a changed rate starts with full buckets.
        self._connection_key = f"{name} {policy.limits.rate} tcp ".encode()
        self._datagram_key = f"{name} {policy.limits.rate} udp ".encode()
        self.threads = ThreadSlots(policy.limits.threads, table, shared)
        """The threads of handlers that block."""
        self._worker = shared.worker
        self._active = shared.daemon_limits.active
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
        """Whether the groups of UNIX peers have to be looked up."""
        return self.access.groups_matter

    # Connections.

    def admit_socket(self) -> Ticket | Refusal:
        """Reserve the places of a connection of which the peer is not known yet; `admit` follows with ``placed=True``.

        The other end of the socket is a proxy: it is not checked, and not counted as a source.
        """
        return self._take_places() or _UNCOUNTED

    def admit(
        self, address: bytes, now: float, busy: Refusal | None = None, *, placed: bool = False
    ) -> Ticket | Refusal:
        """Admit a connection from this address (4 or 16 octets), or return why it is refused.

        ``busy`` is the reason why the transport cannot serve another one, if so. A ``placed`` connection has the ticket
        of `admit_socket`, which the new ticket replaces; if it is refused, the old ticket is still to be released.
        """
        source, is_counted = self._known.get(address) or self._look_up(address)
        refusal = self._refusal_reason(address, source, now, busy, is_counted=is_counted)
        if refusal or (not placed and (refusal := self._take_places())):
            return refusal
        if not is_counted and self._total_connection_rate is None:
            return _UNCOUNTED
        ticket = self._count_source(address, source, now, is_counted=is_counted)
        if isinstance(ticket, str) and not placed:
            self._return_places()
        return ticket

    def admit_unix(
        self, user: int | None, groups: Sequence[int], now: float, busy: Refusal | None = None, *, placed: bool = False
    ) -> Ticket | Refusal:
        """The same for a connection from a UNIX peer with this user and groups."""
        if not self.access.unix_ruling(user, groups).allowed:
            return "access"
        if closed := self._closed(now):
            return closed
        if refusal := busy or (None if placed else self._take_places()):
            return refusal
        if not self._take_total_token(self._total_connection_rate, now):
            if not placed:
                self._return_places()
            return "total_rate"
        return _UNCOUNTED

    def check_certificate(self, tls: Tls | None, address: bytes | None, now: float) -> Refusal | None:
        """Why an admitted peer is refused after its TLS handshake; None: it is not.

        ``address`` has 4 or 16 octets; None: it is that of a UNIX peer.
        """
        if self.access.certificates.allow(tls):
            return None
        proxies = self.policy.proxy_protocol
        if address is None or (proxies and proxies.lists(address)):  # a proxy brings the peers of others
            return "certificate"
        return self._record_offence(source_of(address), address, "certificate", now)

    def release(self, ticket: Ticket) -> None:
        """Release what a closed connection occupied."""
        self._return_places()
        if ticket:
            self._sources.remove(ticket)

    def _look_up(self, address: bytes) -> tuple[bytes, bool]:
        """The source of an address, and whether its connections are counted: from now on they are known."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = self._known[address] = source_of(address), self._is_counted(address)
        return found

    def _refusal_reason(
        self, address: bytes, source: bytes, now: float, busy: Refusal | None, *, is_counted: bool
    ) -> Refusal | None:
        """Why a peer is refused before its connection takes a place; None: it is not."""
        access = self.access
        if self._shared.banned and self._banned(address, source, now):
            return "banned"
        if not access.open and not access.allows(address):
            return self._record_offence(source, address, "access", now)
        if (access.times or self.policy.load) and (closed := self._closed(now)):
            return closed
        if busy:
            return busy
        rate = self._connection_rate
        # The rate is checked before anything that has to be undone, so that a flood costs little.
        if rate and is_counted and not self._shared.daemon_limits.rates.take(self._connection_key + source, rate, now):
            return self._record_offence(source, address, "rate", now)
        return None

    def _count_source(self, address: bytes, source: bytes, now: float, *, is_counted: bool) -> Ticket | Refusal:
        """Take the place of the source and the token of total_rate, for a connection that has its other places."""
        limit = self.policy.limits.per_source
        ticket = _UNCOUNTED
        if limit is not None and is_counted:
            if not self._sources.add(source, limit, self._table.workers):
                return self._record_offence(source, address, "per_source", now)
            ticket = Ticket(source)
        if not self._take_total_token(self._total_connection_rate, now):
            if ticket:
                self._sources.remove(ticket)
            return "total_rate"
        return ticket

    def _is_counted(self, address: bytes) -> bool:
        return self._exempt.find(address) is None

    def _take_places(self) -> Refusal | None:
        """Take a place of the service and one of the daemon, or return which limit is reached.

        The place is taken before the sum is read, so that two workers never both get the last one; at worst neither
        does.
        """
        limit, limit_of_all = self.policy.limits.connections, self._shared.connections
        workers, active = self._table.workers, self._active
        self._cells[_ACTIVE] = own = self._cells[_ACTIVE] + 1
        active[self._worker] = own_of_all = active[self._worker] + 1
        refusal: Refusal | None = None
        # One worker's own number is the sum.
        if limit is not None and (own if workers == 1 else sum(self._all_active[:workers])) > limit:
            refusal = "connections"
        elif limit_of_all is not None and (own_of_all if workers == 1 else sum(active[:workers])) > limit_of_all:
            refusal = "daemon_connections"
        if refusal:
            self._return_places()
        return refusal

    def _return_places(self) -> None:
        self._cells[_ACTIVE] -= 1
        self._active[self._worker] -= 1

    def _record_offence(self, source: bytes, address: bytes, refusal: Refusal, now: float) -> Refusal:
        """Record a refusal that the source has caused. Report a source that exceeds `bans.threshold`."""
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
        """Decide on datagrams from this address and port; ``non_unicast``: sent to a broadcast or multicast address."""
        if drop := self._drop_reason(address, port, now, non_unicast=non_unicast):
            return Verdict(drop)
        exempt = self._datagram_rate is None or self._exempt.find(address) is not None
        key = self._key(None if exempt else source_of(address))
        return Verdict(None, key, self.guard.amplifies(address))

    def _drop_reason(self, address: bytes, port: int, now: float, *, non_unicast: bool) -> Drop | None:
        if objection := self.guard.check_question(address, port, self._shared.ports, non_unicast=non_unicast):
            return objection
        if self._banned(address, source_of(address), now):
            return "banned"
        if not self.access.open and not self.access.allows(address):
            return "access"
        return self._closed(now)

    def session_source(self, address: bytes) -> bytes | None:
        """The source that the sessions of a sender of datagrams count for (`limits.per_source`); None: it is exempt."""
        return source_of(address) if self._is_counted(address) else None

    def check_unix_datagram(self, user: int | None, path: str | bytes, now: float) -> Verdict:
        """Decide on datagrams from this user. No rule matches groups here (`netd.admission.access.NO_GROUPS`).

        ``path`` is the sender's. At a path of this netd a service would answer the answer, without end.
        """
        if path in self._shared.paths:
            return Verdict("source_path")
        if not self.access.unix_ruling(user, ()).allowed:
            return Verdict("access")
        if closed := self._closed(now):
            return Verdict(closed)
        return Verdict(None, self._key(None))

    def _key(self, source: bytes | None) -> bytes | None:
        """The key of the bucket of a source. Empty: only total_rate applies; None: no rate does."""
        if source is not None:
            return self._datagram_key + source
        return b"" if self._total_datagram_rate else None

    def take_token(self, key: bytes, now: float) -> Drop | None:
        """Take the tokens for one datagram, or return which rate it exceeds."""
        rate = self._datagram_rate
        if key and rate and not self._shared.daemon_limits.rates.take(key, rate, now):
            return "rate"
        return None if self._take_total_token(self._total_datagram_rate, now) else "total_rate"

    # Explanations.

    def explain(
        self, address: bytes, port: int, now: float, *, datagram: bool, threads: bool = False
    ) -> Iterator[Check]:
        """The checks of `admit`, or of `check_datagram` and `take_token`, in their order. Takes no token.

        ``threads``: each connection or datagram takes a thread.
        """
        shared = self._shared
        source = source_of(address)
        if datagram:
            yield Check("reply_guard", *self.guard.explain_question(address, port, shared.ports))
        elif proxies := self.policy.proxy_protocol:
            yield Check("proxy_protocol", passes=True, why=proxies.explain(address))
        banned = self._banned(address, source, now)
        left = shared.banned.get(source, now) - now
        yield Check("bans", not banned, f"banned for another {left:.0f} s" if banned else "not banned")
        ruling = self.access.ruling(address)
        yield Check("access", ruling.allowed, ruling.why)
        yield from self._explain_rest(source, now, self._exempt.find(address), datagram=datagram, threads=threads)
        if not datagram and (rules := self.access.certificates.texts):
            more = f" or {len(rules) - _SHOWN} others" * (len(rules) > _SHOWN)
            wanted = f"depends on the certificate: {', '.join(rules[:_SHOWN])}{more}"
            yield Check("certificate", passes=True, why=wanted)
        if datagram:
            yield Check("amplify", passes=True, why=self.guard.explain_answer(address))

    def explain_unix(
        self, user: int, groups: Sequence[int], now: float, *, datagram: bool, threads: bool = False
    ) -> Iterator[Check]:
        """The same for a UNIX peer."""
        if proxies := self.policy.proxy_protocol:
            yield Check("proxy_protocol", proxies.admits_unix or proxies.others == "direct", proxies.explain(None))
            if proxies.admits_unix or proxies.others == "refuse":
                return
        ruling = self.access.unix_ruling(user, groups)
        yield Check("access", ruling.allowed, ruling.why)
        yield from self._explain_rest(None, now, "UNIX peer", datagram=datagram, threads=threads)

    def _explain_rest(
        self, source: bytes | None, now: float, exempt: str | None, *, datagram: bool, threads: bool
    ) -> Iterator[Check]:
        shared, limits = self._shared, self.policy.limits
        in_time = self.access.in_time(self._wall())
        times = ", ".join(hours.text for hours in self.access.times) or "always"
        yield Check("access.times", in_time, times)
        if limit := self.policy.load:
            load = shared.load(now)
            yield Check(
                "load", load < limit.below, f"the load average is {load:.2f}, and has to be below {limit.below:g}"
            )
        if threads:
            for name, number, most in self.threads.usage:
                check = _check_limit(name, number, most)
                yield check._replace(passes=True, why=f"{check.why}; a datagram waits for one") if datagram else check
        rate = self._datagram_rate if datagram else self._connection_rate
        if exempt or source is None:
            yield Check("limits.exempt", passes=True, why=f"{exempt}: exempt from rate and per_source")
        else:
            key = (self._datagram_key if datagram else self._connection_key) + source
            yield _check_rate("limits.rate", rate, shared.daemon_limits.rates.left(key, rate, now) if rate else 0)
        if not datagram:
            yield _check_limit("limits.connections", sum(self._all_active), limits.connections)
            yield _check_limit("daemon.connections", sum(shared.daemon_limits.active), shared.connections)
        if not datagram and not exempt and source is not None:
            yield _check_limit(
                "limits.per_source", self._sources.number(source, self._table.workers), limits.per_source
            )
        total = self._total_datagram_rate if datagram else self._total_connection_rate
        left = taken(self._table.total_rate[0], int(now * 1e9), total, total.burst)[0] if total else 0
        yield _check_rate("limits.total_rate", total, left)

    # Connections and datagrams.

    def _banned(self, address: bytes, source: bytes, now: float) -> bool:
        shared = self._shared
        # An exempt address may be in a banned /64.
        return bool(shared.banned) and shared.banned.get(source, 0.0) > now and shared.exempt.find(address) is None

    def _closed(self, now: float) -> Literal["times", "load"] | None:
        """Why the service takes nothing at this time, from no peer; None: it does."""
        if not self.access.in_time(self._wall()):
            return "times"
        limit = self.policy.load
        return "load" if limit and self._shared.load(now) >= limit.below else None

    def _take_total_token(self, rate: Rate | None, now: float) -> bool:
        if rate is None:
            return True
        bucket = self._table.total_rate
        given, bucket[0] = taken(bucket[0], int(now * 1e9), rate, 1)
        return bool(given)


def _check_limit(name: str, number: int, limit: int | None) -> Check:
    if limit is None:
        return Check(name, passes=True, why="off")
    return Check(name, number < limit, f"{number} of {limit} in use")


def _check_rate(name: str, rate: Rate | None, left: int) -> Check:
    if rate is None:
        return Check(name, passes=True, why="off")
    return Check(name, bool(left), f"{left} of {rate.burst} tokens left, refilled at {rate.number}/{rate.unit}")


def _rate_for(transport: Literal["tcp", "udp"], rate: Rate | None) -> Rate | None:
    return rate if rate and rate.only in (None, transport) else None
