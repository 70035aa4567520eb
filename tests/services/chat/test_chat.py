"""chat without sockets: lines, datagrams, the answers to them, and the options."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from netd.errors import PeerError
from netd.peer import Peer
from netd.testing import PEER, UDP_PEER, datagram, script
from tests.services.chat.members import Mailer, Talker, chat
from tests.support.server import Server
from tests.support.services import service
from tests.transport.peers import client


def test_message_is_sent_to_all_other_members() -> None:
    room = chat()
    alex, bob, eve = Talker(room), Talker(room), Talker(room)
    alex.say("alex : hello")
    bob.say("bob: http://example.net: a page")
    alex.say("NB:x")
    assert alex.read() == ["bob : http://example.net: a page"]
    assert bob.read() == ["alex : hello", "alex : NB:x"]
    assert eve.read() == ["alex : hello", "bob : http://example.net: a page", "alex : NB:x"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("hello", "192.0.2.7:5353 : hello"),
        ("http://x", "192.0.2.7:5353 : http://x"),
        ("alex : hello", "alex : hello"),
        ("alex: hello", "alex : hello"),
        ("  alex :  hello  ", "alex : hello"),
        ("alex\t:\thello", "alex : hello"),
        ("älex : grüß dich", "älex : grüß dich"),
        ("alex  : hello", "192.0.2.7:5353 : alex  : hello"),
        ("alex :hello", "192.0.2.7:5353 : alex :hello"),
        ("two words : hello", "192.0.2.7:5353 : two words : hello"),
        (": hello", "192.0.2.7:5353 : : hello"),
        ("x" * 32 + " : hello", "x" * 32 + " : hello"),
        ("x" * 33 + " : hello", "192.0.2.7:5353 : " + "x" * 33 + " : hello"),
        ("a\u200db : hello", "192.0.2.7:5353 : a\u200db : hello"),
        ("a\x1b[31m\x00\x07b\x7f\x9b1\u202e\u2066!\u2028x", "192.0.2.7:5353 : ab1! x"),
        ("alex : q", "alex : q"),
        ("/etc/passwd", "192.0.2.7:5353 : /etc/passwd"),
    ],
)
def test_line_is_a_message_with_or_without_a_name(line: str, shown: str) -> None:
    room = chat()
    listener, mailed = Talker(room), Mailer(room, port=9)
    mailed.send("")
    Talker(room).say(line)
    assert listener.read() == [shown]
    assert mailed.read() == ["ok", shown]


def test_octets_that_are_no_text_are_shown_as_such() -> None:
    room = chat()
    listener = Talker(room)
    Talker(room).receive(b"a\x80b\xc3\n")
    assert listener.read() == ["192.0.2.7:5353 : a\ufffdb\ufffd"]


def test_name_alone_and_empty_line_are_no_messages() -> None:
    room = chat(announce=True)
    listener, alex = Talker(room), Talker(room)
    alex.say("alex :", "", "  ", "\x07", "bob :")
    assert listener.read() == []
    alex.say("hello")
    assert listener.read() == ["* bob has joined", "bob : hello"]


def test_line_that_only_looks_like_a_name_changes_none() -> None:
    room = chat(announce=True)
    listener = Talker(room)
    for alex in (Talker(room), Mailer(room, port=9)):
        say = alex.say if isinstance(alex, Talker) else alex.send
        for line in (
            "alex: hello",
            "warning: disk is full",
            "alex: it is",
            "Alex: I said",
            "warning: ",
            "warning : yes",
        ):
            say(line)
        say("q")
        assert listener.read() == [
            "* alex has joined",
            "alex : hello",
            "alex : warning: disk is full",
            "alex : it is",
            "alex : Alex: I said",
            "alex : warning:",
            "* alex is now warning",
            "warning : yes",
            "* warning has left",
        ]


def test_new_name_is_announced_with_the_first_message_under_it() -> None:
    room = chat(announce=True)
    listener, alex = Talker(room), Talker(room)
    alex.say("hello", "alex :", "bob :", "hi", "carol :")
    alex.end()
    assert listener.read() == [
        "* 192.0.2.7:5353 has joined",
        "192.0.2.7:5353 : hello",
        "* 192.0.2.7:5353 is now bob",
        "bob : hi",
        "* bob has left",
    ]


def test_member_leaves_with_a_command_or_at_the_end_of_file() -> None:
    for leave in (lambda t: t.say("q"), lambda t: t.say("bye "), Talker.end, Talker.reset):
        room = chat(announce=True)
        listener, alex = Talker(room), Talker(room)
        alex.say("alex : hello")
        assert alex.read() == ["* here: 1 other; q leaves"]
        listener.read()
        leave(alex)
        assert alex.over
        assert alex.read() in ([], ["* goodbye"])
        assert listener.read() == ["* alex has left"]
        listener.say("still here")
        assert alex.read() == []
        assert not listener.over


def test_member_that_does_not_read_the_farewell_has_left() -> None:
    room = chat(announce=True)
    alex = room.stream(PEER, lambda data: True)
    next(alex)
    listener = Talker(room)
    assert alex.send(b"alex : hello\nbye\n") == b"* here: 1 other; q leaves\n"
    assert next(alex) == b"* goodbye\n"
    assert listener.read() == ["* alex has joined", "alex : hello", "* alex has left"]


def test_conversation_yields_between_two_messages() -> None:
    room = chat()
    alex = room.stream(PEER, lambda data: True)
    next(alex)
    listener = Talker(room)
    assert alex.send(b"a : one\ntwo\n") == b""
    assert listener.read() == ["a : one"]
    assert next(alex) == b""
    assert listener.read() == ["a : two"]


def test_line_that_is_too_long_ends_only_the_connection_of_its_sender() -> None:
    room = chat(announce=True)
    listener, alex = Talker(room), Talker(room)
    alex.say("alex : hello", "x" * 4097)
    assert alex.over
    assert alex.read() == ["* here: 1 other; q leaves", "error: a line may have at most 4096 octets"]
    assert listener.read() == ["* alex has joined", "alex : hello", "* alex has left"]


def test_a_check_of_a_load_balancer_is_silent() -> None:
    room = chat(announce=True)
    listener = Talker(room)
    for leave in (Talker.end, Talker.reset, lambda t: t.say("q")):
        leave(Talker(room))
    assert listener.read() == []
    talker = Talker(room)
    talker.say("hello")
    assert listener.read() == ["* 192.0.2.7:5353 has joined", "192.0.2.7:5353 : hello"]


def test_lines_end_as_those_of_the_member() -> None:
    room = chat()
    new, lf, crlf, nul = script(room), script(room), script(room), script(room)
    lf.receives(b"a : 1\n")
    crlf.posts(b"a : 1\r\n").receives(b"b : 2\r\n")
    nul.posts(b"a : 1\r\nb : 2\r\n").receives(b"c : 3\r\0")
    new.posts(b"a : 1\r\nb : 2\r\nc : 3\r\n")
    lf.posts(b"b : 2\nc : 3\n")
    crlf.posts(b"c : 3\r\n")
    nul.posts(b"")
    mailed = Mailer(room)
    for message in ("a", "b\r\0", "c", "d\n"):
        mailed.send(message)
    for member, end in ((new, b"\r\n"), (lf, b"\n"), (crlf, b"\r\n"), (nul, b"\r\n")):
        member.posts(b"".join(b"192.0.2.7:5353 : " + text + end for text in (b"a", b"b", b"c", b"d")))
    assert mailed.received == [b"ok\n", b"ok\r\n", b"ok\r\n", b"ok\n"]


def test_chunks_are_messages_without_a_line_end() -> None:
    room = chat(framing="chunk")
    alex, bob = script(room), script(room)
    alex.receives(b"alex : hello").sends(b"ok\r\n")
    bob.posts(b"alex : hello\r\n").receives(b"bob : one\ntwo\n")
    alex.posts(b"bob : one two\r\n").receives(b"bye").sends(b"* goodbye\r\n").ends()


def test_member_that_sends_no_line_ends_gets_an_answer_to_each_message() -> None:
    room = chat(announce=True)
    alex = script(room).receives(b"hello").times_out().sends(b"* you are alone here; q leaves\r\n")
    alex.receives(b"alex : how are you?").times_out().sends(b"ok\r\n").receives(b"alex :").times_out().sends(b"ok\r\n")
    alex.receives(b"q").times_out().sends(b"* goodbye\r\n").ends()


def test_first_message_over_a_stream_is_answered_with_the_other_members() -> None:
    room = chat(announce=True)
    alex = Talker(room)
    alex.say("", "alex :", "/color off")
    assert alex.read() == ["* colors are off"], "no message yet"
    alex.say("hello", "hello?")
    assert alex.read() == ["* you are alone here; q leaves"]
    quiet, bob, carol = Talker(room), Mailer(room, port=1), Talker(room)
    bob.send("bob : hi")
    assert bob.read() == ["ok"]
    alex.read()
    carol.say("alex : it is me", "carol : it is me")
    assert [line for line in carol.read() if line.startswith("* that") or "here" in line] == [
        "* that name is taken",
        "* here: alex, bob, 1 other; q leaves",
    ]
    for number in range(9):
        Mailer(room, port=10 + number).send(f"m{number} : hi")
    quiet.say("hi")
    assert quiet.read()[-1] == "* here: alex, bob, carol, m0, m1, m2, m3, m4, 4 others; q leaves"


@pytest.mark.parametrize("farewell", ["alex : q", "alex: bye", "alex :  q "])
def test_member_leaves_with_its_own_name_before_the_farewell(farewell: str) -> None:
    room = chat()
    listener, alex, mailed = Talker(room), Talker(room), Mailer(room, port=9)
    alex.say("alex : hello", farewell)
    assert alex.over
    mailed.send("alex : me")
    mailed.send("eve : q")
    assert listener.read() == ["alex : hello", "alex : me", "eve : q"], "another name is a message"
    mailed.send("eve : q")
    mailed.send("eve : still me")
    assert mailed.read() == ["ok", "ok", "* goodbye", "ok"]


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


def test_a_line_is_no_longer_than_a_transport_can_post() -> None:
    room = service("chat", line_limit=2**20)
    listener, alex = script(room), script(room)
    alex.receives(b"x : " + b"\x80" * 16380 + b"\n")
    assert len(listener.output()) < 65536 - 64
    alex.sends(b"* here: 1 other; q leaves\n").receives(b"x" * 16385 + b"\n").sends(
        b"error: a line may have at most 16384 octets\r\n"
    ).ends()
    listener.posts(b"* x has left\r\n")
    with pytest.raises(PeerError, match="16384"):
        room.datagram(b"x" * 16385, PEER, lambda data: True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "unknown time zone 'Mars/Olympus'"),
        ({"timezone": "../../etc/passwd"}, "unknown time zone"),
        ({"timezone": ""}, "unknown time zone"),
        ({"format": "%Q"}, "unknown directive '%Q'"),
        ({"format": "%99999d"}, "unknown directive '%9'"),
        ({"format": "x" * 257}, "at most 256 characters"),
        ({"format": "a\nb"}, "printable characters"),
        ({"encoding": "rfc868", "format": "%H"}, "format: has no meaning with encoding: rfc868"),
        ({"encoding": "ntp"}, "'text' or 'rfc868'"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        service("time", **options)


def test_addresses_of_every_kind_stand_for_a_name() -> None:
    room = chat()
    listener = Talker(room)
    for peer in (Peer("tcp", "::1", 5), Peer("unixgram", "/tmp/a\x1b b"), Peer("unix", "")):
        room.datagram(b"x", peer, None)
    assert listener.read() == ["[::1]:5 : x", "/tmp/a\\x1b b : x", "unnamed : x"]


def test_a_named_line_changes_the_colors_too() -> None:
    script(service("chat", color="on")).receives(b"alex : /color off\n").sends(b"* colors are off\n")
