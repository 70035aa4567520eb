"""Datagram servers: one message, one answer, and never a thread.

Over UDP datagrams come and go in batches (`mmsg.py`); over UNIX sockets, and where the C library lacks the calls, one
by one. An answer that cannot be sent at once is dropped and counted, as the network itself would do.
"""

import errno
import socket
import socketserver
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from netd.addresses import is_loopback, octets, plain_host
from netd.admission.control import AdmissionControl, Verdict
from netd.contract import Post
from netd.errors import PeerError
from netd.peer import Peer
from netd.reasons import Drop
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram import mmsg
from netd.transport.datagram.options import clear_options
from netd.transport.datagram.origins import NOT_FROM_THERE, Control, origin, send_from
from netd.transport.datagram.posts import Posts
from netd.transport.datagram.unixgram import AnsweringSocket, ForeignSocketError
from netd.transport.loop import LISTENING, Loop
from netd.transport.sockaddr import CONTROL, PACKET_INFO, Sender, message_credentials, sender, sender_peer, unix_peer
from netd.transport.tap import Taps, TracedBatch, TracedDatagramSocket

_TURN = 64  # datagrams taken one by one, before the others get their turn
_MOST_KNOWN = 1024  # senders remembered at one time; a flood of forged ones meets each but once
_KNOWN_FOR = 1.0  # seconds; then rules that depend on time are asked again
_UNIX_ROOM = socket.CMSG_SPACE(12)  # sizeof(struct ucred)
_IP_FREEBIND = 15  # linux/in.h; the socket module does not have it
_TRANSIENT = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EMSGSIZE,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPROTO,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENOBUFS,
    errno.ENOMEM,
}


class _Known:
    """A sender, and what becomes of its datagrams. Its peer is made when somebody wants to know."""

    __slots__ = ("control", "name", "path", "peer", "sender", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        control: Any,
        sender: Sender | None = None,
        peer: Peer | None = None,
        path: str | bytes = b"",
        name: Hashable | None = None,
    ) -> None:
        self.verdict = verdict
        self.control = control
        """The control messages that go with an answer. In a batch, octets; None: what came with the question."""
        self.sender = sender
        self.peer = peer
        self.path = path
        """Where it is, over UNIX."""
        self.name = name
        """What tells it, at this socket, from others; None where the sender has no rate, over UDP, or no path."""


class DatagramServer(socketserver.ThreadingUDPServer):
    """Answers the datagrams of one socket, over UDP or UNIX, in the way that the type of the service says."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        kind: ServiceType,
        service: Any,
        admission: AdmissionControl,
        events: ServiceEvents,
        loop: Loop,
        *,
        batched: bool = mmsg.AVAILABLE,
    ) -> None:
        # The socket is open already, so not UDPServer's constructor, which makes one.
        socketserver.BaseServer.__init__(self, listener.getsockname(), socketserver.BaseRequestHandler)
        self._unix = listener.family == socket.AF_UNIX
        self.socket: Any = AnsweringSocket(listener) if self._unix else listener
        clear_options(listener)
        if listener.family == socket.AF_INET6:
            # Or no answer leaves from an address that is this host's by a route alone (ip_nonlocal_bind, ip(7)).
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        self.service: Any = service
        self.admission = admission
        self.events = events
        self.loop = loop
        self._posts: Posts | None = None
        if kind.datagrams == "push":
            self._posts = Posts(self.socket, events, loop, self._send_failed)
        self._longest = admission.policy.limits.datagram
        self._reflects = kind.datagrams == "echo"
        self._truncate = service.truncate if kind.truncates else None
        self._batch: mmsg.Batch | TracedBatch | None = None
        if batched and not self._unix:
            self._batch = mmsg.Batch(listener.family, self._longest)
        self._known: dict[object, _Known] = {}
        self._free: set[object] = set()  # those of them whose datagrams need no more thought
        self._known_until = 0.0
        listener.setblocking(False)
        self._descriptor = listener.fileno()
        self._listening = False

    def start(self) -> None:
        """Take datagrams."""
        self._listening = True
        self.loop.watch(self._descriptor, LISTENING, self._batch_ready if self._batch else self._ready)

    def retire(self) -> None:
        """Take no more datagrams, and leave the socket, with what is in its queue, to another server."""
        if self._listening:
            self._listening = False
            self.loop.unwatch(self._descriptor)

    def server_close(self) -> None:
        """Take no more datagrams."""
        if self.socket.fileno() >= 0:
            self.retire()
            self.socket.close()

    def release(self) -> None:
        """Release what it has besides the socket."""
        self._posts = None  # which calls this object back

    def close(self) -> None:
        """Release everything."""
        self.server_close()

    def trace(self, taps: Taps) -> None:
        """Have these look on from now on, and no others."""
        opened = self.socket.socket if isinstance(self.socket, TracedDatagramSocket) else self.socket
        self.socket = TracedDatagramSocket(opened, self._peer_at, taps) if taps else opened
        if self._posts:
            self._posts.socket = self.socket
        if self._batch:
            inner = self._batch.batch if isinstance(self._batch, TracedBatch) else self._batch
            self._batch = TracedBatch(inner, self._peer_of, taps) if taps else inner

    # In batches.

    def _batch_ready(self, events: int) -> None:
        arrays, limit = self._batch, self._longest
        assert arrays is not None, "only watched with a batch"
        try:
            lengths = arrays.receive(self._descriptor)
        except BlockingIOError:
            return
        except OSError as error:
            return self._receive_failed(error)
        number = len(lengths)
        self._forget_in_time()
        if self._reflects:
            arrays.reflect(number)
            if max(lengths) <= limit and self._free.issuperset(arrays.keys(number)):
                arrays.turn()
                self.events.datagrams_received(number, sum(lengths))
                return self._send_batch(arrays, 0, lengths)
        drops: dict[Drop, tuple[int, _Known]] = {}
        run: list[int] = []  # the lengths of answers in neighbouring slots, which go out together
        senders = [
            self._known.get(key) or self._get_to_know_slot(key, arrays, slot)
            for slot, key in enumerate(arrays.keys(number))
        ]
        arrays.turn()
        for slot, (length, known) in enumerate(zip(lengths, senders, strict=True)):
            drop = self._drop(known.verdict, length)
            if drop is None:
                answered = self._answer_slot(arrays, slot, length, known)
                if answered is not None:
                    if known.control is not None:
                        arrays.leave(slot, known.control)
                    run.append(answered)
                    continue
            else:
                drops[drop] = (drops[drop][0] + 1 if drop in drops else 1, known)
            if run:
                self._send_batch(arrays, slot - len(run), run)
                run = []
        self._send_batch(arrays, number - len(run), run)
        for drop, (count, who) in drops.items():
            self.events.datagrams_dropped(count, drop, self._peer(who))

    def _answer_slot(self, arrays: mmsg.Batch | TracedBatch, slot: int, length: int, known: _Known) -> int | None:
        """Put the answer in the place of the question: how long it is; None: there is none."""
        if self._reflects:
            self.events.datagrams_received(1, length)
            if known.name:
                data = arrays.datagram(slot, length)
                self._check_answer(data, data, known)
            return length
        answer = self._answer(arrays.datagram(slot, length), known)
        if answer is None:
            return None
        if not arrays.fits(len(answer)):
            self.events.datagrams_dropped(1, "unsendable", self._peer(known))
            return None
        arrays.answer(slot, answer)
        return len(answer)

    def _send_batch(self, arrays: mmsg.Batch | TracedBatch, first: int, lengths: list[int]) -> None:
        """Send the answers of these lengths that stand from slot ``first`` on."""
        done = 0
        while done < len(lengths):
            try:
                sent = arrays.send(self._descriptor, first + done, first + len(lengths))
            except OSError as error:
                if error.errno in NOT_FROM_THERE and arrays.leave_from_anywhere(first + done):
                    continue
                # It is the first one that failed; without room for it there is none for the others.
                failed = len(lengths) - done if isinstance(error, BlockingIOError) else 1
                self._send_failed(error, failed)
                done += failed
            else:
                self.events.datagrams_answered(sent, sum(lengths[done : done + sent]))
                done += sent

    # One by one.

    def _ready(self, events: int) -> None:
        for _ in range(_TURN):
            try:
                request, client_address = self.get_request()
            except BlockingIOError:
                return
            except OSError as error:
                return self._receive_failed(error)
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)

    def get_request(self) -> tuple[Any, Any]:
        # With no more room for control messages than these need, the kernel closes descriptors that a UNIX peer sends.
        room = _UNIX_ROOM if self._unix else CONTROL
        data, ancillary, _, client_address = self.socket.recvmsg(self._longest + 1, room)
        if self._unix:
            peer = self._peer_at(client_address, ancillary)
            verdict = self.admission.check_unix_datagram(peer.credentials and peer.credentials.uid, client_address)
            name = (self._descriptor, client_address) if client_address else None
            return (data, _Known(verdict, ancillary, peer=peer, path=client_address, name=name)), client_address
        self._forget_in_time()
        key = (client_address, *(message for message in ancillary if message[:2] in PACKET_INFO))
        known = self._known.get(key)
        if known is None:
            who = sender(octets(client_address[0]), client_address[1], ancillary)
            known = self._get_to_know(key, who, origin(who, self.socket.family))
        return (data, known), client_address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the service gets this datagram."""
        data, known = request
        drop = self._drop(known.verdict, len(data))
        if drop is not None:
            self.events.datagrams_dropped(1, drop, self._peer(known))
        return drop is None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one datagram."""
        data, known = request
        answer = self._answer(data, known)
        if answer is None:
            return
        if not client_address:
            return self.events.datagrams_dropped(1, "no_address")
        try:
            send_from(self.socket, answer, known.control, client_address)
        except OSError as error:
            return self._send_failed(error, 1, self._peer(known))
        self.events.datagrams_answered(1, len(answer))

    # Both.

    def forget_verdicts(self) -> None:
        """Bans, rules or ports are not what they were."""
        self._known.clear()
        self._free.clear()

    def _forget_in_time(self) -> None:
        if self.loop.now >= self._known_until:
            self.forget_verdicts()
            self._known_until = self.loop.now + _KNOWN_FOR

    def _get_to_know_slot(self, key: object, arrays: mmsg.Batch | TracedBatch, slot: int) -> _Known:
        who = arrays.sender(slot)
        return self._get_to_know(key if arrays.is_usual(slot) else None, who, arrays.origin(slot, who))

    def _get_to_know(self, key: object, who: Sender, control: Control | bytes | None) -> _Known:
        """Judge a sender, and remember it under ``key``; not if that is None."""
        if len(self._known) >= _MOST_KNOWN:
            self.forget_verdicts()
        verdict = self.admission.check_datagram(who.address, who.port, self.loop.now, to_many=who.to_many)
        name = (self._descriptor, verdict.key, who.port) if verdict.key else None
        known = _Known(verdict, control, who, name=name)
        if key is not None:
            self._known[key] = known
            if verdict.drop is None and verdict.key is None and control is None:
                self._free.add(key)
        return known

    def _drop(self, verdict: Verdict, length: int) -> Drop | None:
        """Why a datagram of this length is dropped, if it is."""
        if verdict.drop is not None:
            return verdict.drop
        if length > self._longest:
            return "too_long"
        return None if verdict.key is None else self.admission.take_token(verdict.key, self.loop.now)

    def _answer(self, data: bytes, known: _Known) -> bytes | None:
        peer = self._peer(known)
        self.events.datagrams_received(1, len(data))
        if self._posts:
            answer = self._ask(peer, self.service.datagram, data, peer, self._post_to(known))
        else:
            answer = self._ask(peer, self.service.datagram, data, peer)
        if answer is None:
            return None
        return self._check_answer(data, answer, known)

    def _check_answer(self, question: bytes, answer: bytes, known: _Known) -> bytes | None:
        """What may be sent of an answer; None: nothing."""
        shorten = partial(self._ask, self._peer(known), self._shortened) if self._shortened else None
        amplify, name = known.verdict.amplify, known.name
        checked, loops = self.admission.guard.check_answer(
            name, question, answer, self.loop.now, amplify=amplify, shorten=shorten
        )
        if checked is None:
            self.events.datagrams_dropped(1, "amplification", self._peer(known))
        if loops:
            self.events.loop_detected(self._peer(known))
        return checked

    def _ask(self, peer: Peer, method: Callable[..., Any], *arguments: object) -> bytes | None:
        """What a method of the service says. Whatever it raises, SystemExit too, costs this answer alone."""
        try:
            answer = method(*arguments)
            if answer is None or isinstance(answer, bytes):
                return answer
            raise TypeError(f"{method.__qualname__} returned neither bytes nor None: {type(answer)}")
        except PeerError as error:
            return error.answer
        except BaseException as error:
            self.events.conversation_failed(peer, error)
            return None

    def _post_to(self, known: _Known) -> Post | None:
        """What speaks to this peer unasked, if it may be spoken to.

        Over UDP anybody may have sent the datagram in its name, so it has to be on this host, or among those whose
        questions may have longer answers.
        """
        assert self._posts, "asked for by a service that speaks unasked"
        who = known.sender
        if who is None:
            return self._posts.post_to_path(known.path, known.control)
        return self._posts.post_to(who) if known.verdict.amplify or is_loopback(who.address) else None

    def _peer(self, known: _Known) -> Peer:
        if known.peer is None:
            assert known.sender is not None, "one of the two is there"
            known.peer = self._peer_of(known.sender)
        return known.peer

    def _peer_of(self, who: Sender) -> Peer:
        return sender_peer(who, plain_host(str(self.server_address[0])), self.server_address[1])

    def _peer_at(self, address: Any, ancillary: list[tuple[int, int, bytes]]) -> Peer:
        """The peer at an address, with the control messages that came beside its datagram."""
        if self._unix:
            return unix_peer("unixgram", address, self.server_address, message_credentials(ancillary))
        return self._peer_of(sender(octets(address[0]), address[1], ancillary))

    def _receive_failed(self, error: OSError) -> None:
        """An error on the socket that some datagram before had caused, or want of memory; the next call may be well."""
        if error.errno not in _TRANSIENT:
            raise error
        self.events.datagrams_dropped(1, "receive_failed")

    def _send_failed(self, error: OSError, number: int, peer: Peer | None = None) -> None:
        reason: Drop = "no_room" if isinstance(error, BlockingIOError) else "unsendable"
        self.events.datagrams_dropped(number, "source_path" if isinstance(error, ForeignSocketError) else reason, peer)
