"""Scripts of conversations, datagrams, and the context that services have in tests."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netd.contract import Conversation, Post
from netd.peer import Peer
from netd.services.echo import Echo
from netd.testing import NOW, PEER, UDP_PEER, build, context, datagram, script
from tests.support.scripted import Patient, Reverse, Room, Says, Slow, failure

ROOT = Path(__file__).parents[1]


def test_script_states_what_is_answered_to_what() -> None:
    reverse = build(Reverse, greeting="hi\r\n")
    begun = script(reverse).sends(b"hi\r\n")
    begun.receives(b"ab\ncd\n").sends(b"ba\ndc\n").receives(b"e").receives(b"f\r\n").sends(b"fe\r\n")
    begun.receives(b"gh").receives_eof().sends(b"hg\r\n").ends()


def test_conversation_that_returns_ends() -> None:
    script(build(Reverse)).receives(b"ab\nq\n", b"never\n").sends(b"ba\n").ends().also_segmented()


def test_conversation_that_asks_after_the_end_of_file_ends_and_is_closed() -> None:
    asked = script(Says())
    asked.receives(b"x").receives_eof().ends()
    assert asked.ended


def test_error_of_the_peer_is_the_last_line() -> None:
    reverse = build(Reverse, context(line_limit=4))
    line = b"error: a line may have at most 4 octets\r\n"
    script(reverse).receives(b"ab\nlong one\n").sends(b"ba\n" + line).ends().also_segmented()
    assert datagram(reverse, b"longer") == b"error: too long\r\n"


def test_output_can_be_looked_at_and_counts_as_stated() -> None:
    looked = script(build(Reverse, greeting="hi "))
    assert looked.output() == b"hi "
    assert looked.receives(b"ab\n").output() == b"ba\n"
    assert looked.receives(b"q\n").ends().output() == b""


def test_wait_is_finished_by_the_test() -> None:
    slow = Slow()
    asked = script(slow).receives(b"x").sends(b"wait").waits().waits()
    slow.wait.finish()
    asked.sends(b"x").receives(b"y").sends(b"waity").receives_eof().ends()


def test_receive_times_out_where_the_script_says_so() -> None:
    begun = script(Patient()).sends(b"name? ").times_out().sends(b"well? ").times_out().sends(b"well? ")
    begun.receives(b"alex").sends(b"hello alex")
    assert begun.unanswered == "a name"
    assert "- times_out\n+ asks for input" in failure(begun.times_out)
    assert "- times_out\n+ sends          b'name? '" in failure(lambda: script(Patient()).times_out())
    assert "- times_out\n+ asks for input" in failure(lambda: script(Says()).times_out())
    with pytest.raises(ValueError, match="a script with times_out cannot be repeated"):
        script(Patient()).sends(b"name? ").times_out().sends(b"well? ").also_segmented()


def test_receive_after_the_end_of_file_ends_the_conversation() -> None:
    script(Patient()).sends(b"name? ").receives_eof().sends(b"hello ").ends()


def test_conversation_that_waits_receives_nothing() -> None:
    asked = script(Slow()).receives(b"x").sends(b"wait")
    assert "- receives       b'y'\n+ waits" in failure(lambda: asked.receives(b"y"))
    assert "- receives       b'y'\n+ sends          b'wait'\n+ waits" in failure(
        lambda: script(Slow()).receives(b"x", b"y")
    )
    assert "- receives_eof\n+ waits" in failure(asked.receives_eof)
    assert "- ends\n+ waits" in failure(asked.ends)
    assert "- waits\n+ sends          b'wait'\n+ waits" in failure(script(Slow()).receives(b"x").waits)


def test_conversation_that_takes_an_early_resumption_for_the_end_of_its_wait_fails() -> None:
    asked = script(Slow(early=True)).receives(b"x").sends(b"wait")
    assert "- waits\n+ sends          b'x'\n+ asks for input" in failure(asked.waits)


def test_posts_are_stated_in_their_order_among_what_is_sent() -> None:
    room = Room()
    alex, bob = script(room), script(room)
    alex.receives(b"hello").sends(b"ok done")
    bob.posts(b"hello")
    for post in room.posts:
        assert post(b"!")
        assert post(b"?")
    alex.posts(b"!?").posts(b"")
    assert "- receives       b'x'\n+ posts          b'!?'" in failure(lambda: bob.receives(b"x"))

    class Both:
        server_initiated = True

        def stream(self, peer: Peer, post: Post) -> Conversation:
            yield b"one"
            post(b"two")
            yield b"three"

    script(Both()).posts(b"").sends(b"one").posts(b"two").sends(b"three").ends()
    assert script(Both()).output() == b"onetwothree"
    assert "- posts          b'two'\n+ sends          b'one'" in failure(lambda: script(Both()).posts(b"two"))


def test_peer_that_does_not_read_loses_what_is_posted() -> None:
    room = Room()
    alex, bob = script(room), script(room)
    bob.peer_reads = False
    alex.receives(b"hello").sends(b"ok done")
    assert room.lost == bob.lost == 1
    bob.peer_reads = True
    alex.receives(b"again").sends(b"ok done")
    bob.posts(b"again")
    assert bob.lost == 1


def test_reset_closes_the_conversation() -> None:
    room = Room()
    alex, bob = script(room), script(room)
    alex.receives(b"hello").sends(b"ok done")
    post = room.posts[1]
    bob.receives_reset().ends()
    assert len(room.posts) == 1
    assert not post(b"late")
    assert bob.lost == 1
    script(Slow()).receives(b"x").receives_reset().ends()


def test_datagram_is_answered() -> None:
    reverse = build(Reverse)
    assert datagram(reverse, b"ab") == b"ba"
    assert datagram(reverse, b"") is None
    assert datagram(Room(), b"x") == b"guest"
    assert datagram(Room(), b"x", PEER, lambda data: True) == b"member"
    with pytest.raises(TypeError, match="Slow answers no datagrams"):
        datagram(Slow(), b"x")
    with pytest.raises(TypeError, match="bytes or None, not 'text'"):
        datagram(type("Wrong", (), {"datagram": lambda self, data, peer: "text"})(), b"x")


def test_context_is_the_same_in_each_run() -> None:
    one, other = context(), context()
    assert one.clock() == NOW
    assert one.random.random() == other.random.random() != context(seed=2).random.random()
    assert context(clock=lambda: 5.0, line_limit=16).clock() == 5.0
    assert build(Reverse)._context.clock() == NOW
    assert build(Reverse, context(line_limit=16))._context.line_limit == 16
    assert isinstance(build(Echo), Echo)


def test_options_are_checked_as_those_of_a_config() -> None:
    for options in ({"greting": "x"}, {"greeting": 7}):
        with pytest.raises(ValidationError):
            build(Reverse, **options)


def test_peer_is_the_one_that_is_given() -> None:
    class Introduction:
        def stream(self, peer: Peer) -> Conversation:
            yield peer.remote.encode()

        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return peer.transport.encode()

    script(Introduction()).sends(b"192.0.2.7:5353").ends()
    script(Introduction(), PEER._replace(port=5)).sends(b"192.0.2.7:5").ends().also_segmented()
    assert datagram(Introduction(), b"") == b"udp"
    assert datagram(Introduction(), b"", PEER) == b"tcp"
    assert UDP_PEER.host == PEER.host


def test_module_is_imported_by_no_other_and_imports_no_sockets() -> None:
    code = "import sys, netd.testing; print([name for name in sys.modules if name.startswith('netd.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not re.findall(r"netd\.(transport|daemon|config|admission|telemetry|client|cli)", done.stdout)
    for file in (ROOT / "netd").rglob("*.py"):
        if file.name != "testing.py":
            assert "netd.testing" not in file.read_text(), file


def test_example_of_the_documentation_passes() -> None:
    text = (ROOT / "docs" / "services.md").read_text()
    _, example = text.split("a test\nwithout sockets:\n")
    names: dict[str, Any] = {}
    exec(textwrap.dedent(example.partition("\nThe class may declare")[0]), names)
    names["test_lines_come_back_reversed"]()
