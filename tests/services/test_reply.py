"""reply, to a message and at once."""

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
