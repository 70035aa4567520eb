"""`netd ban`: requests and output."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netd.cli.main import netd
from tests.cli.commands import run_with_answer


@pytest.mark.parametrize("command", ["add", "list", "remove"])
def test_every_command_about_bans_has_help_with_an_example(command: str) -> None:
    done = CliRunner().invoke(netd, ["ban", command, "--help"], prog_name="netd")
    assert done.exit_code == 0
    assert f"Example: netd ban {command}" in done.output


BAN = {"source": "192.0.2.7", "remaining_seconds": 90, "times": 2, "why": "rate"}


def test_list_shows_bans_as_a_table_or_as_json(place: Path) -> None:
    code, output, request = run_with_answer(place, {"bans": [BAN]}, "ban", "list")
    assert (code, request) == (0, "ban list")
    assert [line.split() for line in output.splitlines()] == [
        ["SOURCE", "LEFT", "TIMES", "WHY"],
        ["192.0.2.7", "1m30s", "2", "rate"],
    ]
    assert json.loads(run_with_answer(place, {"bans": [BAN]}, "ban", "list", "--json")[1]) == {"bans": [BAN]}
    assert run_with_answer(place, {"bans": []}, "ban", "list")[1] == "no bans\n"


@pytest.mark.parametrize(
    ("arguments", "request_line", "output"),
    [
        (["add", "192.0.2.7"], "ban add 192.0.2.7 1h", "192.0.2.7 is banned for 1h0m\n"),
        (["add", "192.0.2.7", "--for", "10m"], "ban add 192.0.2.7 10m", "192.0.2.7 is banned for 1h0m\n"),
        (["add", "192.0.2.7", "--for", "90"], "ban add 192.0.2.7 90s", "192.0.2.7 is banned for 1h0m\n"),
        (["remove", "192.0.2.7"], "ban remove 192.0.2.7", "192.0.2.7 is not banned any more\n"),
    ],
)
def test_add_and_remove_print_what_they_did(place: Path, arguments: list[str], request_line: str, output: str) -> None:
    answer = {"source": "192.0.2.7", "remaining_seconds": 3600.0}
    assert run_with_answer(place, answer, "ban", *arguments) == (0, output, request_line)
    printed = json.loads(run_with_answer(place, answer, "ban", *arguments, "--json")[1])
    assert printed == answer
