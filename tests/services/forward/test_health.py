"""Whether a target is down: the results of checks that it takes; and the options of checks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netd.services.forward.health import Check, Health


def check(**values: object) -> Check:
    return Check.model_validate_json(json.dumps(values))


def told(health: Health, results: str) -> str:
    """What is told after each of these results: ``+`` is a success and ``-`` a failure, told as ``u`` and ``d``."""
    return "".join(
        ("u" if health.passed() else ".") if result == "+" else ("d" if health.failed() else ".") for result in results
    )


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("---", "..d"),
        ("--+---", ".....d"),
        ("-----++", "..d...u"),
        ("---+-+-++", "..d.....u"),
        ("---++--", "..d.u.."),
        ("++++---", "......d"),
    ],
)
def test_target_falls_and_rises_once_after_enough_results_in_a_row(results: str, expected: str) -> None:
    assert told(Health(check(rise=2, fall=3)), results) == expected


def test_target_that_was_down_before_has_to_rise() -> None:
    assert told(Health(check(rise=2, fall=1), is_down=True), "-+-++-") == "....ud"


@given(st.text("+-", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_edges_alternate_and_each_is_the_end_of_a_row(results: str, rise: int, fall: int) -> None:
    edges = told(Health(check(rise=rise, fall=fall)), results)
    assert edges.replace(".", "") in ("du" * 30, ("du" * 30)[: len(edges.replace(".", ""))])
    for place, edge in enumerate(edges, 1):
        if edge == "d":
            assert results[:place].endswith("-" * fall)
        elif edge == "u":
            assert results[:place].endswith("+" * rise)


def test_defaults_are_those_of_haproxy_and_only_connect() -> None:
    found = check()
    assert (found.every, found.timeout, found.rise, found.fall) == (2.0, 1.0, 2, 3)
    assert not found.wants_answer


def test_texts_are_sent_in_utf_8_and_an_answer_is_wanted() -> None:
    found = check(send="PING\r\n\0é", expect="+PONG")
    assert (found.question, found.expected, found.wants_answer) == (b"PING\r\n\0\xc3\xa9", b"+PONG", True)
    assert check(send="").wants_answer
    assert check(expect="220 ").wants_answer
    assert Check.model_validate_json(json.dumps(found.written())) == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": "99ms"}, "expected at least 100ms"),
        ({"every": 2}, "expected a duration"),
        ({"rise": 0}, "greater than or equal to 1"),
        ({"fall": 101}, "less than or equal to 100"),
        ({"send": 5}, 'expected text such as "PING'),
        ({"send": "é" * 513}, "expected 0 to 1024 octets of text, got 1026"),
        ({"expect": ""}, "expected 1 to 256 octets of text, got 0"),
    ],
)
def test_other_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        check(**values)
