"""Services behind proxies: problems and notices of a config."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.problems import InvalidConfigError, Problem


def found(directory: Path, service: str) -> tuple[list[str], list[str]]:
    """The problems and the notices of a service."""
    file = directory / "netd.yaml"
    file.write_text(f"services:\n  x: {{{service}}}\n")
    file.chmod(0o644)
    problems: Iterable[Problem] = ()
    notices: Iterable[Problem] = ()
    try:
        notices = loader.load(file).notices
    except InvalidConfigError as error:
        problems, notices = error.found, error.notices
    return [_text(one) for one in problems], [_text(one) for one in notices]


def _text(problem: Problem) -> str:
    return str(problem).partition("services.x")[2]


@pytest.mark.parametrize(
    "service",
    [
        "type: echo, listen: ['tcp://*:7'], proxy_protocol: {from: [10.0.0.1, 10.1.0.0/16, '2001:db8::7']}",
        "type: echo, listen: ['tcp://*:7', 'unix:///run/x'], proxy_protocol: {from: [local]}",
        "type: exec, listen: ['tcp://*:7'], proxy_protocol: {from: [local]}, options: {command: [/bin/true]}",
        "type: echo, listen: ['tcp://*:7', 'udp://*:7'], proxy_protocol: null",
        "type: echo, listen: ['tcp://*:7'], proxy_protocol: {from: [local], versions: [2]}",
        "type: echo, listen: ['unix:///run/x'], proxy_protocol: {from: [10.0.0.1], others: direct}",
    ],
)
def test_service_behind_proxies_has_no_problem(tmp_path: Path, service: str) -> None:
    problems, notices = found(tmp_path, service)
    assert problems == []
    assert [notice for notice in notices if "proxy" in notice or "prox" in notice] == []


ECHO = "type: echo, listen: ['tcp://*:7'], proxy_protocol: "
LISTENER = "type: exec, listen: ['tcp://*:7'], options: {command: [/bin/true], mode: listener}, proxy_protocol: "


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (ECHO + "{}", ".proxy_protocol: the key 'from' is missing"),
        (ECHO + "{from: []}", ".proxy_protocol.from: expected at least 1 items, got []"),
        (ECHO + "{from: 10.0.0.1}", ".proxy_protocol.from: expected a list, got '10.0.0.1'"),
        (ECHO + "{form: [10.0.0.1]}", ".proxy_protocol.form: unknown key; did you mean 'from'?"),
        (ECHO + "{from: [10.0.0.1/8]}", ".proxy_protocol.from[0]: '10.0.0.1/8' has host bits set"),
        (ECHO + "{from: [lb1]}", ".proxy_protocol.from[0]: expected an address, a network"),
        (ECHO + "{from: [local], versions: [v2]}", ".proxy_protocol.versions[0]: expected 1 or 2, got 'v2'"),
        (ECHO + "{from: [local], versions: [2, 2]}", ".proxy_protocol.versions: a version is given twice"),
        (ECHO + "{from: [local], others: drop}", ".proxy_protocol.others: expected 'refuse' or 'direct', got 'drop'"),
        (ECHO + "v2", ".proxy_protocol: expected a mapping, got 'v2'"),
        (ECHO + "true", ".proxy_protocol: expected a mapping, got true"),
        (
            "type: echo, listen: ['tcp://*:7', 'udp://*:7'], proxy_protocol: {from: [local]}",
            ".listen[1]: proxy_protocol is",
        ),
        (LISTENER + "{from: [local]}", ".proxy_protocol: mode: listener: the program accepts by itself"),
    ],
)
def test_mistake_is_a_problem_at_its_place(tmp_path: Path, service: str, problem: str) -> None:
    problems, _ = found(tmp_path, service)
    assert any(one.startswith(problem) for one in problems), problems
    assert len([one for one in problems if "sources" in one]) == 0


@pytest.mark.parametrize(
    ("service", "notice"),
    [
        (ECHO + "{from: [local, any]}", ".proxy_protocol.from[1]: any: every client may name any address"),
        (ECHO + "{from: [0.0.0.0/0]}", ".proxy_protocol.from[0]: any: every client may name any address"),
        ("type: echo, listen: ['unix:///run/x'], proxy_protocol: {from: [10.0.0.1]}", ".listen[0]: UNIX peers are"),
    ],
)
def test_risk_is_a_notice_at_its_place(tmp_path: Path, service: str, notice: str) -> None:
    problems, notices = found(tmp_path, service)
    assert problems == []
    assert any(notice in one for one in notices), notices
