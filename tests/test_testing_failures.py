"""Scripts that fail, warn, or cannot be: a step that differs, output without a step, an object that is no service."""

from collections.abc import Callable
from socketserver import StreamRequestHandler
from typing import Any

import pytest

from netd.contract import Conversation, Receive, WaitingConversation
from netd.peer import Peer
from netd.services.chargen import Chargen
from netd.services.service_type import DeclarationError
from netd.testing import Script, build, script
from tests.support.scripted import Reverse, Room, Says, Slow, failure


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


def test_receive_with_a_wrong_field_is_the_error_of_the_step() -> None:
    class Wrong:
        def stream(self, peer: Peer) -> WaitingConversation:
            yield Receive("30")  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="the seconds of a Receive are a number or None, not '30'"):
        script(Wrong())
