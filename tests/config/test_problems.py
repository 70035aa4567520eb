"""Problems of a config: their line, and their parts."""

from netd.config.problems import InvalidConfigError, Mark, Problem, located, parse


def test_problem_is_a_line_with_its_place_path_and_hint() -> None:
    problem = Problem(
        Mark("f", 4, 14), ("services", "echo", "listen", 0), "unknown scheme 'tpc'", "did you mean 'tcp'?"
    )
    assert problem.statement() == "f:4:14: services.echo.listen[0]: unknown scheme 'tpc'"
    assert str(problem) == f"{problem.statement()}; did you mean 'tcp'?"
    assert problem.line("notice") == f"f:4:14: notice: {str(problem).removeprefix('f:4:14: ')}"
    assert problem.fields() == {
        "file": "f",
        "line": 4,
        "column": 14,
        "path": "services.echo.listen[0]",
        "message": "unknown scheme 'tpc'",
        "hint": "did you mean 'tcp'?",
    }


def test_problem_of_the_whole_file_has_no_place_in_it() -> None:
    problem = Problem(Mark("f"), (), "cannot be read")
    assert str(problem) == "f: cannot be read"
    assert problem.line("notice") == "f: notice: cannot be read"
    assert problem.fields() == {
        "file": "f",
        "line": None,
        "column": None,
        "path": None,
        "message": "cannot be read",
        "hint": None,
    }


def test_every_part_of_a_problem_is_printable_on_one_line() -> None:
    text = str(Problem(Mark("f\x1b", 1, 1), ("\x07" * 300,), "a\nb\r", "c\nd"))
    assert text.isprintable()
    assert text.startswith("f\\x1b:1:1: \\x07")
    assert text.endswith(": a b\\r; c d")


def test_problems_above_a_bound_are_told_by_number() -> None:
    error = InvalidConfigError([Problem(Mark("f", 1, 1), (), "x")], [Problem(Mark("f"), (), "note")], 7)
    assert error.problems == ("f:1:1: x", "f: and 7 more problems")
    assert (error.exit_code, len(error.found), len(error.notices)) == (78, 1, 1)


def test_error_that_begins_with_a_key_gets_its_place() -> None:
    places = {"daemon.user": "f:1:2"}
    assert located("daemon.user: there is none", places) == "f:1:2: daemon.user: there is none"
    assert located("daemon.users: there is none", places) == "daemon.users: there is none"
    assert located("other", {}) == "other"


def test_line_with_a_place_is_parsed() -> None:
    line = "a:b:4:19: services.echo.listen[0]: no: tcp://*:7"
    problem = parse(line)
    assert problem == Problem(Mark("a:b", 4, 19), ("services.echo.listen[0]",), "no: tcp://*:7")
    assert str(problem) == line
    for other in ("netd is not running", "f:1:2: message", "services.echo: no"):
        assert parse(other) is None
