"""chat over streams without sockets: lines, names, answers."""

import pytest

from netd.errors import PeerError
from netd.testing import PEER, script
from tests.services.chat.members import Mailer, Talker, chat
from tests.support.services import service


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


def test_a_named_line_changes_the_colors_too() -> None:
    script(service("chat", color="on")).receives(b"alex : /color off\n").sends(b"* colors are off\n")
