"""`netd explain`: the request, the table of checks and the exit code."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import run_with_answer

CHECKS = [
    {"name": "access", "passes": True, "why": "no rule"},
    {"name": "bans", "passes": False, "why": "banned for 5m"},
]


def test_name_of_a_check_is_not_said_twice(place: Path) -> None:
    answer = {"from": "::1", "to": "echo/tcp", "served": False, "decided_by": "access", "why": "access.deny: ::1"}
    output = run_with_answer(place, {**answer, "checks": []}, "explain", "--from", "::1", "--to", "echo")[1]
    assert output.startswith("::1 at echo/tcp is not served: access.deny: ::1\n")
    answer |= {"decided_by": "enabled", "why": "the service is disabled"}
    output = run_with_answer(place, {**answer, "checks": []}, "explain", "--from", "::1", "--to", "echo")[1]
    assert output.startswith("::1 at echo/tcp is not served: the service is disabled\n")


def test_verdict_says_where_a_certificate_decides(place: Path) -> None:
    checks = [{"name": "certificate", "passes": True, "why": "depends on the certificate: cn:alex"}]
    answer = {"from": "::1", "to": "echo/tls", "served": True, "decided_by": None, "why": "all checks pass"}
    code, output, _ = run_with_answer(place, {**answer, "checks": checks}, "explain", "--from", "::1", "--to", "echo")
    assert code == 0
    assert output.startswith("::1 at echo/tls is served if it has a certificate of access.allow\n")


@pytest.mark.parametrize(
    ("served", "code", "verdict"),
    [(True, 0, "is served"), (False, 1, "is not served: bans, banned for 5m")],
)
def test_verdict_is_a_line_and_the_exit_code(place: Path, served: bool, code: int, verdict: str) -> None:
    answer: dict[str, Any] = {"from": "192.0.2.7:5", "to": "echo/udp", "served": served, "checks": CHECKS}
    if not served:
        answer |= {"decided_by": "bans", "why": "banned for 5m"}
    arguments = ("explain", "--from", "192.0.2.7:5", "--to", "echo/udp")
    found, output, request = run_with_answer(place, answer, *arguments)
    assert (found, request) == (code, "explain from=192.0.2.7:5 to=echo/udp")
    assert output.splitlines() == [
        f"192.0.2.7:5 at echo/udp {verdict}",
        "",
        "CHECK   PASSES  WHY",
        "access  yes     no rule",
        "bans    no      banned for 5m",
    ]
    found, output, _ = run_with_answer(place, answer, *arguments, "--json")
    assert (found, json.loads(output)) == (code, answer)
