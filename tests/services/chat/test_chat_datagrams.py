"""chat over datagrams without sockets: answers, posts, news that wait for an answer."""

from netd.peer import Peer
from netd.testing import UDP_PEER, datagram
from tests.services.chat.members import Mailer, Talker, chat
from tests.support.server import Server
from tests.transport.peers import client


def test_colours_in_a_message_and_in_a_name_are_removed() -> None:
    room = chat()
    listener = Talker(room)
    Mailer(room).send("\x1b[1;33;42malex : hi\x1b[0m there\x9b7m\x1b[2J\x1b[?25l!")
    assert listener.read() == ["alex : hi there!"]


def test_without_push_an_answer_is_all_that_is_sent_over_datagrams() -> None:
    room = chat(push=False, history=1, announce=True)
    alex = Talker(room)
    alex.say("alex : anybody here?")
    ann, ben = Mailer(room), Mailer(room, host="192.0.2.8")
    ann.send("ann : I am")
    assert ann.received == [b"alex : anybody here?\n"]
    ben.send("ben : x")
    alex.say("hello")
    assert len(ann.received) == 1
    ann.send("ann : what?")
    ann.send("ann : nothing?")
    ben.send("ann : q")
    ben.send("q")
    assert ann.received[1:] == [b"* ben has joined\nben : x\nalex : hello\n", b"ok\n"]
    assert ben.received[1:] == [b"alex : hello\nann : what?\nann : nothing?\n* that name is taken\n", b"* goodbye\n"]
    assert ann.posted == ben.posted == 0


def test_news_that_do_not_fit_into_an_answer_come_with_the_next_ones(server: Server) -> None:
    address, _ = server.add(chat(push=False), "udp://127.0.0.1:0")
    sent = [f"alex : {number} {'x' * length}".encode() for number, length in enumerate((54, 1, 20, 3, 40, 54))]
    with client(address) as alex, client(address) as bob:
        for data, sock in [(b"bob : hi", bob), *((line, alex) for line in sent)]:
            sock.send(data + b"\n")
            assert sock.recv(2048)
        got = b""
        while got.count(b"\n") < len(sent):
            bob.send(b"and?\n")
            answer = bob.recv(2048)
            assert answer != b"ok\n", "some are missing"
            assert len(answer) <= 64
            got += answer
    assert got.splitlines() == sent


def test_message_that_fits_into_no_answer_is_cut_and_the_next_ones_follow() -> None:
    room = chat(push=False)
    ann, alex = Mailer(room), Talker(room)
    ann.send("ann : hi")
    alex.say("alex : " + "x" * 100, "two")
    answer = datagram(room, b"and?\n", UDP_PEER, ann.post)
    assert answer is not None
    shown = room.truncate(answer, 64)
    assert len(shown) <= 64
    assert shown.startswith(b"alex : xxx")
    ann.received.clear()
    ann.send("more?")
    assert ann.received == [b"alex : two\n"]


def test_answer_with_the_last_message_has_each_message_once_without_push() -> None:
    room = chat(push=False, answer="last")
    ann, alex = Mailer(room), Talker(room)
    ann.send("ann : hi")
    alex.say("alex : one", "two")
    for _ in range(2):
        ann.send("ann : and?")
    assert ann.received == [b"ok\n", b"alex : one\nalex : two\n", b"alex : two\n"]


def test_push_can_be_switched_at_a_reload() -> None:
    before = chat()
    ann, alex = Mailer(before), Talker(before)
    ann.send("ann : hi")
    room = chat(push=False)
    room.take_over(before)
    ann.chat = room
    alex.say("alex : one")
    assert ann.read() == ["ok", "alex : one"], "it is a member with a post until its next datagram"
    ann.send("ann : hi")
    alex.say("two")
    assert ann.read() == ["ok"]
    again = chat()
    again.take_over(room)
    ann.chat = again
    ann.send("ann : hi")
    alex.say("three")
    assert ann.read() == ["ok", "alex : three"]


def test_datagrams_and_streams_share_the_room() -> None:
    room = chat(announce=True)
    alex, bob, eve = Talker(room), Mailer(room, port=1), Mailer(room, port=2)
    bob.send("bob : hello")
    eve.send("eve: hi\r\n")
    alex.say("alex : welcome")
    assert alex.read() == [
        "* bob has joined",
        "bob : hello",
        "* eve has joined",
        "eve : hi",
        "* here: bob, eve; q leaves",
    ]
    assert bob.received == [b"ok\n", b"* eve has joined\n", b"eve : hi\n", b"* alex has joined\n", b"alex : welcome\n"]
    assert eve.received == [b"ok\r\n", b"* alex has joined\r\n", b"alex : welcome\r\n"]
    alex.read()
    bob.received.clear()
    bob.send("q")
    assert bob.received == [b"* goodbye\n"]
    assert alex.read() == ["* bob has left"]
    eve.send("still there")
    assert bob.read() == ["* goodbye"]


def test_farewell_of_an_unknown_sender_is_answered_and_not_shown() -> None:
    room = chat(history=10)
    alex = Talker(room)
    alex.say("hello")
    bob = Mailer(room)
    bob.send("bye\r\n")
    assert bob.received == [b"* goodbye\r\n"]
    assert alex.read() == []


def test_answer_may_be_the_last_message_of_another_member() -> None:
    room = chat(answer="last")
    bob = Mailer(room)
    bob.send("bob : anybody here?")
    assert bob.read() == ["ok"]
    alex = Talker(room)
    alex.say("alex : yes", "me")
    bob.received.clear()
    bob.send("fine")
    bob.send("fine")
    assert bob.read() == ["alex : me", "alex : me"]


def test_an_answer_is_shortened_in_whole_characters() -> None:
    room = chat(answer="last", color="on")
    Talker(room).say("alex : " + "é" * 100)
    answer = room.datagram(b"x\r\n", Peer("udp", "192.0.2.7", 1), lambda data: True)
    assert answer.startswith(b"\x1b[")
    for most in (64, 65, 200):
        short = room.truncate(answer, most)
        assert len(short) <= most
        assert short.endswith("é\r\n".encode())
        assert short.decode().startswith("alex : é")
    assert room.truncate(answer, 512) == answer


def test_addresses_of_every_kind_stand_for_a_name() -> None:
    room = chat()
    listener = Talker(room)
    for peer in (Peer("tcp", "::1", 5), Peer("unixgram", "/tmp/a\x1b b"), Peer("unix", "")):
        room.datagram(b"x", peer, None)
    assert listener.read() == ["[::1]:5 : x", "/tmp/a\\x1b b : x", "unnamed : x"]
