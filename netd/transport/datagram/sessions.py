"""The table of sessions of datagrams, and the order in which they end where there is no room.

Of a forged source mostly one datagram comes. So the sessions of peers that have sent one alone end first, the oldest
before the others; then those of the peers that were silent for the longest time.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from netd.admission.control import AdmissionControl

_MOST_CONNECTIONS = 8192  # where `limits.connections` is off


class Entry(Protocol):
    """What the table keeps. Two entries are never equal."""

    @property
    def key(self) -> Hashable:
        """The peer, and the address at which it was received."""

    @property
    def source(self) -> Hashable:
        """The source of the peer, of which there are `SessionTable.per_source` sessions at most; None: any number."""


Session = TypeVar("Session", bound=Entry)


class _Order(Generic[Session]):
    """Some sessions in the order in which they end."""

    __slots__ = ("heard_again", "heard_once")

    def __init__(self) -> None:
        self.heard_once: OrderedDict[Session, None] = OrderedDict()
        self.heard_again: OrderedDict[Session, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.heard_once) + len(self.heard_again)

    def first(self) -> Session | None:
        return next(iter(self.heard_once or self.heard_again), None)

    def hear(self, session: Session) -> None:
        if session in self.heard_again:
            self.heard_again.move_to_end(session)
        else:
            del self.heard_once[session]
            self.heard_again[session] = None

    def remove(self, session: Session) -> None:
        self.heard_once.pop(session, None)
        self.heard_again.pop(session, None)


class SessionTable(Generic[Session]):
    """At most ``most`` sessions, and ``per_source`` of one source; None: any number of these."""

    def __init__(self, most: int, per_source: int | None) -> None:
        self.most = most
        self.per_source = per_source
        self._sessions: dict[Hashable, Session] = {}
        self._order = _Order[Session]()
        self._sources: dict[Hashable, _Order[Session]] = {}
        self._latest: Session | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def get(self, key: Hashable) -> Session | None:
        """The session with this key, if there is one."""
        return self._sessions.get(key)

    def first(self) -> Session | None:
        """The session that ends first where there is no room; None: there are no sessions."""
        return self._order.first()

    def in_the_way(self, source: Hashable) -> Session | None:
        """The session that has to end before one of this source is added; None: there is room."""
        if self.per_source is not None and (own := self._sources.get(source)) and len(own) >= self.per_source:
            return own.first()
        return self._order.first() if len(self._sessions) >= self.most else None

    def add(self, session: Session) -> None:
        """Add a session; its peer has sent one datagram. There is room (`in_the_way`), and no session of its key."""
        self._sessions[session.key] = session
        self._order.heard_once[session] = None
        if session.source is not None:
            self._sources.setdefault(session.source, _Order()).heard_once[session] = None
        self._latest = None

    def hear(self, session: Session) -> None:
        """The peer of a session has sent one more datagram."""
        if session is self._latest:
            return
        self._latest = session
        self._order.hear(session)
        if session.source is not None:
            self._sources[session.source].hear(session)

    def remove(self, session: Session) -> None:
        """Remove a session."""
        del self._sessions[session.key]
        self._order.remove(session)
        if session.source is not None:
            own = self._sources[session.source]
            own.remove(session)
            if not own:
                del self._sources[session.source]
        self._latest = None


# One for all sockets of a service.
_tables: WeakKeyDictionary[AdmissionControl, SessionTable[Any]] = WeakKeyDictionary()


def table_of(admission: AdmissionControl) -> SessionTable[Any]:
    """The table of the sessions of a service."""
    if admission not in _tables:
        limits = admission.policy.limits
        most = max(1, (limits.connections or _MOST_CONNECTIONS) // 2)
        _tables[admission] = SessionTable(most, limits.per_source)
    return _tables[admission]
