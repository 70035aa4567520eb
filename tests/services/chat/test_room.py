"""The room of a chat: members and guests, history, and messages that are lost or not shown.

What many members do in it at random is in `test_room_model`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from netd.contract import Post
from netd.services.chat import Chat
from netd.testing import NOW, PEER, build, context, script
from tests.services.chat.members import Mailer, Talker, chat
from tests.support.services import service


def test_sender_of_datagrams_stays_in_the_room_until_idle_passes() -> None:
    now = [NOW]
    room = service("chat", clock=lambda: now[0], idle="60s")
    alex, bob, eve = Talker(room), Mailer(room, port=1), Mailer(room, port=2)
    bob.send("bob : hello")
    eve.send("")
    now[0] += 59
    eve.send("")
    alex.say("alex : one")
    now[0] += 1
    alex.say("two")
    assert bob.read() == ["ok", "* alex has joined", "alex : one"]
    assert eve.read() == ["ok", "ok", "* alex has joined", "alex : one", "* bob has left", "alex : two"]
    assert alex.read() == ["* bob has joined", "bob : hello", "* here: bob, 1 other; q leaves", "* bob has left"]
    bob.send("again")
    assert alex.read() == ["* 192.0.2.7:1 has joined", "192.0.2.7:1 : again"], "its name is forgotten too"


def test_the_same_sender_at_another_endpoint_is_the_same_member() -> None:
    room = chat()
    here = Mailer(room)
    here.send("bob : hello")
    there = Mailer(room, local_port=99)
    there.send("hello again")
    Talker(room).say("alex : hi")
    assert here.read() == ["ok"]
    assert there.read() == ["ok", "alex : hi"]


def test_guest_sends_messages_but_receives_none() -> None:
    room = chat(announce=True)
    alex, guest = Talker(room), Mailer(room, guest=True)
    guest.send("eve : hello")
    guest.send("are you there?")
    alex.say("alex : yes")
    assert alex.read() == ["eve : hello", "eve : are you there?", "* you are alone here; q leaves"]
    assert guest.read() == ["* others hear you, but you cannot hear them from here", "ok"]
    assert guest.posted == 0
    guest.send("q")
    guest.send("me again")
    assert alex.read() == ["192.0.2.7:5353 : me again"]


def test_answers_to_a_guest_are_short() -> None:
    room = chat(name_required=True, max_members=1, answer="last")
    guest, other = Mailer(room, guest=True), Mailer(room)
    Mailer(room, port=9).send("")
    for text in ("x", "/color", "/color on\r\n", "x" * 5000, "eve : hello\r\n", "eve : hello", "q", *["eve : x"] * 99):
        guest.send(text)
        other.send(text)
    assert all(len(answer) <= 64 for answer in (*guest.received, *other.received))
    assert "* the room is full" in other.read()


def test_member_that_may_no_longer_be_sent_posts_becomes_a_guest() -> None:
    room = chat()
    member = Mailer(room)
    member.send("bob : hello")
    guest = Mailer(room, guest=True)
    guest.send("hello")
    Talker(room).say("alex : hi")
    assert guest.read() == ["* others hear you, but you cannot hear them from here"]
    assert member.read() == ["ok"]


def test_guests_above_the_bound_are_removed() -> None:
    room = chat()
    listener = Talker(room)
    for port in range(1, 1026):
        Mailer(room, guest=True, port=port).send(f"guest{port} :")
    Mailer(room, guest=True, port=1).send("hello")
    Mailer(room, guest=True, port=1025).send("hello")
    Mailer(room, guest=True, port=1).send("guest2 : hello")
    assert listener.read() == ["192.0.2.7:1 : hello", "guest1025 : hello", "guest2 : hello"]
    assert len(room._room._guests) == 1024


def test_new_members_receive_the_history() -> None:
    room = chat(history=2, announce=True)
    Talker(room).say("alex : one", "two", "three")
    new, mailed = Talker(room), Mailer(room)
    assert new.read() == ["alex : two", "alex : three"]
    mailed.send("")
    assert mailed.read() == ["alex : two", "alex : three", "ok"]


def test_new_member_that_reads_slowly_receives_all_in_order_and_the_number_of_lost_messages() -> None:
    room = chat(history=3)
    alex = Talker(room)
    alex.say("a : 1", "2", "3")
    received: list[bytes] = []

    def post(data: bytes) -> bool:
        received.append(data)
        return True

    new = room.stream(PEER, post)
    received.append(next(new))
    alex.say("4")
    received.append(next(new))
    alex.say("5", "6", "7")
    received += [next(new), next(new), next(new), next(new)]
    assert next(new) is None
    alex.say("8")
    assert b"".join(received).decode().splitlines() == [
        "a : 1",
        "a : 2",
        "* 2 messages lost, since you read too slowly",
        *("a : 5", "a : 6", "a : 7", "a : 8"),
    ]


def test_full_room_refuses_members() -> None:
    room = chat(max_members=2, idle="60s")
    alex, bob = Talker(room), Mailer(room)
    bob.send("bob : hello")
    script(room).sends(b"* the room is full\r\n").ends()
    other = Mailer(room, port=9)
    other.send("me?")
    assert other.received == [b"* the room is full\n"]
    assert alex.read() == ["bob : hello"]
    Mailer(room, guest=True, port=10).send("eve : hi")
    assert alex.read() == ["eve : hi"], "guests take no place"
    alex.reset()
    other.send("me?")
    assert other.read() == ["* the room is full", "ok"]


def test_flood_is_not_shown_and_reported_to_its_sender_once() -> None:
    now = [NOW]
    room = service("chat", clock=lambda: now[0], announce=False)
    listener, alex = Talker(room), Talker(room)
    alex.say(*[f"alex : {number}" for number in range(150)])
    assert listener.read() == [f"alex : {number}" for number in range(100)]
    now[0] += 0.125
    alex.say("one", "two", "three")
    assert listener.read() == ["alex : one", "alex : two"]
    assert alex.read() == ["* 50 messages not shown, since you wrote too fast"]
    alex.say("two", "three")
    alex.say("bye")
    assert alex.read() == ["* 3 messages not shown, since you wrote too fast", "* goodbye"]


def test_flood_that_ends_is_reported_at_the_end() -> None:
    listener, alex = Talker(room := chat()), Talker(room)
    alex.say(*[f"alex : {number}" for number in range(101)])
    alex.end()
    assert len(listener.read()) == 100
    assert alex.read() == ["* 1 message not shown, since you wrote too fast"]


def test_flood_of_datagrams_gets_no_answer() -> None:
    now = [NOW]
    room = service("chat", clock=lambda: now[0])
    bob = Mailer(room)
    for _ in range(150):
        bob.send("bob : x")
    assert bob.read() == ["ok"] * 100
    now[0] += 1
    bob.send("bob : x")
    bob.send("bob : x")
    assert bob.read() == ["* 50 messages not shown, since you wrote too fast", "ok"]


def test_member_that_does_not_read_loses_messages_and_receives_their_number() -> None:
    room = chat()
    alex, bob, slow, mailed = Talker(room), Talker(room), Talker(room), Mailer(room)
    mailed.send("")
    mailed.read()
    slow.reads = mailed.reads = False
    alex.say("a : 1", "2", "3")
    slow.reads = mailed.reads = True
    alex.say("4", "5")
    assert slow.read() == mailed.read() == ["* 3 messages lost, since you read too slowly", "a : 4", "a : 5"]
    assert bob.read() == [f"a : {number}" for number in range(1, 6)]


def test_room_survives_a_reload() -> None:
    first = chat(history=3)
    alex, bob = Talker(first), Mailer(first)
    alex.say("alex : 1", "2", "3")
    bob.send("bob :")
    bob.read()
    second = chat(history=2, colors={"alex": {"fg": "red"}}, max_members=1)
    second.take_over(first)
    alex.say("4")
    assert bob.read() == ["\x1b[31malex\x1b[0m : 4"]
    assert Talker(second).read() == ["* the room is full"]
    third = chat(history=5)
    third.take_over(second)
    new = Talker(third)
    assert new.read() == ["alex : 3", "alex : 4"]
    mail = Mailer(third)
    mail.send("hi")
    assert alex.read() == ["bob : hi"]
    alex.end()
    third.stream(PEER, lambda data: True).close()
    assert len(third._room._streams) == 1


class Turns:
    """Calls of a service that wait for the end of a turn of the loop."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self.context = replace(context(), call_soon=self._waiting.append)

    def end(self) -> None:
        waiting = self._waiting.copy()
        self._waiting.clear()
        for function in waiting:
            function()


def test_lines_of_one_turn_are_one_post_to_each_member() -> None:
    turns = Turns()
    room = build(Chat, turns.context, max_members=1024)
    posts: Counter[int] = Counter()
    talkers = []

    heard: dict[int, bytearray] = {number: bytearray() for number in range(100)}

    def hear(number: int) -> Post:
        def post(data: bytes) -> bool:
            posts[number] += 1
            heard[number] += data
            return True

        return post

    for number in range(100):
        talker = room.stream(PEER._replace(port=number + 1), hear(number))
        next(talker)
        talkers.append(talker)
    for number, talker in enumerate(talkers):
        talker.send(b"m%d : hello\n" % number)
    assert not posts
    turns.end()
    assert max(posts.values()) == 1
    for number in range(100):
        expected = [f"* m{one} has joined\nm{one} : hello\n" for one in range(100) if one != number]
        assert heard[number].decode() == "".join(expected)
    turns.end()
    assert max(posts.values()) == 1


def test_lines_of_one_turn_are_delivered_before_they_are_more_than_a_queue_takes() -> None:
    turns = Turns()
    room = build(Chat, turns.context, announce=False)
    posted: list[bytes] = []
    hears = room.stream(PEER._replace(port=1), lambda data: not posted.append(data))  # type: ignore[func-returns-value]
    next(hears)
    speakers = [room.stream(PEER._replace(port=number + 2), lambda data: True) for number in range(20)]
    for speaker in speakers:
        next(speaker)
        speaker.send(b"x" * 4000 + b"\n")
    assert len(posted) == 2, "before the turn ends"
    turns.end()
    assert max(map(len, posted)) <= 32768
    assert b"".join(posted).count(b"x" * 4000) == 20


def test_member_that_joins_in_a_turn_gets_no_line_from_before_and_none_twice() -> None:
    turns = Turns()
    room = build(Chat, turns.context, announce=False, history=10)
    alex = Talker(room)
    alex.say("alex : one")
    bob, eve = Talker(room, PEER._replace(port=2)), Mailer(room)
    eve.send("")
    alex.say("two")
    turns.end()
    assert bob.read() == ["alex : one", "alex : two"]
    assert eve.read() == ["alex : one", "ok", "alex : two"]
    assert alex.read() == []


def test_answer_with_the_news_has_those_of_the_same_turn() -> None:
    turns = Turns()
    room = build(Chat, turns.context, announce=False, push=False)
    eve, alex = Mailer(room), Talker(room)
    eve.send("")
    alex.say("alex : hello")
    eve.send("")
    assert eve.read() == ["ok", "alex : hello"]
    turns.end()
    eve.send("")
    assert eve.read() == ["ok"]
