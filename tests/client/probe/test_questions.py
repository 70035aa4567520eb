import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.client.probe.questions import (
    SERVICES,
    Daytime,
    Echo,
    PingPong,
    Plain,
    Rfc868,
    Tagged,
    TextEcho,
    TextTime,
    describe_wrong,
    find_question,
    usual_service,
)
from netd.testing import NOW, PEER, script
from tests.support.services import service

RUN = 0x1234ABCD
EPOCH = 2_208_988_800
numbers = st.integers(0, 2**63)
moments = st.integers(0, 2**63 - 1)


def tagged() -> list[tuple[Tagged, object]]:
    """Questions, each with its service of netd."""
    return [
        (Echo(64, RUN), service("echo")),
        (TextEcho(64, RUN), service("echo")),
        (PingPong(64, RUN), service("pingpong")),
        (TextTime(RUN), service("time")),
    ]


@pytest.mark.parametrize(("question", "asked"), tagged())
@given(number=numbers, due=moments)
def test_answer_of_the_service_is_right_and_has_its_number(
    question: Tagged, asked: object, number: int, due: int
) -> None:
    answer = asked.datagram(question.question(number, due), PEER)  # type: ignore[attr-defined]
    assert question.number(answer) == number
    assert question.right(answer, number, due)
    assert question.length(bytearray(answer + b"more")) == len(answer) <= question.longest
    assert question.length(bytearray(answer[:-1])) == 0
    assert not question.right(answer, number + 1, due)
    assert not question.right(answer, number, due + 1)


@pytest.mark.parametrize("question", [question for question, _ in tagged()])
def test_answers_in_a_stream_are_separated(question: Tagged) -> None:
    name = {"Echo": "echo", "TextEcho": "echo", "PingPong": "pingpong", "TextTime": "time"}[type(question).__name__]
    asked = script(service(name, greeting=True) if question.greets else service(name))
    greeting = asked.output()
    assert (greeting.count(b"\n"), greeting[-1:]) == ((1, b"\n") if question.greets else (0, b""))
    assert question.number(greeting) is None
    asked.receives(*(question.question(number, number * 1000) for number in range(3)))
    received = bytearray(asked.output())
    for number in range(3):
        length = question.length(received)
        assert question.right(bytes(received[:length]), number, number * 1000)
        del received[:length]
    assert not received


@pytest.mark.parametrize(("question", "asked"), tagged())
@given(number=st.integers(0, 2**40), due=moments, place=st.integers(0, 200), mask=st.integers(1, 255))
def test_changed_octet_makes_an_answer_wrong(
    question: Tagged, asked: object, number: int, due: int, place: int, mask: int
) -> None:
    answer = bytearray(asked.datagram(question.question(number, due), PEER))  # type: ignore[attr-defined]
    place %= len(answer)
    answer[place] ^= mask
    changed = bytes(answer)
    # The seconds may have any value, and both line ends are right; all other octets are known.
    if question.clock(changed) is None and not changed.endswith(b"\r"):
        assert not question.right(changed, number, due)


@pytest.mark.parametrize(("question", "_"), tagged())
@given(answer=st.binary(max_size=100))
def test_arbitrary_octets_raise_nothing(question: Tagged, _: object, answer: bytes) -> None:
    question.number(answer)
    assert not question.right(answer, 0, 0) or answer.startswith(b"%08x 0 0 " % RUN)
    assert 0 <= question.length(bytearray(answer)) <= len(answer)


def test_questions_have_the_given_size() -> None:
    for size in (20, 21, 300, 1472, 65507):
        assert len(Echo(size, RUN).question(2**40, 2**50)) == size
    for size in (41, 300, 1472, 65507):
        question = TextEcho(size, RUN).question(2**40, 2**50)
        assert (len(question), question[-1:]) == (size, b"\n")
        assert question[:-1].decode().isprintable()
    for size in (64, 100, 4096):
        assert len(PingPong(size, RUN).question(10**12, 2**62)) == size


def test_text_time_has_the_seconds() -> None:
    answer = service("time").datagram(TextTime(RUN).question(7, 8), PEER)
    assert TextTime(RUN).clock(answer) == NOW


@given(st.floats(-(2**33), 2**34))
def test_rfc868_takes_the_nearest_era(now: float) -> None:
    seconds = int(now)
    answer = ((seconds + EPOCH) % 2**32).to_bytes(4)
    assert Rfc868().clock(answer, now) == seconds


def test_rfc868_answer_has_four_octets() -> None:
    answer = script(service("time", encoding="rfc868")).output()
    assert Rfc868().right(answer)
    assert Rfc868().clock(answer, NOW + 3) == NOW
    assert [Rfc868().right(bytes(length)) for length in (0, 3, 4, 5)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b"Tuesday, February 22, 1982 17:37:43-PST\r\n", True),
        (b"02 FEB 82 07:59:01 PST", True),
        ("mardi 22 février 1982\n".encode(), True),
        (b"", False),
        (b"\r\n", False),
        (b"no time at all\r\n", False),
        (b"two\r\nlines 12:00\r\n", False),
        (b"\x1b[2J12:00\r\n", False),
        (b"\xff12:00\r\n", False),
        (b"12:00 " + b"x" * 505 + b"\n", True),
        (b"12:00 " + b"x" * 506 + b"\n", False),
    ],
)
def test_daytime_answer_is_one_printable_line_with_a_digit(line: bytes, right: bool) -> None:
    assert Daytime().right(line) is right


def test_daytime_of_netd_is_right() -> None:
    assert Daytime().right(script(service("daytime")).output())


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_questions_over_streams(name: str) -> None:
    assert isinstance(find_question(name, 64, streams=True, random=random.Random(1)), Tagged | Plain)


@pytest.mark.parametrize(
    ("name", "size", "streams"),
    [("echo", 40, True), ("echo", 65508, False), ("echo", 2**20 + 1, True), ("pingpong", 63, True),
     ("pingpong", 4097, True), ("connect", 64, False)],
)  # fmt: skip
def test_invalid_size_or_transport_is_an_error(name: str, size: int, streams: bool) -> None:
    with pytest.raises(ValueError, match="expected|connections"):
        find_question(name, size, streams=streams, random=random.Random(1))


def test_usual_service_depends_on_the_port() -> None:
    assert [usual_service(port) for port in (7, 13, 37, 7037, 8888, 0, 12345)] == [
        "echo", "daytime", "rfc868", "time", "pingpong", "echo", "echo"
    ]  # fmt: skip


def test_echo_is_asked_with_printable_text_unless_it_is_to_be_binary() -> None:
    for size, binary, kind in ((41, False, TextEcho), (20, True, Echo)):
        assert type(find_question("echo", size, streams=True, random=random.Random(1), binary=binary)) is kind
    with pytest.raises(ValueError, match="expected a size from 41 .* to 65507, or from 20 with --binary, got 20"):
        find_question("echo", 20, streams=False, random=random.Random(1))
    with pytest.raises(ValueError, match="expected a size from 20 .* to 65507, got 19"):
        find_question("echo", 19, streams=False, random=random.Random(1), binary=True)


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (Rfc868(), b"", "expected 4 octets, got 0 octets"),
        (Rfc868(), b"x", 'expected 4 octets, got 1 octet: "x"'),
        (Rfc868(), b"2023-11-14 22:13:20\r\n", r'expected 4 octets, got 21 octets: "2023-11-14 22:13:20\r\n"'),
        (Daytime(), b"\x1b[2J\xff" * 9, 'expected one printable line with a digit in it, got 45 octets: "'),
        (TextEcho(64, RUN), b"x" * 65, f'expected the 64 octets of the question, got 65 octets: "{"x" * 32}…"'),
    ],
)
def test_wrong_answer_is_described_by_what_was_expected_and_what_came(
    question: Tagged | Plain, answer: bytes, text: str
) -> None:
    described = describe_wrong(question, answer)
    assert described.startswith(text)
    assert described.isprintable()
