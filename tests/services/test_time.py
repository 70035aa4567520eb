"""time, in both encodings."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netd.testing import NOW, PEER, datagram, script
from tests.support.services import service

HELP = b"error: expected an empty line (now)"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"", b"2023-11-14 22:13:20"),
        (b"   ", b"2023-11-14 22:13:20"),
        (b"%H:%M", b"22:13"),
        (b"%Y-%m-%d %H:%M:%S", b"2023-11-14 22:13:20"),
        (b"it is %-d. %B, 100%%", b"it is 14. November, 100%"),
        (b"%s", b"1700000000"),
        (b"%H\xe6\x97\xb6", b"22\xe6\x97\xb6"),
        (b"0", b"1970-01-01 00:00:00"),
        (b"-1", b"1969-12-31 23:59:59"),
        (b"1700000000.75", b"2023-11-14 22:13:20"),
        (b" 86400 ", b"1970-01-02 00:00:00"),
    ],
)
def test_time_answers_questions(question: bytes, answer: bytes) -> None:
    time = service("time")
    assert datagram(time, question) == answer
    assert datagram(time, question + b"\n") == answer + b"\n"
    begun = script(time).receives(question + b"\r\n").sends(answer + b"\r\n")
    begun.receives_eof().ends().also_segmented()


@pytest.mark.parametrize(
    "question",
    [
        b"hello",
        b"%",
        b"%Q",
        b"%1000000000d",
        b"%010Y",
        b"%n",
        b"%E",
        b"%EY",
        b"\xff%H",
        b"%H\x1b[31m",
        b"%H" * 200,
        b"99999999999999",
        b"-99999999999999",
        b"1e5",
        b"1" * 4000,
        b"0x10",
    ],
)
def test_time_answers_other_questions_with_its_usage(question: bytes) -> None:
    time = service("time")
    answer = time.datagram(question, PEER)
    assert answer.startswith(HELP)
    short = time.truncate(answer, 64)
    assert short.startswith(b"error: expected an empty line")
    assert len(short) <= 64
    # The conversation continues.
    asked = script(time).receives(question + b"\n")
    assert asked.output().startswith(HELP)
    asked.receives(b"%H\n").sends(b"22\n").receives_eof().ends()


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="%aAbBcdDeFHIjmMpQSTUVwWxXyYzZfsnt-0129 ", max_size=300)))
def test_no_question_costs_memory_or_fails(question: bytes | str) -> None:
    answer = service("time").datagram(question if isinstance(question, bytes) else question.encode(), PEER)
    assert len(answer) <= 256 * 32
    assert b"\n" not in answer.rstrip(b"\r\n")


def test_time_in_a_zone_of_its_own() -> None:
    time = service("time", timezone="Asia/Shanghai", format="%H:%M %Z")
    script(time).receives(b"0\n\n").sends(b"08:00 CST\n06:13 CST\n").receives_eof().ends()


def test_time_with_chunk_framing_answers_without_a_newline() -> None:
    begun = script(service("time", framing="chunk")).receives(b"%H").sends(b"22").receives(b"%M").sends(b"13")
    begun.receives(b"0\r\n").sends(b"1970-01-01 00:00:00\r\n").receives_eof().ends()


@pytest.mark.parametrize("framing", ["auto", "line", "chunk"])
def test_greeting_waits_for_a_pause_and_a_client_that_asks_at_once_gets_none(framing: str) -> None:
    now = b"2023-11-14 22:13:20\r\n"
    time = service("time", framing=framing)
    script(time).times_out().sends(now).receives(b"%H\n").sends(b"22\n").receives_eof().ends()
    script(time).receives(b"%H\n").sends(b"22\n").receives(b"%M\n").sends(b"13\n").receives_eof().ends()
    script(time).receives_eof().sends(now).ends()
    always, never = service("time", framing=framing, greeting=True), service("time", framing=framing, greeting=False)
    script(always).sends(now).receives(b"%H\n").sends(b"22\n").receives_eof().ends()
    script(never).receives(b"%H\n").sends(b"22\n").receives_eof().ends()
    script(never).receives_eof().ends()


def test_program_that_sends_no_line_end_gets_the_answers_to_its_questions_alone() -> None:
    begun = script(service("time"))
    for question, answer in ((b"%H", b"22"), (b"1700000000", b"2023-11-14 22:13:20"), (b"0", b"1970-01-01 00:00:00")):
        begun.receives(question).times_out().sends(answer)


@pytest.mark.parametrize(
    ("unix", "octets"),
    [
        (-2_208_988_800, 0),
        (0, 2_208_988_800),
        (NOW, 3_908_988_800),
        (2_085_978_495, 2**32 - 1),
        (2_085_978_496, 0),  # 2036-02-07 06:28:16 UTC
        (2_085_978_497.9, 1),
    ],
)
def test_rfc868_counts_from_1900_modulo_2_to_the_32(unix: float, octets: int) -> None:
    time = service("time", clock=lambda: unix, encoding="rfc868")
    script(time).sends(octets.to_bytes(4)).ends()
    assert datagram(time, b"") == octets.to_bytes(4)


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
        ({"encoding": "rfc868", "greeting": False}, "greeting: has no meaning with encoding: rfc868"),
        ({"encoding": "ntp"}, "'text' or 'rfc868'"),
        ({"greeting": "never"}, "True, False or 'auto'"),
        ({"pause": "50ms"}, "greater than or equal to 0.1"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        service("time", **options)


def test_time_follows_the_clock() -> None:
    ticks = iter([0.0, 60.0, 120.0])
    time = service("time", clock=lambda: next(ticks), format="%M")
    script(time).receives(b"\n\n\n").sends(b"00\n01\n02\n").receives_eof().ends()


QUESTIONS = [b"", b" ", b"%H:%M:%S", b"%S.%f", b"%f", b"%%f", b"%s", b"1700000000.5", b"nonsense", b"%Q", b"%S" * 100]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3600.0, -1.5]), st.sampled_from(QUESTIONS))))
def test_repeated_question_is_answered_as_if_it_were_new(script: list[tuple[float, bytes]]) -> None:
    now = [NOW]
    old = service("time", clock=lambda: now[0], timezone="Asia/Shanghai")
    for seconds, question in script:
        now[0] += seconds
        new = service("time", clock=lambda: now[0], timezone="Asia/Shanghai")
        assert old.datagram(question, PEER) == new.datagram(question, PEER)


def test_distinct_questions_take_no_memory() -> None:
    time = service("time")
    for number in range(1000):
        assert time.datagram(b"%d" % number, PEER).startswith(b"1970-01-01 0")
        assert len(time._cache.answers(NOW)) <= 64
