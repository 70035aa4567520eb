"""Datagrams that are answered by code that blocks, as a handler of `socketserver` may: each has a thread meanwhile.

The threads are those of the service (`limits.threads`). While all are busy, a few datagrams wait, and further ones are
dropped. The loop alone checks and sends answers, and writes counters.
"""

from collections import deque
from functools import partial
from typing import Any, NamedTuple

from netd.errors import PeerError
from netd.peer import Peer
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.origins import address_of, origin, send_from
from netd.transport.datagram.senders import SenderEntry
from netd.transport.datagram.server import DatagramServer
from netd.transport.datagram.single import Datagrams
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.handler_watch import watch_of

MOST_WAITING = 64
"""Datagrams to a socket that wait for a thread: as many as one receive(2) gives, and at most 4 MiB."""
_RETRY = 0.05  # seconds until a thread is asked for again, which another service or worker may have freed


class _Question(NamedTuple):
    """A datagram that waits for its answer."""

    data: bytes
    peer: Peer
    entry: SenderEntry
    events: ServiceEvents
    active: float = 0.0


class ThreadedDatagramServer(DatagramServer):
    """Answers the datagrams of one socket in threads."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._waiting: deque[_Question] = deque()
        self._retries = False

    def _answer(self, datagrams: Datagrams, slot: int, length: int, entry: SenderEntry) -> int | None:
        """Have a thread answer it, now or later."""
        peer = entry.peer or self._senders.peer(entry)
        if len(self._waiting) >= MOST_WAITING:
            self.events.datagrams_dropped(1, "threads", self._url, peer)
            return None
        self.events.datagrams_received(1, length)
        self._waiting.append(_Question(datagrams.datagram(slot, length), peer, entry, self.events))
        self._start_thread()
        return None

    def _start_thread(self) -> None:
        """Start a thread for a datagram that waits, if there is one. It serves others too until none is left."""
        if not self._waiting:
            return
        if not self.admission.threads.acquire():
            return self._retry_later()
        watch = watch_of(self.loop)
        watch.look()
        try:
            watch.threads.run(self._work, f"netd-{self.events.service}")
        except (RuntimeError, MemoryError) as error:  # the system has no thread left
            self.events.accept_paused(str(error))
            self.admission.threads.release()
            self._retry_later()

    def _retry_later(self) -> None:
        if not self._retries:
            self._retries = True
            self.loop.later(_RETRY, self._retry)

    def _retry(self) -> None:
        self._retries = False
        self._start_thread()

    def _work(self) -> None:
        """The function of a thread."""
        while self._waiting:
            try:
                question = self._waiting.popleft()
            except IndexError:  # another thread has taken it
                break
            self._serve(question)
        self.loop.call(self._on_thread_end)

    def _serve(self, question: _Question) -> None:
        watch = watch_of(self.loop)
        watch.begin(question)
        answer, failure = self._answer_or_failure(question)
        watch.end()
        self.loop.call(partial(self._on_answer, question, answer, failure))
        del failure  # as `failure_of` says

    def _answer_or_failure(self, question: _Question) -> tuple[bytes | None, BaseException | None]:
        try:
            answer = self.service.datagram(question.data, question.peer)
            if answer is None or isinstance(answer, bytes):
                return answer, None
            raise TypeError(f"a datagram was answered with neither bytes nor None: {type(answer)}")
        except PeerError as error:
            return error.answer, None
        except BaseException as error:  # an exception of the service, SystemExit too, costs this answer alone
            return None, error

    def _on_thread_end(self) -> None:
        self.admission.threads.release()
        self._start_thread()  # one may have come after the thread saw that none was left

    def _on_answer(self, question: _Question, answer: bytes | None, failure: BaseException | None) -> None:
        data, peer, entry = question[:3]
        if failure:
            self.events.conversation_failed(peer, failure)
        if answer is None or (checked := self._check(entry, peer, data, answer)) is None:
            return
        sender, control, address = entry.sender, entry.control, None
        if isinstance(sender, UnixSender):
            address = sender.path
        else:
            family = self._untraced.family
            control, address = origin(sender, family), address_of(sender, family)
        try:
            send_from(self.socket, checked, control, address)
        except OSError as error:
            self._send_failed(error, 1, peer)
        else:
            self.events.datagrams_answered(1, len(checked))

    def _close_socket(self) -> None:
        super()._close_socket()
        if self._waiting:
            self.events.datagrams_dropped(len(self._waiting), "threads", self._url, self._waiting[-1].peer)
            self._waiting.clear()
