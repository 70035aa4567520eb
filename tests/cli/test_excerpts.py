"""Problems of a config on a terminal: the line of the file, the mark below the value, the hint, the number."""

import os
from pathlib import Path

import pytest

from netd.cli.excerpts import excerpts, refusals, report
from netd.config.problems import InvalidConfigError, Mark, Problem


def lines(file: Path, line: int, column: int, hint: str = "", message: str = "m") -> list[str]:
    return list(excerpts([Problem(Mark(str(file), line, column), (), message, hint)], color=False))


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_mark_is_below_the_value_and_the_hint_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text('services:\n  echo: {listen: [tpc://*:7, "x y"]}\n')
    assert lines(file, 2, 19, "did you mean 'tcp'?") == [
        f"{file}:2:19: m",
        '    2 |   echo: {listen: [tpc://*:7, "x y"]}',
        "                          ^^^^^^^^^ did you mean 'tcp'?",
    ]
    assert lines(file, 2, 30)[-1] == " " * 37 + "^^^^^"
    assert lines(file, 2, 3)[-1] == " " * 10 + "^^^^", "a key is marked without its colon"
    assert lines(file, 1, 10)[-1] == " " * 17 + "^", "the end of a line"


def test_hint_that_does_not_fit_beside_the_mark_has_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("a: b\n")
    assert lines(file, 1, 4, "h" * 70)[2:] == ["           ^", "        " + "h" * 70]


def test_part_of_a_long_line_around_the_place_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("a: [" + "x, " * 1000 + "bad, " + "y" * 1000 + "]\n")
    statement, text, mark = lines(file, 1, 4 + 3000 + 1)
    assert max(map(len, (text, mark))) <= 80
    assert text[mark.index("^") :].startswith("bad,")
    assert mark.count("^") == 3
    assert statement == f"{file}:1:3005: m"
    file.write_text("z" * 5000)
    assert lines(file, 1, 1)[2] == "        " + "^" * 71


def test_tabs_and_wide_and_unprintable_characters_keep_the_mark_in_place(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("\t日本: \x1b[1m x\n")
    _, text, mark = lines(file, 1, 11)
    assert text == "    1 |  日本: \\x1b[1m x"
    assert mark == " " * (8 + 1 + 4 + 2 + 8) + "^"


def test_problem_without_a_line_has_no_excerpt(tmp_path: Path) -> None:
    for number, file in ((0, tmp_path), (3, tmp_path / "none"), (9, tmp_path / "short")):
        (tmp_path / "short").write_text("x\n")
        assert lines(file, number, 1, "remedy")[1:] == ["  remedy"]
    os.mkfifo(tmp_path / "pipe")
    assert len(lines(tmp_path / "pipe", 1, 1)) == 1, "a pipe is not read again"


def test_hostile_text_of_a_message_is_printable(tmp_path: Path) -> None:
    assert all(line.isprintable() for line in lines(tmp_path / "\x1b", 0, 0, "\x1b[2J", "\x1b[2J"))


def test_report_in_a_pipe_has_a_line_for_each_notice_and_problem(tmp_path: Path) -> None:
    error = InvalidConfigError([Problem(Mark("f", 1, 2), ("a",), "m", "h")], [Problem(Mark("f", 3, 4), (), "n")])
    assert report(error) == ["f:3:4: notice: n", "f:1:2: a: m; h"]


def test_notice_on_a_terminal_is_told_by_its_word_and_the_color_of_its_mark(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("a: b\n")
    problem = Problem(Mark(str(file), 1, 4), ("a",), "m")
    statement, _, mark = excerpts([problem], "notice", color=True)
    assert f"{file}:1:4: notice: a: m" in statement
    assert ("\x1b[33m" in mark, "\x1b[31m" in mark) == (True, False)
    statement, _, mark = excerpts([problem], color=True)
    assert f"{file}:1:4: a: m" in statement
    assert ("\x1b[33m" in mark, "\x1b[31m" in mark) == (False, True)


@pytest.mark.parametrize(
    ("problems", "notices", "left_out", "closing"),
    [
        (1, 0, 0, "1 problem"),
        (2, 1, 0, "2 problems, 1 notice"),
        (1, 5, 0, "1 problem, 5 notices"),
        (3, 2, 4, "7 problems (3 shown), 2 notices"),
    ],
)
def test_report_on_a_terminal_ends_with_the_numbers_of_problems_and_notices(
    monkeypatch: pytest.MonkeyPatch, problems: int, notices: int, left_out: int, closing: str
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    one = Problem(Mark("f"), (), "m")
    assert report(InvalidConfigError([one] * problems, [one] * notices, left_out))[-1] == closing


def test_error_with_a_place_in_the_config_has_the_form_of_a_problem() -> None:
    located = "netd.yaml:4:19: services.echo.listen[0]: cannot listen on tcp://*:7: it is in use"
    assert refusals(["one", located, "2001:db8:0:0:1:1:1:1: two"]) == [
        "netd: one",
        located,
        "netd: 2001:db8:0:0:1:1:1:1: two",
    ]
