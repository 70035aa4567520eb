"""Values that a shell completes, from the answers of netd."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from netd.cli.completion.answer import completions
from netd.cli.main import netd
from tests.client.fake_netd import FakeNetd

SERVICES = {
    "services": [
        {"service": "echo", "type": "echo", "enabled": True, "endpoints": ["tcp://*:7", "udp://*:7"]},
        {"service": "web", "type": "forward", "enabled": True, "endpoints": ["tls://*:443"]},
        {"service": "evil", "type": "time", "enabled": False, "endpoints": []},
    ]
}


def completed(place: Path, line: str, answer: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines for fish with this answer of netd, and the requests."""
    with FakeNetd(place / "control.sock", {"ok": True, **answer}) as fake:
        lines = completions(netd, "fish", line).splitlines()
    return lines, fake.requests


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("netd status e", ["plain,echo\ton tcp://*:7 udp://*:7", "plain,evil\toff"]),
        ("netd kick --service w", ["plain,web\ton tls://*:443"]),
        ("netd enable ", ["plain,evil\toff"]),
        ("netd disable ", ["plain,echo\ton tcp://*:7 udp://*:7", "plain,web\ton tls://*:443"]),
        ("netd target ", ["plain,web\ton tls://*:443"]),
        (
            "netd explain --to ",
            ["plain,echo/tcp\ttcp://*:7", "plain,echo/udp\tudp://*:7", "plain,web/tcp\ttls://*:443"],
        ),
    ],
)
def test_services_of_a_running_netd(place: Path, line: str, found: list[str]) -> None:
    assert completed(place, line, SERVICES) == (found, ["status"])


def test_connections_have_their_peer_and_age(place: Path) -> None:
    rows = [{"id": "0-1", "service": "echo", "peer": "192.0.2.7:5", "age_seconds": 90.0}]
    assert completed(place, "netd kick ", {"connections": rows}) == (
        ["plain,0-1\techo 192.0.2.7:5 1m30s"],
        ["connections"],
    )


def test_peers_are_those_with_connections(place: Path) -> None:
    answer = {"peers": [{"peer": "192.0.2.7", "connections": 3}]}
    assert completed(place, "netd connections --peer 1", answer) == (["plain,192.0.2.7\t3 open"], ["peers"])


def test_bans_have_the_time_that_is_left_and_the_reason(place: Path) -> None:
    answer = {"bans": [{"source": "2001:db8::/64", "remaining_seconds": 60, "why": "echo: rate"}]}
    assert completed(place, "netd ban remove 2", answer) == (
        ["plain,2001:db8::/64\t1m0s left, echo: rate"],
        ["ban list"],
    )


def test_targets_are_those_of_the_service(place: Path) -> None:
    assert completed(place, "netd target web ", {})[0] == ["plain,enable", "plain,disable", "plain,drain"]
    answer = {"targets": [{"target": "tcp://[::1]:9", "state": "up"}]}
    assert completed(place, "netd target web drain tcp:", answer) == (["plain,tcp://[::1]:9\tup"], ["target web"])


def test_services_of_a_file_are_completed_without_a_netd(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: []}\n  time:\n")
    assert completions(netd, "bash", f"netd config -c {file} ") == "plain,echo\nplain,time\n"
    assert completions(netd, "bash", f"netd config -c {file} t") == "plain,time\n"


def test_service_types_are_completed_without_a_netd() -> None:
    assert completions(netd, "bash", "netd services chat") == "plain,chat\n"


def test_control_characters_of_a_hostile_netd_are_escaped(place: Path) -> None:
    answer = {"services": [{**SERVICES["services"][0], "service": "e\x1b[2J\n", "endpoints": []}]}
    [line], _ = completed(place, "netd status ", answer)
    assert "\x1b" not in line


def test_netd_that_does_not_answer_is_waited_for_a_second_at_most(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "control.sock"))
        listener.listen()
        began = time.monotonic()
        with pytest.raises(Exception, match="^$"):
            completions(netd, "bash", "netd status ")
        assert time.monotonic() - began >= 1
