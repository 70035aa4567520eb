"""`netd connections` and `netd kick`: requests, output and exit codes."""

import json
from pathlib import Path

import click
import pytest

from tests.cli.commands import run, run_with_answer

ROW = {
    "id": "0-7",
    "service": "echo",
    "peer": "192.0.2.7:5353",
    "local": "192.0.2.1:7",
    "age_seconds": 3700,
    "idle_seconds": 4.4,
    "received_bytes": 10,
    "sent_bytes": 200,
}


def test_connections_are_a_table_with_the_total_number_where_not_all_are_listed(place: Path) -> None:
    answer = {"connections": [ROW], "total": 1}
    code, output, request = run_with_answer(place, answer, "connections")
    assert (code, request) == (0, "connections")
    rows = ["ID SERVICE PEER LOCAL AGE IDLE IN OUT", "0-7 echo 192.0.2.7:5353 192.0.2.1:7 1h1m 4s 10 200"]
    assert [" ".join(line.split()) for line in output.splitlines()] == rows
    output = run_with_answer(place, {**answer, "total": 2000}, "connections")[1]
    assert [" ".join(line.split()) for line in output.splitlines()] == [*rows, "1 of 2000"]
    assert json.loads(run_with_answer(place, answer, "connections", "--json")[1]) == answer


def test_connections_that_get_no_answer_are_listed_with_the_reason_below_the_table(place: Path) -> None:
    row = {**ROW, "unanswered": "4 octets without a line end"}
    output = run_with_answer(place, {"connections": [ROW, row], "total": 2}, "connections")[1]
    assert output.splitlines()[3:] == ["0-7: 4 octets without a line end"]


def test_empty_list_of_connections_is_no_table(place: Path) -> None:
    options = ("--service", "echo", "--peer", "192.0.2.0/24")
    done = run_with_answer(place, {"connections": [], "total": 0}, "connections", *options)
    assert done == (0, "no connections\n", "connections service=echo peer=192.0.2.0/24")


@pytest.mark.parametrize(
    ("number", "code", "output"),
    [(0, 1, "0 connections closed\n"), (1, 0, "1 connection closed\n"), (2, 0, "2 connections closed\n")],
)
def test_kick_exits_with_1_where_no_connection_was_closed(place: Path, number: int, code: int, output: str) -> None:
    assert run_with_answer(place, {"closed": number}, "kick", "0-7") == (code, output, "kick id=0-7")
    done = run_with_answer(place, {"closed": number}, "kick", "--service", "echo", "--peer", "192.0.2.7", "--json")
    assert (done[0], json.loads(done[1]), done[2]) == (
        code,
        {"closed": number},
        "kick service=echo peer=192.0.2.7",
    )


def test_kick_without_a_selection_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match="expected an ID, --service or --peer"):
        run("kick")
