"""The encoding of messages, and the errors of messages that are invalid."""

import json
from typing import Any

import pytest

from netd.daemon.channel import ProtocolError
from netd.daemon.messages import coding, from_supervisor, from_worker
from netd.daemon.messages.coding import Fields, Natural, Text, encode, message

GOOD: dict[str, Any] = {"kind": "Alive", "request": 1, "lines_lost": 0}


@message
class Inner(Fields):
    number: Natural


@message
class Outer(Fields):
    """A message with another object in it."""

    text: Text
    parts: list[Inner]


def test_message_is_an_object_with_its_kind_and_its_fields() -> None:
    encoded = encode(Outer("a", [Inner(1)]))
    assert json.loads(encoded) == {"kind": "Outer", "text": "a", "parts": [{"number": 1}]}


def test_message_equals_one_of_its_kind_with_the_same_fields_and_shows_them() -> None:
    assert Outer("a", [Inner(1)]) == Outer("a", [Inner(1)])
    assert Outer("a", []) != Outer("b", [])
    assert from_worker.Done() != from_supervisor.Heartbeat()
    assert repr(Outer("a", [Inner(1)])) == "Outer(text='a', parts=[Inner(number=1)])"


def test_message_is_decoded_with_the_number_of_a_request_only_where_its_kind_has_one() -> None:
    message, readers = json.loads(encode(Outer("a", [Inner(1)]))), coding.readers(Outer)
    assert coding.read({**message, "request": 7}, readers, {}) == (7, Outer("a", [Inner(1)]))
    assert coding.read(message, {}, readers) == (None, Outer("a", [Inner(1)]))
    assert "request" not in message, "the caller's object is not changed"
    with pytest.raises(ProtocolError, match="Outer: invalid request number nothing"):
        coding.read(message, readers, {})
    with pytest.raises(ProtocolError, match=r"Outer: 'parts\.0\.number': "):
        coding.read({**message, "parts": [{"number": "1"}]}, {}, readers)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "unknown message kind nothing"),
        ({"kind": "Prepare"}, "unknown message kind 'Prepare'"),
        ({"kind": ["Alive"]}, "unknown message kind ['Alive']"),
        ({"kind": "\x1b[31m" + "x" * 1000}, "unknown message kind '\\x1b[31mxxxxxxxxxx"),
        (GOOD | {"request": None}, "Alive: invalid request number nothing"),
        (GOOD | {"request": True}, "Alive: invalid request number true"),
        (GOOD | {"request": 1.0}, "Alive: invalid request number 1.0"),
        ({"kind": "Busy", "request": 1}, "Busy: invalid request number 1"),
        ({"kind": "Alive", "request": 1}, "Alive: 'lines_lost': Field required"),
        (GOOD | {"\x1b[31m" + "x" * 1000: 1}, "Alive: '\\x1b[31mxxxxxxxxxx"),
        (GOOD | {str(number): 1 for number in range(10_000)}, "Alive: 10000 invalid fields"),
        (GOOD | {"lines_lost": "1"}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": True}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": 1.0}, "Alive: 'lines_lost': Input should be a valid integer"),
        (GOOD | {"lines_lost": -1}, "Alive: 'lines_lost': Input should be greater than or equal to 0"),
        (GOOD | {"lines_lost": 2**63}, "Alive: 'lines_lost': Input should be less than"),
    ],
)
def test_error_of_an_invalid_message_names_the_fault_in_a_short_line(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        from_worker.decode(message)
    assert str(raised.value).startswith(problem)
    assert len(str(raised.value)) < 200
