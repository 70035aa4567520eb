"""The layout of `netd top`, for screens of all sizes."""

import pytest

from netd.cli.top.view import HELP
from netd.text import printable
from tests.cli.top.answers import answer, service
from tests.cli.top.views import drawn, press, screen, view


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 5), (3, 2), (1, 1)])
@pytest.mark.parametrize("key", ["", "?", "tab"])
def test_screen_fits_the_terminal(width: int, height: int, key: str) -> None:
    shown = view(*(service(f"a-service-with-a-long-name-{number}", requests=10**9) for number in range(90)))
    press(shown, key)
    for blocks in (True, False):
        lines = screen(shown, width, height, blocks=blocks)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert blocks or all(line.isascii() for line in lines)


def test_wide_screen_shows_more_columns() -> None:
    shown = view(service("a", endpoints=["tcp://127.0.0.1:7", "udp://127.0.0.1:7"]), service("b", endpoints=[]))
    heads = "RATE OCTETS/S GRAPH OPEN REQUESTS REFUSED DROPPED FAILED STATE"
    assert screen(shown)[3].split() == ["SERVICE", *heads.replace("REQUESTS ", "").split()]
    assert screen(shown, 120)[3].split() == ["SERVICE", "ENDPOINT", *heads.split()]
    assert screen(shown, 120)[4].split()[1:3] == ["tcp://127.0.0.1:7", "+1"]
    assert screen(shown, 50)[3].split() == ["SERVICE", "RATE", "OCTETS/S", "OPEN", "REFUSED", "STATE"]


def test_selected_service_is_shown_in_full() -> None:
    counters = {
        "received_bytes": 1500,
        "connections_refused": {"ban": 1, "rate": 3},
        "datagrams_dropped": {"queue": 2},
        "connections_checks": 4,
    }
    shown = view(service("a", type="time", enabled=False, why="by the config", counters=counters))
    assert [line.rstrip() for line in screen(shown, 100)[-3:-1]] == [
        "a (time) off (by the config): tcp://127.0.0.1/a",
        "1500 octets received; 0 octets sent; refused: rate 3, ban 1; dropped: queue 2; checks: 4",
    ]


def test_service_that_is_failing_has_the_state_and_the_reason() -> None:
    shown = view(service("a", failing="exit code 3", failed_at=0.0))
    assert screen(shown, 120)[4].split()[-1] == "failing"
    assert "failing: exit code 3, 1s ago" in screen(shown, 120)[-2]


def test_control_characters_and_markup_are_escaped() -> None:
    nasty = "unix:///run/[bold]\x1b[2J\x9b1m\u202eé\udc80"
    assert printable(nasty) == "unix:///run/[bold]\\x1b[2J\\x9b1m\\u202eé\\udc80"
    shown = view(service("a", endpoints=[nasty]))
    for blocks, letter in ((True, "é"), (False, "\\xe9")):
        assert f"[bold]\\x1b[2J\\x9b1m\\u202e{letter}\\udc80" in screen(shown, 120, blocks=blocks)[-3]
        assert "\x1b[2J" not in drawn(shown, 120, blocks=blocks)
    shown.trouble = nasty
    assert "\\x1b[2J" in screen(shown)[-1]


def test_help_is_whole_on_a_usual_terminal() -> None:
    shown = view(service("a"))
    press(shown, "?")
    lines = "\n".join(line.rstrip() for line in screen(shown))
    for keys, what in HELP:
        assert f"{keys:14}  {what}".rstrip() in lines


def test_head_has_the_problems_of_netd() -> None:
    shown = view(service("a"))
    shown.on_status(answer(service("a"), last_reload_successful=False, last_reload_problems=["a.yaml:1:1: bogus"]), 1.0)
    assert screen(shown)[2].rstrip() == "reload rejected: a.yaml:1:1: bogus"
    assert screen(shown)[3].startswith("1 of 1 service on")
