"""Members of a room that join, send, stop reading and leave at random, compared with a model of what each receives."""

import re
import unicodedata
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netd.peer import Peer
from netd.services.chat.text import folded
from netd.testing import NOW
from tests.services.chat.members import Mailer, Talker
from tests.support.services import service

IDLE = 60.0
_TAG = re.compile(r"#(\d+)#")
_LOST = re.compile(r"\* (\d+) messages? lost, since you read too slowly")
_GRAPHICS = re.compile(r"\x1b\[[0-9;]*m")
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}

# Any octets but line ends and telnet commands, which are the subject of other tests, and #, which marks the tags.
junk = st.one_of(
    st.binary(max_size=12),
    st.text(st.sampled_from("ab :é\x1b[31m\x00\x07\t\x7f\x85\x9b\u200f\u202e\u2066\u2028💬"), max_size=12).map(
        str.encode
    ),
).map(lambda data: re.sub(rb"[\n#\xff]|\r\0", b"", data))
names = st.sampled_from(["alex", "Alex", "bob", "grüß", "*", "ok", "x" * 32])


class Record:
    """The messages that a member should receive, and those that it received."""

    def __init__(self, client: Talker | Mailer, last: float | None, expected: list[int]) -> None:
        self.client = client
        self.last = last  # the time of its last datagram; None for streams
        self.expected = expected
        self.always_read = True
        self.lines: list[str] = []

    def update(self) -> None:
        self.lines += self.client.read()

    @property
    def tags(self) -> list[int]:
        return [int(tag) for line in self.lines for tag in _TAG.findall(line)]

    @property
    def reported_lost(self) -> int:
        return sum(int(match[1]) for line in self.lines if (match := _LOST.fullmatch(line)))


class RoomMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.number = 0
        self.history: deque[int] = deque(maxlen=0)
        self.streams: list[Record] = []
        self.mailers: dict[int, Record] = {}
        self.former: list[Record] = []
        self.guests: dict[int, Mailer] = {}
        self.chat: Any = None

    @initialize(history=st.integers(0, 3), most=st.integers(1, 6), color=st.sampled_from(["on", "off"]))
    def open(self, history: int, most: int, color: str) -> None:
        self._build(history, most, color)

    def _build(self, history: int, most: int, color: str) -> None:
        self.chat = service("chat", clock=lambda: self.now, history=history, max_members=most, color=color, idle="60s")
        self.history = deque(self.history, history)
        self.most = most

    @rule(history=st.integers(0, 3), most=st.integers(1, 6), color=st.sampled_from(["on", "off"]))
    def reload(self, history: int, most: int, color: str) -> None:
        before = self.chat
        self._build(history, most, color)
        self.chat.take_over(before)
        for record in self.mailers.values():
            assert isinstance(record.client, Mailer)
            record.client.chat = self.chat
        for guest in self.guests.values():
            guest.chat = self.chat

    # The model.

    def _remove_idle(self) -> None:
        for port, record in list(self.mailers.items()):
            assert record.last is not None
            if record.last + IDLE <= self.now:
                self.former.append(self.mailers.pop(port))

    def _is_full(self) -> bool:
        self._remove_idle()
        return len(self.streams) + len(self.mailers) >= self.most

    def _expect(self, sender: Record | None) -> None:
        self._remove_idle()
        for record in (*self.streams, *self.mailers.values()):
            if record is not sender:
                record.expected.append(self.number)
        self.history.append(self.number)

    def _message(self, name: str | None, noise: bytes) -> bytes:
        self.number += 1
        self.now += 0.1  # slow enough to be no flood
        return (f"{name} : ".encode() if name else b"") + b"x" + noise + b" #%d#" % self.number

    # Events.

    @rule()
    def join(self) -> None:
        full = self._is_full()
        talker = Talker(self.chat, Peer("tcp", "192.0.2.7", 1000 + self.number))
        assert talker.over == full
        if not full:
            self.streams.append(Record(talker, None, list(self.history)))

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), name=st.none() | names, noise=junk)
    def say(self, data: st.DataObject, name: str | None, noise: bytes) -> None:
        record = data.draw(st.sampled_from(self.streams))
        assert isinstance(record.client, Talker)
        record.client.receive(self._message(name, noise) + b"\n")
        self._expect(record)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), line=st.sampled_from([b"\n", b"alex :\n", b"/color on\n", b"/color off\n", b"\x00\x1b\n"]))
    def say_nothing(self, data: st.DataObject, line: bytes) -> None:
        record = data.draw(st.sampled_from(self.streams))
        assert isinstance(record.client, Talker)
        record.client.receive(line)
        self._remove_idle()

    @rule(port=st.integers(1, 4), name=st.none() | names, noise=junk, ended=st.booleans())
    def mail(self, port: int, name: str | None, noise: bytes, *, ended: bool) -> None:
        message = self._message(name, noise) + b"\n" * ended
        self._remove_idle()
        record = self.mailers.get(port)
        if record is None:
            full = self._is_full()
            record = Record(Mailer(self.chat, port=port), self.now, list(self.history))
            if full:
                assert isinstance(record.client, Mailer)
                record.client.send(message)
                assert record.client.read() == ["* the room is full"]
                return
            self.mailers[port] = record
        record.last = self.now
        assert isinstance(record.client, Mailer)
        record.client.send(message)
        self._expect(record)

    @rule(port=st.integers(11, 13), name=st.none() | names, noise=junk)
    def be_a_guest(self, port: int, name: str | None, noise: bytes) -> None:
        guest = self.guests.setdefault(port, Mailer(self.chat, guest=True, port=port))
        guest.send(self._message(name, noise))
        self._expect(None)
        assert len(guest.received) == 1
        assert len(guest.received.pop()) <= 64

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), way=st.sampled_from(["q", "bye", "end", "reset", "fault"]))
    def leave(self, data: st.DataObject, way: str) -> None:
        record = data.draw(st.sampled_from(self.streams))
        talker = record.client
        assert isinstance(talker, Talker)
        match way:
            case "end":
                talker.end()
            case "reset":
                talker.reset()
            case "fault":
                talker.receive(b"x" * 4097)
            case word:
                talker.say(word)
        assert talker.over
        self.streams.remove(record)
        self.former.append(record)

    @precondition(lambda self: self.mailers)
    @rule(data=st.data())
    def mail_farewell(self, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(sorted(self.mailers)))
        record = self.mailers.pop(port)
        assert isinstance(record.client, Mailer)
        record.client.send("q")
        self.former.append(record)

    @precondition(lambda self: self.streams or self.mailers)
    @rule(data=st.data())
    def read_or_not(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from([*self.streams, *self.mailers.values()]))
        record.client.reads = not record.client.reads
        record.always_read = False

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # Invariants.

    @invariant()
    def members_receive_each_message_once_and_in_order(self) -> None:
        for record in (*self.streams, *self.mailers.values(), *self.former):
            record.update()
            if record.always_read:
                assert record.tags == record.expected
                assert not record.reported_lost
            else:
                received = record.tags
                assert received == [tag for tag in record.expected if tag in set(received)]
                assert record.reported_lost <= record.client.missed
            for line in record.lines:
                shown = _GRAPHICS.sub("", line)
                assert not any(unicodedata.category(character) in _UNSEEN for character in shown)

    @invariant()
    def name_belongs_to_one_member(self) -> None:
        if self.chat is not None:
            room = self.chat._room
            holders = [it for it in (*room._streams, *room._datagrams.values(), *room._guests.values()) if it.name]
            assert room._named == {folded(member.name): member for member in holders}
            assert len(room._named) == len(holders)

    @invariant()
    def memory_is_bounded(self) -> None:
        if self.chat is not None:
            room = self.chat._room
            assert len(room._streams) == len(self.streams)
            assert len(room._datagrams) >= len(self.mailers)
            assert list(room._datagrams.values()) == sorted(
                room._datagrams.values(), key=lambda member: member.active_at
            )
            assert len(room._guests) <= len(self.guests)
            assert len(room._history) == len(self.history)

    def teardown(self) -> None:
        """A member that reads at last receives the number of lost messages, and the room is empty at the end."""
        if self.chat is None:
            return
        self._remove_idle()
        for record in (*self.streams, *self.mailers.values()):
            record.client.reads = True
        self.guests.setdefault(11, Mailer(self.chat, guest=True, port=11)).send(self._message(None, b""))
        self._expect(None)
        for record in (*self.streams, *self.mailers.values()):
            record.update()
            assert record.reported_lost == record.client.missed
            assert record.tags[-1] == self.number
        for record in self.streams:
            assert isinstance(record.client, Talker)
            record.client.reset()
        self.now += IDLE
        Mailer(self.chat, port=99).send("q")
        self.chat.datagram(b"x", Peer("udp", "192.0.2.7", 99), None)
        room = self.chat._room
        assert not room._streams
        assert not room._datagrams
        assert len(room._guests) == 1


TestRoom = RoomMachine.TestCase
TestRoom.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
