"""The messages of a worker, encoded and decoded, and their limits: an attacker may control the worker."""

import json
from typing import Any, get_args

import pytest

from netd.admission.addresses import parse_source
from netd.daemon.channel import ProtocolError
from netd.daemon.messages import from_worker
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_worker import (
    LONGEST_ERROR,
    MOST_PEERS,
    MOST_ROWS,
    Notice,
    Offender,
    PeerList,
    PeerRow,
    Response,
)
from tests.daemon.messages.examples import LINE, ROW, SENT


def test_message_of_each_type_is_decoded_as_it_was_encoded() -> None:
    assert {type(one) for one in SENT} == {*get_args(Response), *get_args(Notice)}
    for message in SENT:
        request = {"request": 5} if isinstance(message, Response) else {}
        read = from_worker.decode({**json.loads(encode(message)), **request})
        assert read == (request.get("request"), message)


def test_peers_with_the_most_connections_are_listed_first_and_the_others_are_left_out() -> None:
    sums = {f"192.0.2.{number}": [number, 10, 20] for number in range(MOST_PEERS + 2)}
    found = PeerList.of(1000, sums)
    assert (found.total, len(found.peers)) == (1000, MOST_PEERS)
    assert found.peers[0] == PeerRow("192.0.2.101", 101, 10, 20)
    assert found.peers[-1].connections == 2


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW) | {"seconds": 10**400}]},
            "ConnectionList: 'connections.0.seconds': Input should be a valid number",
        ),
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW) | {"idle": float("inf")}]},
            "ConnectionList: 'connections.0.idle': Input should be a finite number",
        ),
        (
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW)] * (MOST_ROWS + 1)},
            "ConnectionList: 'connections': List should have at most 1000 items",
        ),
    ],
)
def test_list_of_connections_with_invalid_values_is_rejected(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        from_worker.decode(message)
    assert str(raised.value).startswith(problem)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "line",
    [
        None,
        {},
        [],
        ["now", "in", "x", 1, "", ""],
        [1.0, "sideways", "x", 1, "", ""],
        [1.0, "in", "x" * 1000, 1, "", ""],
        [1.0, "in", "x", "1", "", ""],
        [1.0, "in", "x", 1, "0" * 1000, ""],
        [1.0, "in", "x", 1, "no hexadecimal", ""],
        [1.0, "in", "x", 1, ""],
        [1.0, "in", "x", 1, "", "x" * 1000],
        [1.0, "in", "x", 1, "", "", "more"],
        [2.0**40, "in", "x", 1, "", ""],
    ],
)
def test_trace_with_an_invalid_line_is_rejected(line: object) -> None:
    message = {"kind": "TraceLines", "trace": 1, "skipped": 0}
    assert from_worker.decode({**message, "lines": [LINE, LINE]})
    with pytest.raises(ProtocolError, match=r"TraceLines: 'lines\.0"):
        from_worker.decode({**message, "lines": [line, LINE]})


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "Failed", "request": 1, "error": "x" * (LONGEST_ERROR + 1)},
        {"kind": "PeerList", "request": 1, "total": 1, "peers": [vars(PeerRow("x" * 649, 1, 1, 1))]},
        *(
            {"kind": "ConnectionList", "request": 1, "total": 1, "connections": [vars(ROW) | {name: "x" * 649}]}
            for name in ("id", "service", "transport", "peer", "local")
        ),
    ],
)
def test_message_with_a_long_text_is_rejected(message: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        from_worker.decode(message)


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1", "64:ff9b::c000:201", "fe80::1"])
def test_offender_may_be_any_source(address: str) -> None:
    offender = Offender(parse_source(address).hex(), "echo", "rate")
    assert from_worker.decode(json.loads(encode(offender))) == (None, offender)


@pytest.mark.parametrize(
    "offender",
    [
        {"source": "c0ffffff", "service": "echo", "refusal": "\x1b[31m"},
        {"source": "c0ffffff", "service": "echo"},
        {"source": "c0ffff", "service": "echo", "refusal": "rate"},
        {"source": "c0ffffff" * 3, "service": "echo", "refusal": "rate"},
        {"source": "C0FFFFFF", "service": "echo", "refusal": "rate"},
        {"source": "c0ffffff\n", "service": "echo", "refusal": "rate"},
        {"source": ["c0ffffff"], "service": {}, "refusal": None},
        {"source": "c0ffffff", "service": "x" * 65, "refusal": "rate"},
    ],
)
def test_offender_with_invalid_values_is_rejected(offender: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="Offender: "):
        from_worker.decode({"kind": "Offender", **offender})
