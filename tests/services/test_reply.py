"""reply, to a message and at once."""

from tests.support import PEER, converse, service


def test_reply_answers_the_first_message_and_closes() -> None:
    reply = service("reply")
    assert converse(reply.stream(PEER), [b"hello\n", b"again\n"]) == b"hi\n"
    assert converse(reply.stream(PEER), [b"hello\r\n"]) == b"hi\r\n"
    assert converse(reply.stream(PEER), [b"hello"]) == b"hi"
    assert converse(reply.stream(PEER), []) == b""
    assert reply.datagram(b"hello\n", PEER) == b"hi\n"
    assert reply.datagram(b"", PEER) == b"hi"


def test_reply_unasked_and_with_a_text_of_its_own() -> None:
    assert converse(service("reply", when="connect").stream(PEER), []) == b"hi\r\n"
    text = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
    assert converse(service("reply", text=text).stream(PEER), [b"GET / HTTP/1.0\r\n\r\n"]) == text.encode()
    assert service("reply", text="grüß").datagram(b"x", PEER) == "grüß".encode()
