"""pingpong, by line, by chunk and by datagram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PEER, converse, service

ANSWERS = [
    (b"ping", b"pong"),
    (b"ping 42", b"pong 42"),
    (b"PING 42", b"pong 42"),
    (b"ping  a  b ", b"pong  a  b "),
    (b"ping ", b"pong "),
    (b"hello", b"pong"),
    (b"pinging", b"pong"),
    (b"", b"pong"),
]


@pytest.mark.parametrize(("message", "answer"), ANSWERS)
def test_answers(message: bytes, answer: bytes) -> None:
    pingpong = service("pingpong")
    for end in (b"\n", b"\r\n"):
        assert converse(pingpong.stream(PEER), [message + end]) == answer + end
        assert pingpong.datagram(message + end, PEER) == answer + end
    assert pingpong.datagram(message, PEER) == answer
    if message:
        assert converse(service("pingpong", framing="chunk").stream(PEER), [message]) == answer


@given(st.lists(st.sampled_from(ANSWERS)), st.sampled_from([b"\n", b"\r\n", b"\r\0"]), st.data())
def test_segments_do_not_matter(pairs: list[tuple[bytes, bytes]], end: bytes, data: st.DataObject) -> None:
    whole = b"".join(message + end for message, _ in pairs)
    cut = data.draw(st.integers(0, len(whole)))
    answer_end = b"\n" if end == b"\n" else b"\r\n"
    said = converse(service("pingpong").stream(PEER), [piece for piece in (whole[:cut], whole[cut:]) if piece])
    assert said == b"".join(answer + answer_end for _, answer in pairs)


def test_a_line_above_the_limit_is_one_error_line_and_the_end() -> None:
    said = converse(service("pingpong", line_limit=8).stream(PEER), [b"ping 1\n", b"x" * 9, b"\nping 2\n"])
    assert said == b"pong 1\nerror: a line may have at most 8 octets\r\n"
