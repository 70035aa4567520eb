"""Lines for agent-check of HAProxy."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Finished
from netd.services.check import agent


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("up", "up"),
        ("50%", "50%"),
        ("drain", "drain"),
        ("maxconn:30", "maxconn:30"),
        ("ready up,75%\tmaxconn:30", "ready up 75% maxconn:30"),
        ("  UP ,, 5%,", "UP 5%"),
        ("down#reason", "down #reason"),
        ("down # a # b, c ", "down #a # b, c"),
        ("fail#", "fail"),
        ("down #café\x1b", "down #caf?\\x1b"),
        (f"down #{'x' * 300}", f"down #{'x' * 200}"),
    ],
)
def test_line_of_an_agent_is_passed_on(line: str, expected: str) -> None:
    assert agent.normal(line) == expected
    assert agent.check_words(line) == expected


@pytest.mark.parametrize(
    "line", ["", " ", "#up", "OK", "up now", "75.5%", "1000%", "%", "50%x", "maxconn:", "up\nup", "٣%"]
)
def test_other_lines_are_none_of_an_agent(line: str) -> None:
    assert agent.normal(line) is None
    with pytest.raises(ValueError, match="expected words of agent-check such as"):
        agent.check_words(line)


def test_number_is_no_line_of_an_agent() -> None:
    with pytest.raises(ValueError, match="expected words of agent-check such as .*, got 200"):
        agent.check_words(200)


@pytest.mark.parametrize(
    ("code", "output", "error", "expected"),
    [
        (0, b"", "", b"up\n"),
        (0, b"OK - 3 users\n", "", b"up\n"),
        (1, b"WARNING - 30 users\n", "", b"up\n"),
        (2, b"CRITICAL - 300 users\n", "", b"down #CRITICAL - 300 users\n"),
        (3, b"", "", b"down #exit code 3\n"),
        (-9, b"up\n", "", b"down #ended by SIGKILL\n"),
        (None, b"up\n", "timeout", b"down #timed out\n"),
        (None, b"", "/secret: no such file", b"down #could not be started\n"),
        # Its words go before its exit code.
        (2, b"drain\nmore\n", "", b"drain\n"),
        (0, b"up 75%", "", b"up 75%\n"),
        (0, b"down#broken\r\n", "", b"down #broken\n"),
    ],
)
def test_answer_for_each_end(code: int | None, output: bytes, error: str, expected: bytes) -> None:
    assert agent.answer(Finished(code, output, error), agent.DEFAULTS) == expected


def test_reason_of_the_config_stays_and_a_state_without_health_gets_none() -> None:
    codes = {"2": "down #see the page", "3": "maint", "4": "FAIL 0%", "other": "up"}
    answers = [agent.answer(Finished(code, b"CRITICAL\n"), codes) for code in (2, 3, 4, 5)]
    assert answers == [b"down #see the page\n", b"maint\n", b"FAIL 0% #CRITICAL\n", b"up\n"]


@given(st.binary(max_size=300), st.sampled_from([0, 1, 2, -9]))
def test_answer_is_one_line_of_printable_ascii(output: bytes, code: int) -> None:
    assert re.fullmatch(rb"[ -~]{1,1100}\n", agent.answer(Finished(code, output), agent.DEFAULTS))
