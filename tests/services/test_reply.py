"""reply, to a message and at once."""

from typing import Any

import pytest
from pydantic import ValidationError

from netd.testing import datagram, script
from tests.support.services import service


def test_reply_answers_the_first_message_and_closes() -> None:
    reply = service("reply")
    script(reply).receives(b"hello\n", b"again\n").sends(b"hi\n").ends()
    script(reply).receives(b"hello\r\n").sends(b"hi\r\n").ends()
    script(reply).receives(b"hello").sends(b"hi").ends()
    script(reply).receives_eof().ends()
    assert datagram(reply, b"hello\n") == b"hi\n"
    assert datagram(reply, b"") == b"hi"


def test_reply_is_sent_at_once_and_with_a_text_of_the_config() -> None:
    script(service("reply", when="connect")).sends(b"hi\r\n").ends()
    text = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
    script(service("reply", text=text)).receives(b"GET / HTTP/1.0\r\n\r\n").sends(text.encode()).ends()
    assert datagram(service("reply", text="grüß"), b"x") == "grüß".encode()


def test_reply_answers_each_message_where_it_repeats() -> None:
    reply = service("reply", repeat=True)
    script(reply).receives(b"hello\nagain\r\n").sends(b"hi\nhi\r\n").receives_eof().ends().also_segmented()
    script(reply).receives(b"hello").times_out().sends(b"hi").receives(b"x").times_out().sends(
        b"hi"
    ).receives_eof().ends()
    chunks = script(service("reply", repeat=True, framing="chunk", text="ok\n"))
    chunks.receives(b"a").sends(b"ok\n").receives(b"b").sends(b"ok\n").receives_eof().ends()
    script(service("reply", repeat=True, when="connect")).sends(b"hi\r\n").receives(b"a\n").sends(b"hi\n")


def test_reply_is_an_agent_of_haproxy() -> None:
    script(service("reply", text="up 75%\n", when="connect")).sends(b"up 75%\n").ends()
    script(service("reply", text="maint\n")).receives(b"state?\r\n").sends(b"maint\n").ends()


@pytest.mark.parametrize("option", [{"framing": "line"}, {"pause": "1s"}])
def test_framing_without_repeat_has_no_meaning(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(option))}: has no meaning without repeat: true"):
        service("reply", **option)
