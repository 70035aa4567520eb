"""Each section is checked by itself, and each problem has its place and is told once."""

from pathlib import Path

import pytest

from tests.config.configs import load, problems


def test_sections_with_all_lines_commented_out_are_empty(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "include:\ndaemon:\nlog:\nbans:\ndefaults:\n  access:\n  limits:\n"
        "services:\n  echo:\n    listen: [tcp://*:7]\n    access:\n    limits:\n    options:\n",
    )
    assert config.services[0].policy.limits.idle == 300.0
    assert load(tmp_path, "services:\n").services == ()
    assert load(tmp_path, "# nothing\n").services == ()


def test_value_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, "daemon: {drain: }\n") == [
        "1:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got nothing"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("services:\necho:\n  listen: [tcp://*:7]\n", "2:1: echo: a service belongs below 'services:'; indent it"),
        ("limits:\n  idle: 1m\n", "1:1: limits: it belongs below 'defaults:'; indent it"),
        ("workers: 2\n", "1:1: workers: it belongs below 'daemon:'; indent it"),
        ("mine: {type: echo, listen: [tcp://*:7]}\n", "1:1: mine: a service belongs below 'services:'; indent it"),
        ("daemon: {drain:30s}\n", "1:10: daemon.drain:30s: unknown key; a space is missing after 'drain:'"),
        (
            "daemon: {drain: 30}\n",
            "1:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got 30; did you mean '30s'?",
        ),
        ("log: {level: INFO}\n", "did you mean 'info'?"),
        ("defaults: {limits: {datagram: 9000000}}\n", "expected at most 65535, got 9000000"),
        ("defaults: {limits: {connections: 010}}\n", "defaults.limits.connections: 010 is 8 in YAML 1.1"),
        ('services: {echo: {listen: [tcp://*:7], enabled: "no"}}\n', "got 'no'; write it without quotes"),
        ("services: {echo: {listen: ['unix:/y']}}\n", "did you mean 'unix:///y'?"),
        ("services: {echo: {listen: ['*:7007']}}\n", "did you mean 'tcp://*:7007'?"),
        ("services: {echo: {listen: ['tcp://::1:7007']}}\n", "did you mean 'tcp://[::1]:7007'?"),
    ],
)
def test_slip_is_reported_with_what_may_be_meant(tmp_path: Path, text: str, found: str) -> None:
    [problem] = problems(tmp_path, text)
    assert found in problem


def test_problem_in_the_limits_does_not_hide_one_in_the_options(tmp_path: Path) -> None:
    text = """\
services:
  qotd: {listen: ["tcp://*:99999?backlgo=1&nodelay=maybe"], limits: {idle: soon}, options: {file: /proc/none}}
  quotes: {type: qotd, listen: [tcp://*:17], options: {quotes: [café]}}
"""
    port, option, switch, idle, file, quote = problems(tmp_path, text)
    assert port == "2:19: services.qotd.listen[0]: expected a port from 0 to 65535, got 99999"
    assert option == ("2:19: services.qotd.listen[0]: unknown socket option 'backlgo' for tcp; did you mean 'backlog'?")
    assert switch == "2:19: services.qotd.listen[0]: socket option nodelay: expected on or off, got 'maybe'"
    assert idle == "2:76: services.qotd.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'"
    assert file == "2:92: services.qotd.options: file '/proc/none': No such file or directory"
    assert quote.startswith("3:65: services.quotes.options.quotes[0]: a quote may hold printable ASCII")


def test_problems_below_an_alias_have_their_path_and_the_place_of_the_alias(tmp_path: Path) -> None:
    text = "defaults:\n  limits: &l {idle: soon}\nservices:\n  echo: {listen: [tcp://*:7], limits: *l}\n"
    assert problems(tmp_path, text) == [
        "2:21: defaults.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'",
        "4:39: services.echo.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'",
    ]


def test_value_that_cannot_be_read_is_reported_once(tmp_path: Path) -> None:
    assert problems(tmp_path, 'daemon: {drain: !!int ""}\n') == ["1:17: daemon.drain: cannot be read as int"]


def test_problems_above_a_bound_are_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, "services:\n" + "".join(f"  s{n}: {{type: echo}}\n" for n in range(300)))
    assert len(found) == 101
    assert found[-1].endswith("and 200 more problems")


def test_accounts_are_looked_up_also_if_there_are_other_problems(tmp_path: Path) -> None:
    text = """\
defaults: {access: {deny: ["uid:nobody-one"]}, limits: {idle: x}}
services:
  echo: {listen: [tcp://*:7], access: {allow: ["uid:nobody-two"]}, limits: {idle: x}}
"""
    assert [problem.partition(": ")[2] for problem in problems(tmp_path, text)] == [
        "defaults.access.deny[0]: there is no user 'nobody-one'",
        "defaults.limits.idle: expected a duration such as 30s, 5m or 1h, got 'x'",
        "services.echo.access.allow[0]: there is no user 'nobody-two'",
        "services.echo.limits.idle: expected a duration such as 30s, 5m or 1h, got 'x'",
    ]
