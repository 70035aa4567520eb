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


def test_proxy_that_has_named_a_peer_is_in_the_list(place: Path) -> None:
    answer = {"connections": [{**ROW, "via": "10.0.0.1:40000"}, ROW], "total": 2}
    output = run_with_answer(place, answer, "connections")[1]
    assert [" ".join(line.split()) for line in output.splitlines()] == [
        "ID SERVICE PEER VIA LOCAL AGE IDLE IN OUT",
        "0-7 echo 192.0.2.7:5353 10.0.0.1:40000 192.0.2.1:7 1h1m 4s 10 200",
        "0-7 echo 192.0.2.7:5353 - 192.0.2.1:7 1h1m 4s 10 200",
    ]


def test_programs_have_their_process_and_what_netd_does_not_see_is_a_dash(place: Path) -> None:
    used = {"pid": 4711, "cpu_seconds": 0.125, "memory_bytes": 3 * 2**20}
    handed = {**ROW, "id": "0-4711", "handed_over": True, **used}
    relayed = {**ROW, "id": "0-9", "handed_over": False, **used, "cpu_seconds": 61.2}
    ended = {**ROW, "id": "0-12", "handed_over": True, "pid": 12}

    def listed(*rows: dict[str, object]) -> list[str]:
        output = run_with_answer(place, {"connections": rows, "total": len(rows)}, "connections")[1]
        return [" ".join(line.split()) for line in output.splitlines()]

    assert listed(ROW, handed, relayed, ended) == [
        "ID SERVICE PEER LOCAL AGE IDLE IN OUT PID CPU MEMORY",
        "0-7 echo 192.0.2.7:5353 192.0.2.1:7 1h1m 4s 10 200 - - -",
        "0-4711 echo 192.0.2.7:5353 192.0.2.1:7 1h1m - - - 4711 0.12s 3.0MiB",
        "0-9 echo 192.0.2.7:5353 192.0.2.1:7 1h1m 4s 10 200 4711 1m1s 3.0MiB",
        "0-12 echo 192.0.2.7:5353 192.0.2.1:7 1h1m - - - 12 - -",
    ]
    assert listed(handed) == [
        "ID SERVICE PEER LOCAL AGE PID CPU MEMORY",
        "0-4711 echo 192.0.2.7:5353 192.0.2.1:7 1h1m 4711 0.12s 3.0MiB",
    ]


def test_list_with_programs_fits_80_columns(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netd.cli.output.terminal_width", lambda: 80)
    peers = {"peer": "[2001:db8:85a3::8a2e:370:7334]:54321", "local": "[2001:db8:85a3::8a2e:370:1]:873"}
    row = {**ROW, **peers, "id": "11-1234567-1a2b3c4d", "received_bytes": 10**9, "sent_bytes": 10**9}
    used = {"pid": 1234567, "cpu_seconds": 59.99, "memory_bytes": 10**10}
    for rows in ([row], [{**row, "handed_over": True, **used}], [row, {**row, **used}]):
        output = run_with_answer(place, {"connections": rows, "total": len(rows)}, "connections")[1]
        assert max(map(len, output.splitlines())) <= 80, output
        assert "11-1234567-1a2b3c4d" in output


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
