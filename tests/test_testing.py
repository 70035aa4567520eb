"""Scripts of conversations: steps that pass, and steps that fail, with their messages."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from socketserver import StreamRequestHandler
from typing import Any

import pytest
from pydantic import ValidationError

from netd.contract import Context, Conversation, Post, Receive, Wait, WaitingConversation
from netd.errors import PeerError
from netd.lines import Lines
from netd.peer import Peer
from netd.services.chargen import Chargen
from netd.services.echo import Echo
from netd.services.service_type import DeclarationError
from netd.testing import NOW, PEER, UDP_PEER, Script, build, context, datagram, script
from netd.values import Model

ROOT = Path(__file__).parents[1]


class Reverse:
    class Options(Model):
        """Options of ``reverse``."""

        greeting: str = ""
        """What is sent at the beginning."""

    def __init__(self, options: Options, context: Context) -> None:
        self._greeting = options.greeting.encode()
        self._context = context

    def stream(self, peer: Peer) -> Conversation:
        if self._greeting:
            yield self._greeting
        lines = Lines(self._context.line_limit)
        while (line := (yield from lines.read())) != b"q":
            if line is None:
                return
            yield line[::-1]
            yield lines.terminator

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        if len(data) > self._context.line_limit:
            raise PeerError("too long")
        return data[::-1] or None


class Room:
    """Posts each segment to all other members."""

    server_initiated = True

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.lost = 0

    def stream(self, peer: Peer, post: Post) -> Conversation:
        self.posts.append(post)
        try:
            while data := (yield None):
                yield b"ok "
                self.lost += [other(data) for other in self.posts if other is not post].count(False)
                yield b"done"
        finally:
            self.posts.remove(post)

    def datagram(self, data: bytes, peer: Peer, post: Post | None) -> bytes | None:
        return b"member" if post else b"guest"


class Slow:
    """Answers once the wait for it is finished."""

    def __init__(self, *, early: bool = False) -> None:
        self.wait = Wait()
        self._early = early

    def stream(self, peer: Peer) -> WaitingConversation:
        while data := (yield None):
            yield b"wait"
            while not self.wait.done:
                yield self.wait
                if self._early:
                    break
            yield data


class Says:
    """Yields this, and asks for input for ever."""

    def __init__(self, *words: Any) -> None:
        self._words = words

    def stream(self, peer: Peer) -> Conversation:
        yield from self._words
        while True:
            yield None


def failure(run: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        run()
    return str(caught.value)


def test_handler_has_a_socket_and_is_tested_over_one() -> None:
    class Handler(StreamRequestHandler):
        pass

    def serve(request: object, client_address: object, server: object) -> None:
        pass

    for given in (Handler, serve):
        with pytest.raises(DeclarationError, match="it has a socket, and is tested over one"):
            build(given)  # type: ignore[arg-type]


def test_class_in_place_of_its_object_is_told() -> None:
    with pytest.raises(TypeError, match=r"expected an object, got a class; pass build\(Slow\)"):
        script(Slow)


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


def test_other_answer_fails_with_the_steps_and_the_difference() -> None:
    begun = script(build(Reverse, greeting="hi ")).sends(b"hi ")
    assert failure(lambda: begun.receives(b"abc\n").sends(b"cbx\n")).splitlines() == [
        "the conversation does not follow the script:",
        "",
        "  sends          b'hi '",
        "  receives       b'abc\\n'",
        "- sends          b'cbx\\n'",
        "+ sends          b'cba\\n'",
        "+ asks for input",
        "",
        "the first difference is at octet 2",
    ]


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (lambda s: s.receives(b"ab\n").receives(b"cd\n"), "- receives       b'cd\\n'\n+ sends          b'ba\\n'"),
        (lambda s: s.receives(b"ab\n").receives_eof(), "- receives_eof\n+ sends          b'ba\\n'"),
        (lambda s: s.receives(b"ab\n").sends(b"ba"), "the first difference is at octet 2"),
        (lambda s: s.receives(b"ab\n").sends(b"ba\n\n"), "the first difference is at octet 3"),
        (lambda s: s.receives(b"ab\n").sends(b""), "- sends          b''\n+ sends          b'ba\\n'"),
        (lambda s: s.receives(b"ab").sends(b"ba\n"), "- sends          b'ba\\n'\n+ asks for input"),
        (lambda s: s.receives(b"ab\n").posts(b"ba\n"), "- posts          b'ba\\n'\n+ sends          b'ba\\n'"),
        (lambda s: s.ends(), "- ends\n+ asks for input"),
        (lambda s: s.receives(b"ab\n").ends(), "- ends\n+ sends          b'ba\\n'\n+ asks for input"),
        (lambda s: s.receives(b"ab").receives_eof().ends(), "- ends\n+ sends          b'ba\\r\\n'\n+ ends"),
        (lambda s: s.receives(b"q\n").receives(b"x\n"), "- receives       b'x\\n'\n+ ends"),
        (lambda s: s.receives_eof().receives_eof(), "  receives_eof\n- receives_eof\n+ ends"),
        (lambda s: s.waits(), "- waits\n+ asks for input"),
        (lambda s: s.receives(b"ab\n").also_segmented(), "- also_segmented\n+ sends          b'ba\\n'"),
    ],
)
def test_step_that_differs_fails(run: Callable[[Script], object], shown: str) -> None:
    assert shown in failure(lambda: run(script(build(Reverse))))


def test_long_octets_are_shown_without_their_middle() -> None:
    shown = failure(lambda: script(build(Reverse)).receives(b"a" * 2000 + b"b" * 2000 + b"\n").sends(b"x"))
    assert max(map(len, shown.splitlines())) < 500
    assert "b'aaaa" in shown
    assert "bbbb\\n' (4001 octets)" in shown


def test_output_that_no_step_states_is_a_warning() -> None:
    with pytest.warns(ResourceWarning, match=r"no step of the script states: sends +b'ba\\n'"):
        script(build(Reverse)).receives(b"ab\n")


def test_post_that_no_step_states_is_a_warning_at_once() -> None:
    room = Room()
    member = script(room)
    assert room.posts[0](b"hello")
    with pytest.warns(ResourceWarning, match="no step of the script states: posts +b'hello'"):
        del member
    assert room.posts == []


def test_failure_is_not_warned_of_again(recwarn: pytest.WarningsRecorder) -> None:
    failure(lambda: script(build(Reverse)).receives(b"ab\n").sends(b"x"))
    script(build(Reverse)).receives(b"ab\n").sends(b"ba\n")
    script(build(Reverse)).receives(b"ab\n").receives_reset()
    script(build(Reverse)).receives(b"ab\n").output()
    assert not recwarn.list


def test_output_can_be_looked_at_and_counts_as_stated() -> None:
    looked = script(build(Reverse, greeting="hi "))
    assert looked.output() == b"hi "
    assert looked.receives(b"ab\n").output() == b"ba\n"
    assert looked.receives(b"q\n").ends().output() == b""


def test_same_script_holds_in_all_segments() -> None:
    script(build(Reverse)).receives(b"ab\r\ncd\r\n").sends(b"ba\r\ndc\r\n").receives(b"e").receives_eof().sends(
        b"e\r\n"
    ).ends().also_segmented()


class Chunky:
    """Answers each segment that is longer than one octet, so that it matters where the input is cut."""

    def __init__(self, shortest: int) -> None:
        self._shortest = shortest

    def stream(self, peer: Peer) -> Conversation:
        while data := (yield None):
            if len(data) >= self._shortest:
                yield b"."


def test_service_for_which_segments_matter_fails() -> None:
    whole = script(Chunky(3)).receives(b"abc").sends(b".")
    assert "  receives       b'a' b'bc'\n- sends          b'.'" in failure(whole.also_segmented)
    one = script(Chunky(1)).receives(b"a").sends(b".").receives_eof().ends().also_segmented()
    assert one.ended
    counted = script(Chunky(2)).receives(b"abcd").sends(b".")
    assert "  receives       b'a' b'bcd'" not in failure(counted.also_segmented), "two cuts give the same answer"


def test_each_octet_of_each_step_is_a_cut_and_all_octets_come_alone() -> None:
    came: list[list[bytes]] = []

    class Listening:
        def stream(self, peer: Peer) -> Conversation:
            came.append([])
            while data := (yield None):
                came[-1].append(data)

    script(Listening()).receives(b"abc").receives(b"d", b"e").receives_eof().ends().also_segmented()
    assert came == [
        [b"abc", b"d", b"e"],
        [b"a", b"bc", b"d", b"e"],
        [b"ab", b"c", b"d", b"e"],
        [b"abc", b"d", b"e"],
        [b"a", b"b", b"c", b"d", b"e"],
    ]


def test_end_that_depends_on_segments_fails() -> None:
    class Ends:
        """Ends at the first segment of three octets."""

        def stream(self, peer: Peer) -> Conversation:
            while len((yield None)) != 3:
                pass

    assert "- ends\n+ asks for input" in failure(script(Ends()).receives(b"abc").also_segmented)
    script(Ends()).receives(b"ab").also_segmented()


def test_wait_is_finished_by_the_test() -> None:
    slow = Slow()
    asked = script(slow).receives(b"x").sends(b"wait").waits().waits()
    slow.wait.finish()
    asked.sends(b"x").receives(b"y").sends(b"waity").receives_eof().ends()


class Patient:
    """Asks again where no answer comes in time."""

    def stream(self, peer: Peer) -> WaitingConversation:
        yield b"name? "
        while (data := (yield Receive(30.0))) is None:
            yield b"well? "
        yield b"hello " + data
        yield Receive(None, "a name")


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


def test_script_that_is_more_than_input_and_answers_cannot_be_repeated() -> None:
    asked = script(Slow()).receives(b"x").sends(b"wait").waits()
    with pytest.raises(ValueError, match="a script with waits cannot be repeated"):
        asked.also_segmented()


def test_bug_of_the_service_is_raised_as_it_is() -> None:
    class Broken:
        def stream(self, peer: Peer) -> Conversation:
            yield b"x"
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        script(Broken())


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (Says("text"), "yields bytes, None, Receive or Wait, not 'text'"),
        (Says(bytearray(b"x")), "yields bytes, None, Receive or Wait, not bytearray"),
        (type("Silent", (), {"stream": lambda self, peer: None})(), "no generator"),
        (type("Mail", (), {"datagram": lambda self, data, peer: None})(), "Mail holds no conversation"),
        (type("Thread", (), {"handler": lambda self, *it: None})(), "Thread holds no conversation"),
    ],
)
def test_object_that_a_transport_refuses_is_an_error(service: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        script(service)


def test_misspelt_declaration_is_an_error() -> None:
    service = type("Misspelt", (), {"stream": lambda self, peer: None, "server_initiatd": True})
    with pytest.raises(DeclarationError, match="did you mean 'server_initiated'"):
        script(service())
    with pytest.raises(DeclarationError, match="did you mean 'server_initiated'"):
        build(service)


def test_post_of_something_else_than_bytes_is_an_error() -> None:
    room = Room()
    _member = script(room)
    with pytest.raises(TypeError, match="what is posted is bytes, not 'text'"):
        room.posts[0]("text")  # type: ignore[arg-type]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("service", [build(Chargen), Says(*[b""] * (2**20 + 1))], ids=["octets", "pieces"])
def test_conversation_without_end_fails_and_does_not_hang(service: Any) -> None:
    assert "sends without end" in failure(lambda: script(service))


def test_empty_segment_is_an_error() -> None:
    with pytest.raises(ValueError, match="receives_eof"):
        script(Says()).receives(b"x", b"")


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


def test_receive_with_a_wrong_field_is_the_error_of_the_step() -> None:
    class Wrong:
        def stream(self, peer: Peer) -> WaitingConversation:
            yield Receive("30")  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="the seconds of a Receive are a number or None, not '30'"):
        script(Wrong())
