"""pingpong, by line, by chunk and by datagram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.testing import datagram, script
from tests.support.services import service

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
        script(pingpong).receives(message + end).sends(answer + end).receives_eof().ends()
        assert datagram(pingpong, message + end) == answer + end
    assert datagram(pingpong, message) == answer
    if message:
        script(service("pingpong", framing="chunk")).receives(message).sends(answer).receives_eof().ends()


def test_program_without_line_ends_is_answered_after_a_pause() -> None:
    begun = script(service("pingpong"))
    for message, answer in ANSWERS:
        if message:
            begun.receives(message).times_out().sends(answer)
    begun = script(service("pingpong", framing="line")).receives(b"ping 1").times_out()
    begun.receives(b"\n").sends(b"pong 1\n").receives_eof().ends()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\0"])
def test_segments_do_not_matter(end: bytes) -> None:
    begun = script(service("pingpong"))
    for message, answer in ANSWERS:
        begun.receives(message + end).sends(answer + (b"\n" if end == b"\n" else b"\r\n"))
    begun.receives_eof().ends().also_segmented()


@given(st.lists(st.sampled_from(ANSWERS), min_size=1), st.sampled_from([b"\n", b"\r\n", b"\r\0"]))
def test_lines_in_one_segment_are_answered_one_by_one(pairs: list[tuple[bytes, bytes]], end: bytes) -> None:
    answer_end = b"\n" if end == b"\n" else b"\r\n"
    script(service("pingpong")).receives(b"".join(message + end for message, _ in pairs)).sends(
        b"".join(answer + answer_end for _, answer in pairs)
    ).receives_eof().ends().also_segmented()


def test_a_line_above_the_limit_is_one_error_line_and_the_end() -> None:
    begun = script(service("pingpong", line_limit=8)).receives(b"ping 1\n").sends(b"pong 1\n")
    begun.receives(b"x" * 9, b"\nping 2\n").sends(
        b"error: a line may have at most 8 octets\r\n"
    ).ends().also_segmented()
