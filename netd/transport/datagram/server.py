"""Datagram servers: one message, one answer, and no thread but for code that blocks (`threaded.py`).

A datagram is received, its sender is looked up, it is dropped or answered, and the answer is sent. Over UDP this is
done for many at once, where many wait (`mmsg.py`); over UNIX, while they are traced, and where the C library lacks the
functions, one by one (`single.py`). An answer that cannot be sent at once is dropped and counted, as the network itself
would do.
"""

import errno
import os
import socket
import socketserver
from collections.abc import Callable
from functools import partial
from mmap import mmap
from typing import Any
from weakref import WeakKeyDictionary

from netd.admission.control import AdmissionControl
from netd.admission.reply_guard import Loops
from netd.errors import PeerError
from netd.peer import Peer
from netd.reasons import Drop
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram import mmsg
from netd.transport.datagram.connected import ConnectedSockets
from netd.transport.datagram.options import clear_options
from netd.transport.datagram.origins import NOT_FROM_THERE, only_address
from netd.transport.datagram.posts import Posts
from netd.transport.datagram.relay_batch import RelayBatch
from netd.transport.datagram.senders import SenderEntry, Senders
from netd.transport.datagram.single import (
    Datagrams,
    OneDatagram,
    SingleDatagrams,
    SingleRelay,
    TtlDatagrams,
    UnixDatagrams,
)
from netd.transport.datagram.structures import AVAILABLE
from netd.transport.datagram.unixgram import AnsweringSocket, NoSocketError
from netd.transport.listener import socket_url
from netd.transport.loop import LISTENING, Loop
from netd.transport.sockaddr import tell_ttl
from netd.transport.tap import Taps, TracedDatagramSocket

_LAST_BATCHES = 256  # answered when the socket is closed: more than a large receive buffer holds
_FEW, _SINGLES = 3, 64  # a batch of fewer takes longer than single ones
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

NOTED_RUNS = {0, Loops.MOST, Loops.ENDLESS}
"""The lengths of a run of exchanges at which `DatagramServer._ends_loop` is asked."""


# One for all servers of a loop: a batch is answered before the next one is received.
_memories: WeakKeyDictionary[Loop, mmap] = WeakKeyDictionary()
_connected: WeakKeyDictionary[Loop, ConnectedSockets] = WeakKeyDictionary()


def _memory_of(loop: Loop) -> mmap:
    if loop not in _memories:
        _memories[loop] = mmsg.make_memory()
    return _memories[loop]


class DatagramServer(socketserver.ThreadingUDPServer):
    """Answers the datagrams of one socket, over UDP or UNIX, in the way that the service type declares."""

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
        batched: bool = AVAILABLE,
    ) -> None:
        # The socket is open already, so not UDPServer's constructor, which makes one.
        socketserver.BaseServer.__init__(self, listener.getsockname(), socketserver.BaseRequestHandler)
        unix = listener.family == socket.AF_UNIX
        self.socket: Any = AnsweringSocket(listener) if unix else listener
        clear_options(listener)
        if listener.family == socket.AF_INET6:
            # Else no answer can have a source address that is local by a route alone (ip_nonlocal_bind, ip(7)).
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if not unix:
            tell_ttl(listener, wanted=kind.reads_ttl)  # it may have been the socket of another service
        listener.setblocking(False)
        self.service: Any = service
        self.admission = admission
        self.events = events
        self.loop = loop
        self._reflects = kind.datagrams == "echo"
        self._truncate = service.truncate if kind.truncates else None
        self._guard = admission.guard
        self._connected = _connected.setdefault(loop, ConnectedSockets())
        self._longest = admission.policy.limits.datagram
        self._descriptor = listener.fileno()
        self._url = socket_url(listener)
        self._listening = False
        self._posts: Posts | None = None
        if kind.datagrams == "push":
            self._posts = Posts(self.socket, events, loop, self._post_failed)
        self._senders = Senders(admission, loop, self._descriptor, self.server_address)
        self._untraced = self.socket
        self._single: type[SingleDatagrams] = UnixDatagrams if unix else SingleDatagrams
        self._batch: mmsg.Batch | None = None
        if kind.reads_ttl and not unix:
            self._single = TtlDatagrams
        elif batched and not unix:
            self._batch = mmsg.Batch(self._descriptor, listener.family, self._longest, _memory_of(loop))
        self._one: OneDatagram | None = None
        if self._batch and (local := only_address(listener)):
            self._one = OneDatagram(listener, self._longest, local)
        self.singles = _SINGLES
        """How many datagrams are received one by one, where few wait, before a batch is tried."""
        self._since_batch = 0  # datagrams that were received one by one
        self._datagrams: Datagrams = self._batch or self._single(self.socket, self._longest)

    def start(self) -> None:
        """Receive datagrams from now on."""
        self._listening = True
        self.loop.watch(self._descriptor, LISTENING, self._ready)

    def retire(self) -> None:
        """Stop receiving, and leave the socket, with the datagrams in its queue, to another server."""
        if self._listening:
            self._listening = False
            self.loop.unwatch(self._descriptor)

    def server_close(self) -> None:
        """Answer the datagrams in the queue, then close the socket."""
        self.answer_queue()
        self._close_socket()

    def answer_queue(self) -> None:
        """Answer the datagrams in the queue."""
        if self._listening:
            for _ in range(_LAST_BATCHES):
                if not self._ready(0):
                    return

    def _close_socket(self) -> None:
        if self.socket.fileno() >= 0:
            self.retire()
            self.socket.close()

    def release(self) -> None:
        """Release everything but the socket."""
        self._posts = None  # it refers to this object

    def close(self) -> None:
        """Close the socket, and release everything."""
        self._close_socket()
        self.release()

    def trace(self, taps: Taps) -> None:
        """Record to these taps from now on, and to no others."""
        senders, single = self._senders, self._single
        self.socket = self._untraced
        if taps:
            self.socket = TracedDatagramSocket(
                self._untraced, lambda address, control: senders.peer_of(single.sender_at(address, control)), taps
            )
        if self._posts:
            self._posts.socket = self.socket
        self._datagrams = self._batch if self._batch and not taps else single(self.socket, self._longest)

    def forget_verdicts(self) -> None:
        """Drop all cached verdicts, since bans, rules or ports have changed."""
        self._senders.clear()

    def _ready(self, mask: int) -> bool:
        """Receive and answer one batch of datagrams. False: none was in the queue."""
        datagrams = self._datagrams
        one = self._one if self._since_batch < self.singles and datagrams is self._batch else None
        if one:
            self._since_batch += 1
            datagrams = one
        try:
            if one and self._reflects:
                # Most datagrams that come alone end here, in two system calls.
                data, address = one.receive_one()
                length = len(data)
                if length <= self._longest and self._senders.is_fast(address) and one.reflect_one():
                    self.events.datagram_reflected(length)
                    return True
                lengths = [length]
            else:
                lengths = datagrams.receive()
        except BlockingIOError:
            return False
        except OSError as error:
            self._receive_failed(error)
            return True
        if one is None and len(lengths) < _FEW:
            self._since_batch = 0
        if self._reflects:
            number = len(lengths)
            datagrams.reflect(number)
            if max(lengths) <= self._longest and self._senders.are_fast(datagrams.keys(number)):
                datagrams.reuse_packet_info()
                self.events.datagrams_received(number, sum(lengths))
                self._send(datagrams, 0, lengths)
                return True
        self.process_request(lengths, datagrams)
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a batch in the thread of the loop: ``request`` is the lengths, ``client_address`` the `Datagrams`."""
        lengths: list[int] = request
        datagrams: Datagrams = client_address
        drops: dict[Drop, tuple[int, SenderEntry]] = {}
        run: list[int] = []  # the lengths of answers in neighbouring slots, which are sent together
        senders = self._senders.find(datagrams, len(lengths))
        datagrams.reuse_packet_info()
        for slot, (length, entry) in enumerate(zip(lengths, senders, strict=True)):
            drop = self._drop(entry, length)
            if drop is None:
                answered = self._answer(datagrams, slot, length, entry)
                if answered is not None:
                    if entry.control is not None:
                        datagrams.set_control(slot, entry.control)
                    run.append(answered)
                    continue
            else:
                drops[drop] = (drops[drop][0] + 1 if drop in drops else 1, entry)
            if run:
                self._send(datagrams, slot - len(run), run)
                run = []
        self._send(datagrams, len(lengths) - len(run), run)
        for drop, (count, entry) in drops.items():
            self.events.datagrams_dropped(count, drop, self._url, self._senders.peer(entry))

    def _drop(self, entry: SenderEntry, length: int) -> Drop | None:
        """Why a datagram of this length is dropped, if it is."""
        verdict = entry.verdict
        if verdict.drop is not None:
            return verdict.drop
        if length > self._longest:
            return "too_long"
        return None if verdict.key is None else self.admission.take_token(verdict.key, self.loop.now)

    def _answer(self, datagrams: Datagrams, slot: int, length: int, entry: SenderEntry) -> int | None:
        """Replace the question by its answer, and return its length. None: there is no answer."""
        self.events.datagrams_received(1, length)
        if self._reflects and entry.watched is None:
            return length
        question = datagrams.datagram(slot, length)
        peer = entry.peer or self._senders.peer(entry)
        answer: bytes | None
        if self._reflects:
            answer = question
        elif self._posts:
            answer = self._ask(peer, self.service.datagram, question, peer, self._posts.post_to(entry))
        else:
            answer = self._ask(peer, self.service.datagram, question, peer)
        checked = None if answer is None else self._check(entry, peer, question, answer)
        if checked is None:
            return None
        if self._reflects or datagrams.set_answer(slot, checked):
            return len(checked)
        self.events.datagrams_dropped(1, "unsendable", self._url, peer, os.strerror(errno.EMSGSIZE))
        return None

    def _check(self, entry: SenderEntry, peer: Peer, question: bytes, answer: bytes) -> bytes | None:
        """The answer, maybe shortened, unless the reply guard drops it."""
        shorten = partial(self._ask, peer, self._truncate) if self._truncate else None
        checked, run = self._guard.check_answer(
            entry.watched, question, answer, self.loop.now, amplify=entry.verdict.amplify, shorten=shorten
        )
        if run in NOTED_RUNS and entry.watched and self._ends_loop(entry, peer, run):
            return None
        if checked is None:
            self.events.datagrams_dropped(1, "amplification", self._url, peer)
        return checked

    def _ends_loop(self, entry: SenderEntry, peer: Peer, run: int) -> bool:
        """Whether this datagram is dropped, since it is in a loop that no rate ends. ``run`` is one of `NOTED_RUNS`."""
        watched = entry.watched
        if watched is None or not watched.is_exempt:
            if run == Loops.MOST:
                self.events.loop_detected(peer)
        elif run and self._connected.has(peer, self.loop.now):
            # A service answers all peers from one socket, which is connected to none.
            self._senders.trust(entry)
        elif run == Loops.ENDLESS:
            self.events.loop_detected(peer)
            self.events.datagrams_dropped(1, "loop", self._url, peer)
            return True
        elif not run and not watched.any_content:
            self._senders.trust_next(entry)
        return False

    def _ask(self, peer: Peer, method: Callable[..., Any], *arguments: object) -> bytes | None:
        """Call a method of the service for an answer. An exception, SystemExit too, costs this answer alone."""
        if self.loop.turn_end:
            self.loop.end_turn()
        try:
            try:
                answer = method(*arguments)
            except PeerError as error:
                answer = error.answer
            if answer is None or isinstance(answer, bytes):
                return answer
            raise TypeError(f"{method.__qualname__} returned neither bytes nor None: {type(answer)}")
        except BaseException as error:
            self.events.conversation_failed(peer, error)
            return None

    def _send(self, datagrams: Datagrams | RelayBatch | SingleRelay, first: int, lengths: list[int]) -> int:
        """Send the answers of these lengths in the slots from ``first`` on. Returns how many octets were sent."""
        done = octets = 0
        while done < len(lengths):
            try:
                sent = datagrams.send(first + done, first + len(lengths))
            except OSError as error:
                if error.errno in NOT_FROM_THERE and datagrams.leave_source_to_kernel(first + done):
                    continue
                # The first answer failed; if there is no room for it, there is none for the others.
                full = datagrams.shares_room and isinstance(error, BlockingIOError)
                failed = len(lengths) - done if full else 1
                done += failed
                self._send_failed(error, failed, self._senders.peer_of(datagrams.sender(first + done - 1)))
            else:
                moved = sum(lengths[done : done + sent])
                self.events.datagrams_answered(sent, moved)
                octets += moved
                done += sent
        return octets

    def _receive_failed(self, error: OSError) -> None:
        """Count an error that an earlier datagram caused, or a lack of memory: the next call may succeed."""
        if error.errno not in _TRANSIENT:
            raise error
        self.events.datagrams_dropped(1, "receive_failed", self._url, None, str(error.strerror))

    def _send_failed(self, error: OSError, number: int, peer: Peer) -> None:
        if isinstance(error, BlockingIOError):
            return self.events.datagrams_dropped(number, "no_room", self._url, peer)
        if isinstance(error, NoSocketError):
            return self.events.datagrams_dropped(number, error.reason, self._url, peer)
        text = str(error.strerror)
        if error.errno == errno.EACCES and peer.family == "unix":
            text += "; the socket must be writable for the user of netd's workers"
        self.events.datagrams_dropped(number, "unsendable", self._url, peer, text)

    def _post_failed(self, error: OSError, entry: SenderEntry) -> None:
        self._send_failed(error, 1, self._senders.peer(entry))
