"""`netd target`: requests and output."""

import json
import time
from pathlib import Path

import click
import pytest

from tests.cli.commands import run, run_with_answer

TARGET = {
    "target": "tcp://192.0.2.7:80",
    "state": "resting",
    "since": None,
    "why": "refused",
    "connections": 3,
    "connections_served": 70,
    "failures": 2,
}
WELL = {**TARGET, "target": "unix:///x", "state": "up", "why": ""}


def test_targets_are_shown_as_a_table_or_as_json(place: Path) -> None:
    answer = {"service": "web", "targets": [{**TARGET, "since": time.time() - 3630}, WELL]}
    code, output, request = run_with_answer(place, answer, "target", "web")
    assert (code, request) == (0, "target web")
    head, first, second = (line.split() for line in output.splitlines())
    assert head == ["TARGET", "STATE", "OPEN", "SERVED", "FAILED", "SINCE", "WHY"]
    assert first == ["tcp://192.0.2.7:80", "resting", "3", "70", "2", "1h0m", "refused"]
    assert second == ["unix:///x", "up", "3", "70", "2"]
    assert max(map(len, output.splitlines())) < 80
    assert json.loads(run_with_answer(place, answer, "target", "web", "--json")[1]) == answer


@pytest.mark.parametrize(
    ("change", "state", "changed", "output"),
    [
        ("enable", "enabled", True, "is used"),
        ("drain", "drain", True, "gets no new connections"),
        ("disable", "disabled", True, "is not used; its live connections have limits.drain to finish"),
        ("disable", "disabled", False, "was disabled already"),
    ],
)
def test_change_of_a_target_is_told(place: Path, change: str, state: str, changed: bool, output: str) -> None:
    answer = {"service": "web", "target": "tcp://192.0.2.7:80", "state": state, "changed": changed}
    code, told, request = run_with_answer(place, answer, "target", "web", change, "tcp://192.0.2.7:80")
    assert (code, request) == (0, f"target web {change} tcp://192.0.2.7:80")
    assert told == f"web: tcp://192.0.2.7:80 {output}\n"


def test_target_with_blanks_is_asked_for_in_words(place: Path) -> None:
    answer = {"service": "web", "target": "unix:///a b", "state": "drain", "changed": True}
    code, told, request = run_with_answer(place, answer, "target", "web", "drain", "unix:///a b")
    assert (code, request) == (0, "target web drain unix:///a b")
    assert told.startswith("web: unix:///a b ")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("web", "stop", "tcp://192.0.2.7:80"), "expected enable, disable or drain, got 'stop'"),
        (("web", "drain"), "expected the target to drain, as netd target web shows it"),
    ],
)
def test_wrong_usage_is_an_error_before_netd_is_asked(arguments: tuple[str, ...], error: str) -> None:
    with pytest.raises(click.UsageError, match=error):
        run("target", *arguments)
