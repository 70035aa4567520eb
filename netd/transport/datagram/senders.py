"""A cache of senders: the verdict of admission on each, kept for a second.

In a flood of forged sources each occurs once, so no more than `_MOST` are kept.
"""

from collections.abc import Iterator
from typing import Any

from netd.addresses import unmap_host
from netd.admission.control import AdmissionControl, Verdict
from netd.admission.reply_guard import Watched
from netd.peer import Peer
from netd.transport.datagram.single import Datagrams
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.loop import Loop
from netd.transport.sockaddr import Sender, sender_peer, unix_peer

_MOST = 1024  # senders in the cache
_KNOWN_FOR = 1.0  # seconds; then rules that depend on the time are checked again


class SenderEntry:
    """A sender, and the verdict on its datagrams."""

    __slots__ = ("control", "is_known", "key", "peer", "sender", "verdict", "watched")

    def __init__(self, sender: Sender | UnixSender, verdict: Verdict, control: Any, watched: Watched | None) -> None:
        self.sender = sender
        self.verdict = verdict
        self.control = control
        """The control messages of an answer, for `set_control` of the `Datagrams`; None: those of the question."""
        self.watched = watched
        """How the reply guard watches it; None: not at all."""
        self.key: object = None
        """Its key, if it may become fast (`Senders.are_fast`)."""
        self.is_known = False
        """Whether it has begun a run of exchanges (`Loops`)."""
        self.peer: Peer | None = None
        """Made by the first call of `Senders.peer`."""


class Senders:
    """The senders of one socket."""

    def __init__(self, admission: AdmissionControl, loop: Loop, descriptor: int, local: Any) -> None:
        """``local`` is the address of the socket."""
        self._admission = admission
        self._loop = loop
        self._descriptor = descriptor
        self._local = local
        self._entries: dict[object, SenderEntry] = {}
        self._fast: set[object] = set()  # keys of senders: datagrams from them are sent back without checks
        self._until = 0.0

    def clear(self) -> None:
        """Drop all entries, since bans, rules or ports have changed."""
        self._entries.clear()
        self._fast.clear()

    def are_fast(self, keys: Iterator[object]) -> bool:
        """Whether no datagram of the senders with these keys has to be counted per source, dropped or changed."""
        if self._loop.now >= self._until:
            self._expire_cache()
        return self._fast.issuperset(keys)

    def is_fast(self, key: object) -> bool:
        """The same for one datagram."""
        return key in self._fast and self._loop.now < self._until

    def find(self, datagrams: Datagrams, number: int) -> list[SenderEntry]:
        """The entries of the senders of the first ``number`` datagrams."""
        if self._loop.now >= self._until:
            self._expire_cache()
        known = self._entries.get
        return [known(key) or self._look_up(key, datagrams, slot) for slot, key in enumerate(datagrams.keys(number))]

    def trust_next(self, entry: SenderEntry) -> None:
        """Watch a sender no more once it begins its second run of exchanges: a loop never ends its first."""
        if entry.is_known:
            self.trust(entry)
        entry.is_known = True

    def trust(self, entry: SenderEntry) -> None:
        """Watch a sender no more, until its verdict is asked for again."""
        entry.watched = None
        if entry.key is not None:
            self._fast.add(entry.key)

    def peer(self, entry: SenderEntry) -> Peer:
        """The `Peer` of a sender, for the service."""
        if entry.peer is None:
            entry.peer = self.peer_of(entry.sender)
        return entry.peer

    def peer_of(self, sender: Sender | UnixSender) -> Peer:
        """The `Peer` of a sender without an entry."""
        if isinstance(sender, UnixSender):
            return unix_peer("unixgram", sender.path, self._local, sender.credentials)
        return sender_peer(sender, unmap_host(str(self._local[0])), self._local[1])

    def _expire_cache(self) -> None:
        self.clear()
        self._until = self._loop.now + _KNOWN_FOR

    def _look_up(self, key: object, datagrams: Datagrams, slot: int) -> SenderEntry:
        """Get the verdict of admission on a sender, and cache it if the key identifies the sender."""
        if len(self._entries) >= _MOST:
            self.clear()
        sender: Any = datagrams.sender(slot)
        if isinstance(sender, UnixSender):
            verdict = self._admission.check_unix_datagram(
                sender.credentials and sender.credentials.uid, sender.path, self._loop.now
            )
            watched = Watched((self._descriptor, sender.path)) if sender.path else None
        else:
            verdict = self._admission.check_datagram(
                sender.address, sender.port, self._loop.now, non_unicast=sender.non_unicast
            )
            name = (self._descriptor, verdict.key or sender.address, sender.port)
            watched = self._admission.guard.watch(name, sender.port, is_exempt=not verdict.key)
        control = datagrams.origin(slot, sender)
        entry = SenderEntry(sender, verdict, control, watched)
        if datagrams.has_key(slot):
            self._entries[key] = entry
            if verdict.drop is None and verdict.key is None and control is None:
                entry.key = key
                if watched is None:
                    self.trust(entry)
        return entry
