"""`netd status`: the request and the table of services."""

import json
from pathlib import Path

from tests.cli.commands import run_with_answer
from tests.cli.top.answers import answer, service


def test_each_further_endpoint_has_its_own_row(place: Path) -> None:
    given = answer(
        service("echo", endpoints=["tcp://127.0.0.1/a", "udp://127.0.0.1/a"], answered=12),
        service("off", endpoints=[], enabled=False, why="by the config"),
    )
    code, output, request = run_with_answer(place, given, "status")
    assert (code, request) == (0, "status")
    first, _, blank, *rows = output.splitlines()
    assert first.startswith("netd 0.1.0, pid 1, ")
    assert blank == ""
    assert [row.split() for row in rows] == [
        ["SERVICE", "ENDPOINT", "CONNECTIONS", "ANSWERED", "REFUSED", "DROPPED", "FAILED", "STATE"],
        ["echo", "tcp://127.0.0.1/a", "0", "12", "0", "0", "0", "on"],
        ["udp://127.0.0.1/a"],
        ["off", "-", "0", "0", "0", "0", "0", "off", "(by", "the", "config)"],
    ]
    assert json.loads(run_with_answer(place, given, "status", "--json")[1]) == given
