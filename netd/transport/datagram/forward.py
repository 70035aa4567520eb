"""Forwards datagrams: those of a peer go to a target through a socket of their own, a session; answers come back.

Nothing is queued here: a datagram, or an answer, for which a socket has no room is dropped and counted. What comes
together for one session is sent together, in both directions (`RelayBatch`).
"""

import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

from netd.admission.control import AdmissionControl
from netd.reasons import Drop, Outcome
from netd.services.forward import Forward
from netd.services.service_type import ServiceType
from netd.telemetry.forward_events import ForwardEvents
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.origins import address_of, origin
from netd.transport.datagram.relay_batch import RelayBatch
from netd.transport.datagram.senders import SenderEntry
from netd.transport.datagram.server import NOTED_RUNS, DatagramServer
from netd.transport.datagram.session import Session
from netd.transport.datagram.sessions import SessionTable, table_of
from netd.transport.datagram.single import SingleRelay
from netd.transport.datagram.structures import AVAILABLE
from netd.transport.datagram.threaded import ThreadedDatagramServer
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.datagram.upstream import REFUSED, Upstreams
from netd.transport.loop import Loop
from netd.transport.tap import Taps

_LAST = 2.0  # seconds for answers under way, once no more questions are taken; as the lingering close of a connection
_PROVEN_AFTER = 1.0  # seconds without an ICMP message


class ForwardServer(DatagramServer):
    """Forwards the datagrams of one socket, and keeps the sessions, which may outlive the listener."""

    def __init__(
        self,
        listener: socket.socket,
        kind: ServiceType,
        service: Forward,
        admission: AdmissionControl,
        events: ServiceEvents,
        loop: Loop,
        *,
        batched: bool = AVAILABLE,
    ) -> None:
        super().__init__(listener, kind, service, admission, events, loop, batched=batched)
        self._upstreams = Upstreams(service, _events_of(events), loop)
        self._table: SessionTable[Session] = table_of(admission)
        self._open: dict[Session, None] = {}
        self._family = listener.family
        self._seconds = service.options.session
        self._lifetime = admission.policy.limits.lifetime
        self._most_octets = admission.policy.limits.bytes
        self._is_closing = False
        self._on_release: Callable[[], object] | None = None  # called when the last session has ended
        self._relay = self._relay_batch = RelayBatch(self._batch) if self._batch else None
        self._relay_one = SingleRelay(self.socket, self._longest, direct=self._one is not None)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._open)

    @property
    def service_name(self) -> str:
        return self.events.service

    def url(self, number: int) -> str:
        return self._upstreams.url(number)

    def start(self) -> None:
        super().start()
        self._upstreams.resolve()  # before the first datagram comes
        self._upstreams.on_down.add(self._leave)

    def retire(self) -> None:
        """Take no more questions. Sessions in which nothing moves for two seconds end."""
        super().retire()
        self._upstreams.on_down.discard(self._leave)
        self._seconds = min(self._seconds, _LAST)
        for session in self._open:
            self.loop.wheel.drop(session)
            self.loop.wheel.add(session, self.expires_at(session)[0])

    def server_close(self) -> None:
        """Forward the datagrams in the queue, and close the socket once the last session has ended."""
        self.answer_queue()
        self.retire()
        self._is_closing = True
        self._release_if_empty()

    def close_all(self) -> None:
        """End all sessions."""
        for session in list(self._open):
            session.close("stopped")

    def close(self) -> None:
        self._on_release = None
        self.close_all()
        super().close()

    def release_when_empty(self, released: Callable[[], object]) -> None:
        """Call ``released`` once the last session has ended, or now if there is none. No new one may come."""
        self._on_release = released
        self._release_if_empty()

    def _release_if_empty(self) -> None:
        if self._open:
            return
        if self._is_closing:
            self.socket.close()
        if self._on_release:
            released, self._on_release = self._on_release, None
            released()

    def count_traffic(self) -> None:
        """Nothing to do: what moves in a session is counted at once."""

    def trace(self, taps: Taps) -> None:
        super().trace(taps)
        self._relay = None if taps else self._relay_batch
        self._relay_one = SingleRelay(self.socket, self._longest, direct=self._one is not None and not taps)

    # Questions.

    def process_request(self, request: Any, client_address: Any) -> None:
        """Forward a batch, as `DatagramServer.process_request` answers one."""
        lengths: list[int] = request
        datagrams = client_address
        senders = self._senders.find(datagrams, len(lengths))
        datagrams.reflect(len(lengths))
        drops: dict[Drop, tuple[int, SenderEntry]] = {}
        current: SenderEntry | None = None  # of the datagrams from ``first`` on, which go on together
        first = number = octets = 0
        for slot, (length, entry) in enumerate(zip(lengths, senders, strict=True)):
            drop = self._drop(entry, length)
            if drop is None:
                number += 1
                octets += length
                if entry is current:
                    continue
            if current is not None:
                self._forward(current, datagrams, lengths, first, slot)
            current, first = entry, slot
            if drop is not None:
                current = None
                drops[drop] = (drops[drop][0] + 1 if drop in drops else 1, entry)
        if current is not None:
            self._forward(current, datagrams, lengths, first, len(lengths))
        self.events.datagrams_received(number, octets)
        for drop, (count, entry) in drops.items():
            self._dropped(count, drop, entry)

    def _forward(self, entry: SenderEntry, datagrams: Any, lengths: list[int], first: int, last: int) -> None:
        """Forward the datagrams of one sender in the slots ``first`` to ``last`` - 1."""
        for _ in range(2):
            found = self._session(entry)
            if not isinstance(found, Session):
                return self._dropped(last - first, found, entry)
            if entry.watched is not None:
                found.question = datagrams.datagram(last - 1, lengths[last - 1])
            if not entry.verdict.amplify:
                found.allowance.add(last - first, sum(lengths[first:last]))
            found.expected = last - first
            first = self._pass_on(found, datagrams, lengths, first, last)
            if first == last:
                return
        self._dropped(last - first, "target_refused", entry)

    def _pass_on(self, session: Session, datagrams: Any, lengths: list[int], first: int, last: int) -> int:
        """Send the datagrams in these slots to the target. Returns the slot from which on it has refused them."""
        relay = self._relay
        session.active = self.loop.now
        while first < last:
            sent = 1
            try:
                if relay and last - first > 1:
                    sent = relay.pass_on(session.descriptor, first, lengths[first:last])
                else:
                    session.upstream.send(datagrams.datagram(first, lengths[first]))
            except BlockingIOError:
                self._dropped(last - first, "no_room", session.entry)
                break
            except OSError as error:
                if error.errno in REFUSED:
                    self._refused(session, error)
                    return first
                self._dropped(1, "unsendable", session.entry, str(error.strerror))
            session.bytes_in += lengths[first] if sent == 1 else sum(lengths[first : first + sent])
            first += sent
        self._check_bytes(session)
        if not session.is_proven:
            self._prove_by_silence(session)
        return last

    # Sessions.

    def _session(self, entry: SenderEntry) -> Session | Drop:
        """The session of a sender, maybe a new one, or why there is none."""
        key = self._descriptor, entry.sender
        if session := self._table.get(key):
            self._table.hear(session)
            session.entry = entry
            return session
        try:
            return self._begin(key, entry)
        except OSError:  # no descriptors or memory
            if (first := self._table.first()) is None:
                return "no_session"
            first.close("evicted")
        with contextlib.suppress(OSError):
            return self._begin(key, entry)
        return "no_session"

    def _begin(self, key: tuple[int, Any], entry: SenderEntry) -> Session | Drop:
        """Begin a session. Raises OSError for a lack of resources."""
        peer, now = self._senders.peer(entry), self.loop.now
        connected = self._upstreams.connect(peer.source)
        if connected is None:
            return "no_target"
        upstream, number = connected
        sender: Any = entry.sender
        unix = isinstance(sender, UnixSender)
        source = None if unix else self.admission.session_source(sender.address)
        while in_the_way := self._table.in_the_way(source):
            in_the_way.close("evicted")
        ticket = self.admission.admit_socket()
        if isinstance(ticket, str) and (first := self._table.first()):
            first.close("evicted")
            ticket = self.admission.admit_socket()
        if isinstance(ticket, str):
            self._upstreams.give_back(upstream, number)
            return "no_session"
        if unix:
            destination: Any = sender.path, entry.control
        else:
            ipv4 = self._family == socket.AF_INET
            address = (peer.host, peer.port) if ipv4 else address_of(sender, self._family)
            destination = address, origin(sender, self._family)
        session = Session(self, key, source, entry, peer, destination, upstream, number, ticket, now)
        try:
            self.loop.watch(session.descriptor, select.EPOLLIN, session.ready)
        except OSError:
            self.admission.release(ticket)
            self._upstreams.give_back(upstream, number)
            raise
        self._table.add(session)
        self._open[session] = None
        self.loop.wheel.add(session, self.expires_at(session)[0])
        self.events.session_opened()
        return session

    def expires_at(self, session: Session) -> tuple[float, Outcome]:
        idle = session.active + self._seconds
        if self._lifetime and session.opened + self._lifetime < idle:
            return session.opened + self._lifetime, "lifetime"
        return idle, "idle"

    def ended(self, session: Session, outcome: Outcome, error: BaseException | None = None) -> None:
        if session not in self._open:
            return
        del self._open[session]
        self._table.remove(session)
        self.loop.wheel.drop(session)
        self.loop.unwatch_closing(session.descriptor)
        self.admission.release(session.ticket)
        self._upstreams.give_back(session.upstream, session.number)
        if error:
            self.events.conversation_failed(session.peer, error)
        duration = self.loop.now - session.opened
        self.events.session_closed(session.peer, session.bytes_in, session.bytes_out, duration, outcome)
        self._release_if_empty()

    def _leave(self, number: int) -> None:
        """A check has found a target down, which may be a host that says nothing: its clients go to another one."""
        if self._upstreams.has_other(number):
            for session in [one for one in self._open if one.number == number]:
                session.close("reset")

    def _check_bytes(self, session: Session) -> None:
        if self._most_octets and session.bytes_in + session.bytes_out > self._most_octets:
            session.close("bytes")

    # Answers.

    def answers_ready(self, session: Session, mask: int) -> None:
        # Several are expected after several questions, and from a target that sends without being asked.
        relay: Any = self._relay if session.expected > 1 and self._relay else self._relay_one
        try:
            lengths: list[int] = relay.receive(session.upstream)
        except BlockingIOError:
            session.expected = 0
            if mask & select.EPOLLHUP:
                session.close("reset")
            return
        except OSError as error:
            if error.errno in REFUSED:
                return self._refused(session, error)
            return self._dropped(1, "receive_failed", session.entry, str(error.strerror))
        session.expected = len(lengths) if len(lengths) > 1 else 0 if session.expected else 2
        session.active = self.loop.now
        if not session.is_proven:
            self._prove(session)
        if relay is self._relay_one:
            self._answer_one(session, relay, lengths[0])
        else:
            entry = session.entry
            relay.address_to(entry.sender, session.address, session.control)
            if entry.watched is None and entry.verdict.amplify and max(lengths) <= self._longest:
                session.bytes_out += self._send(relay, 0, lengths)
            else:
                self._check_and_send(session, relay, lengths)
        self._check_bytes(session)

    def _answer_one(self, session: Session, relay: SingleRelay, length: int) -> None:
        if not self._may_answer(session, relay, 0, length):
            return
        if relay.send_one(session.address):
            self.events.datagrams_answered(1, length)
            session.bytes_out += length
        else:
            relay.address_to(session.entry.sender, session.address, session.control)
            session.bytes_out += self._send(relay, 0, [length])

    def _check_and_send(self, session: Session, relay: Any, lengths: list[int]) -> None:
        run: list[int] = []  # the lengths of answers in neighbouring slots, which are sent together
        for slot, length in enumerate(lengths):
            if self._may_answer(session, relay, slot, length):
                run.append(length)
            elif run:
                session.bytes_out += self._send(relay, slot - len(run), run)
                run = []
        session.bytes_out += self._send(relay, len(lengths) - len(run), run)

    def _may_answer(self, session: Session, relay: Any, slot: int, length: int) -> bool:
        """Whether an answer may be sent to its peer; else it is dropped and counted."""
        entry = session.entry
        if length > self._longest:
            self._dropped(1, "too_long", entry)
            return False
        if not (entry.verdict.amplify or session.allowance.take(length)):
            self._dropped(1, "amplification", entry)
            return False
        if entry.watched is None:
            return True
        answer = relay.datagram(slot, length)
        _, run = self._guard.check_answer(
            entry.watched, session.question, answer, self.loop.now, amplify=True, shorten=None
        )
        return not (run in NOTED_RUNS and self._ends_loop(entry, session.peer, run))

    def _refused(self, session: Session, error: OSError) -> None:
        """The target of a session takes no datagrams."""
        why = str(error.strerror)
        if not self._upstreams.is_unix(session.number):  # there the datagram was not sent, and may go to another target
            self._dropped(1, "target_refused", session.entry, why)
        session.is_proven = False
        session.silent_since = None
        if self._upstreams.refused(session.number, error):
            session.close("reset")

    def _prove_by_silence(self, session: Session) -> None:
        """It takes them if no ICMP message has come for a second after one was sent."""
        if session.silent_since is None:
            session.silent_since = session.active
        elif session.active - session.silent_since > _PROVEN_AFTER:
            self._prove(session)

    def _prove(self, session: Session) -> None:
        """The target of a session takes datagrams."""
        session.is_proven = True
        self._upstreams.proved(session.number)

    def _dropped(self, number: int, reason: Drop, entry: SenderEntry, error: str = "") -> None:
        self.events.datagrams_dropped(number, reason, self._url, self._senders.peer(entry), error)


def _events_of(events: ServiceEvents) -> ForwardEvents:
    assert events.forward, "a service type that forwards counts its targets"
    return events.forward


def server_class(kind: ServiceType) -> type[DatagramServer]:
    """The class that serves datagrams in the way that the service type declares."""
    if kind.datagrams == "forward":
        return ForwardServer
    return ThreadedDatagramServer if kind.datagrams == "thread" else DatagramServer
