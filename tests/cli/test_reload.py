"""`netd reload`, `diff`, `enable`, `disable` and `log-level`: requests and output."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.commands import run, run_with_answer


def change(live: int, connections: str, *details: str) -> dict[str, Any]:
    return {
        "service": "echo",
        "what": "changed",
        "connections": live,
        "drained": connections == "drained",
        "details": list(details),
    }


@pytest.mark.parametrize(
    ("live", "connections", "affected"),
    [
        (0, "drained", ""),
        (1, "drained", "; its live connection has limits.drain to finish"),
        (1, "kept", "; its live connection stays as it is"),
        (2, "drained", "; its 2 live connections have limits.drain to finish"),
        (2, "kept", "; its 2 live connections stay as they are"),
    ],
)
def test_diff_shows_the_effect_on_live_connections(place: Path, live: int, connections: str, affected: str) -> None:
    answer = {"changes": [change(live, connections, "listen: + tcp")], "settings": [], "restart_needed": []}
    code, output, request = run_with_answer(place, answer, "diff")
    assert (code, request) == (0, "diff")
    assert output.splitlines() == [f"echo: changed{affected}", "    listen: + tcp"]
    assert json.loads(run_with_answer(place, answer, "diff", "--json")[1]) == answer


def test_diff_shows_settings_and_what_needs_a_restart(place: Path) -> None:
    answer: dict[str, Any] = {"changes": [], "settings": ["log.level: info, was debug"], "restart_needed": ["workers"]}
    output = run_with_answer(place, answer, "diff")[1]
    assert output.splitlines() == ["log.level: info, was debug", "workers: changed; needs a restart"]
    empty: dict[str, Any] = {"changes": [], "settings": [], "restart_needed": []}
    assert run_with_answer(place, empty, "diff")[1] == "nothing would change\n"


def test_reload_shows_changes_and_the_generation(place: Path) -> None:
    answer = {
        "changes": [
            {"service": "echo", "what": "changed", "details": ["code"]},
            {"service": "time", "what": "added"},
        ],
        "settings": ["log.level: info, was debug"],
        "restart_needed": ["workers"],
        "generation": 3,
    }
    code, output, request = run_with_answer(place, answer, "reload")
    assert (code, request) == (0, "reload")
    assert output.splitlines() == [
        "echo: changed",
        "    code",
        "time: added",
        "log.level: info, was debug",
        "workers: changed; needs a restart",
        "generation 3 of the config is in force",
    ]


@pytest.mark.parametrize(
    ("words", "answer", "output"),
    [
        (("enable", "echo"), {"enabled": True, "changed": True}, "echo is on, until the next reload\n"),
        (("enable", "echo"), {"enabled": True, "changed": False}, "echo was on already\n"),
        (
            ("enable", "echo"),
            {"enabled": True, "changed": True, "until_reload": False},
            "echo is on again, as in the config\n",
        ),
        (
            ("disable", "echo"),
            {"enabled": False, "changed": True, "until_reload": False},
            "echo is off again, as in the config\n",
        ),
        (("disable", "echo"), {"enabled": False, "changed": True}, "echo is off, until the next reload\n"),
        (("disable", "echo"), {"enabled": False, "changed": False}, "echo was off already\n"),
        (("log-level", "debug"), {"changed": True}, "the log level is debug, until the next reload\n"),
        (("log-level", "debug"), {"changed": False}, "it was debug already\n"),
        (("log-level",), {}, "debug\n"),
    ],
)
def test_change_until_the_next_reload_prints_what_it_did(
    place: Path, words: tuple[str, ...], answer: dict[str, Any], output: str
) -> None:
    answer |= {"service": "echo", "log_level": "debug"}
    assert run_with_answer(place, answer, *words) == (0, output, " ".join(words))
    assert json.loads(run_with_answer(place, answer, *words, "--json")[1]) == answer


def test_log_level_is_taken_in_upper_case(place: Path) -> None:
    assert run_with_answer(place, {"log_level": "info", "changed": True}, "log-level", "INFO")[2] == "log-level info"


def test_unknown_log_level_is_not_sent() -> None:
    with pytest.raises(click.UsageError) as caught:
        run("log-level", "loud")
    assert caught.value.format_message().startswith("Invalid value for '[LEVEL]': 'loud' is not one of 'debug', ")
