"""Tables, and answers as JSON."""

import json

import pytest

from netd.cli.output import print_answer, table
from netd.client.control import Answer


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [["echo", 7, "x"], ["a", 12345, ""]]
    assert table(("SERVICE", "IN", "WHY"), rows, ("IN",)).splitlines() == [
        "SERVICE     IN  WHY",
        "echo         7  x",
        "a        12345",
    ]
    assert table(("A", "B"), []) == "A  B"


def test_answer_is_printed_as_text_or_as_json_without_ok(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer({"ok": True, "bans": []})
    assert print_answer(answer, "no bans", as_json=False) == 0
    assert capsys.readouterr().out == "no bans\n"
    assert print_answer(answer, "no bans", as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"bans": []}


def test_cells_of_a_table_are_escaped() -> None:
    assert "\x1b" not in table(("A",), [["\x1b[2J\nnetd: forged"]])


def test_narrow_table_leaves_out_what_it_may_in_this_order_where_cutting_is_not_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads, rows = ("NAME", "IN", "OUT", "PLACE"), [["a" * 20, 1000000, 2000000, "b" * 20]]
    for width, shown in (
        (60, "NAME IN OUT PLACE"),
        (36, "NAME IN OUT PLACE"),
        (35, "NAME OUT PLACE"),
        (8, "NAME PLACE"),
    ):
        monkeypatch.setattr("netd.cli.output.terminal_width", lambda width=width: width)
        lines = table(heads, rows, ("IN", "OUT"), spare=("IN", "OUT")).splitlines()
        assert lines[0].split() == shown.split()


def test_narrow_table_keeps_the_ports_of_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netd.cli.output.terminal_width", lambda: 20)
    rows = [["tcp://127.0.0.1:27007", 1000000, "on"], ["udp://127.0.0.1:27008", 1, "off"]]
    assert table(("ENDPOINT", "OPEN", "STATE"), rows, ("OPEN",)).splitlines()[1:] == [
        "t…:27007  1000000  on",
        "u…:27008        1  off",
    ]
