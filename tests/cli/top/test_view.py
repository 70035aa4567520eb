"""The view of `netd top` and its layout, without a terminal: answers and keys in, rows and screens out."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from netd.cli.top.screen import Screen
from netd.cli.top.terminal import keys
from netd.cli.top.view import View
from netd.text import printable
from tests.cli.top.answers import answer, service


def view(*services: dict[str, Any], sort: str = "RATE") -> View:
    made = View(sort)
    made.on_status(answer(*services), 0.0)
    return made


def names(shown: View, page: int = 100) -> list[str]:
    rows, selected = shown.window(shown.rows(), page)
    return [("*" if number == selected else "") + row["SERVICE"] for number, row in enumerate(rows)]


def screen(shown: View, width: int = 80, height: int = 24, *, blocks: bool = True) -> list[str]:
    """The lines of the screen, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn(shown, width, height, blocks=blocks)).splitlines()


def drawn(shown: View, width: int = 80, height: int = 24, *, blocks: bool = True) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, markup=False, width=width, height=height, color_system="standard")
    console.print(Screen(shown, blocks=blocks).draw(width, height))
    return out.getvalue()


def press(shown: View, *pressed: str) -> list[tuple[str, ...]]:
    return [words for key in pressed if (words := shown.press(key)) is not None]


def test_sort_keys_cycle_through_the_columns() -> None:
    shown = view(service("a", answered=1), service("b", answered=3, connections=1), service("c", connections=7))
    assert names(shown) == ["*a", "b", "c"]
    shown.on_status(answer(service("a", answered=1), service("b", answered=3), service("c", answered=4)), 1.0)
    assert names(shown) == ["*c", "a", "b"], "by rate"
    press(shown, "s")
    assert (shown.sort, names(shown)) == ("SERVICE", ["*a", "b", "c"])
    press(shown, "r")
    assert names(shown) == ["*c", "b", "a"]
    press(shown, "r", ">", ">")
    assert (shown.sort, names(shown)) == ("ANSWERED", ["*c", "b", "a"])
    press(shown, "<", "<", "<", "<")
    assert shown.sort == "STATE"


def test_selection_follows_the_service() -> None:
    shown = view(service("a", answered=1), service("b", answered=2), service("c", answered=3), sort="ANSWERED")
    press(shown, "j", "down", "k")
    assert names(shown) == ["c", "*b", "a"]
    shown.on_status(answer(service("a"), service("b", answered=9), service("c", answered=3)), 1.0)
    assert names(shown) == ["*b", "c", "a"]
    shown.on_status(answer(service("a"), service("c", answered=3)), 2.0)
    assert names(shown) == ["*c", "a"], "the selected service was removed"
    press(shown, *["up"] * 5)
    assert names(shown) == ["*c", "a"]
    press(shown, *["down"] * 5)
    assert names(shown) == ["c", "*a"]


def test_services_scroll_on_a_small_screen() -> None:
    shown = view(*(service(f"{number:02}") for number in range(50)))
    assert names(shown, 4) == ["*00", "01", "02", "03"]
    press(shown, *["j"] * 4)
    assert names(shown, 4) == ["01", "02", "03", "*04"]
    press(shown, "k")
    assert names(shown, 4) == ["01", "02", "*03", "04"]
    press(shown, "page down")
    assert names(shown, 4)[-1] == "*07"
    press(shown, "end")
    assert names(shown, 4) == ["46", "47", "48", "*49"]
    assert names(shown, 6)[0] == "44", "no empty rows on a screen that grew"
    press(shown, "page up")
    assert "*43" in names(shown, 6)
    press(shown, "home")
    assert names(shown, 4)[0] == "*00"
    assert names(shown, 0) == ["*00"]


def test_disable_needs_a_confirmation() -> None:
    shown = view(service("a"), service("b", enabled=False, why="by the config"))
    assert press(shown, "d") == []
    assert "disable a (y/n)?" in screen(shown)[-1]
    for key in ("n", "escape", "enter", "q"):
        assert press(shown, key) == []
        assert (shown.disabling, shown.done) == (None, False)
        press(shown, "d")
    assert press(shown, "x", "e", "y") == [("disable", "a")]
    assert press(shown, "e") == []
    assert screen(shown)[-1].rstrip() == "a is already on"
    assert press(shown, "j", "e") == [("enable", "b")]
    assert press(shown, "d") == []
    assert shown.disabling is None
    assert press(shown, "k", "d", "SIGINT") == []
    assert shown.done


def test_peers_are_requested_while_they_are_shown() -> None:
    shown = view(service("a"), service("b"))
    assert shown.requests() == [("status",)]
    press(shown, "P")
    assert shown.requests() == [("status",), ("peers",)]
    peer = {"peer": "192.0.2.7", "connections": 2, "bytes_in": 7, "bytes_out": 10**9}
    shown.peers = {"total": 5, "peers": [peer, {**peer, "peer": "2001:db8::1", "connections": 1, "bytes_in": 8}]}
    lines = screen(shown)
    assert lines[2].rstrip() == "peers of all services: 5 connections, 3 of them from the 2 peers with most"
    assert [line.split() for line in lines[3:6]] == [
        ["PEER", "CONNS", "IN", "OUT"],
        ["192.0.2.7", "2", "7", "1.0G"],
        ["2001:db8::1", "1", "8", "1.0G"],
    ]
    press(shown, "s")
    assert screen(shown)[4].startswith("2001:db8::1")
    assert press(shown, "d") == []
    assert "press tab for services" in shown.message
    press(shown, "tab", "j", "enter")
    assert shown.requests() == [("status",), ("peers", "service=b")]
    press(shown, "escape")
    assert names(shown) == ["a", "*b"]


def test_keys_are_safe_without_services() -> None:
    shown = view()
    everything = ["j", "up", "page down", "page up", "home", "end", "s", "<", "r", "e", "d", "enter", "escape", "y"]
    assert press(shown, *everything, "tab", *everything, "?", "q") == []
    assert "0 of 0 services on" in screen(shown)[2]
    assert shown.done


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 5), (3, 2), (1, 1)])
@pytest.mark.parametrize("key", ["", "?", "tab"])
def test_screen_fits_the_terminal(width: int, height: int, key: str) -> None:
    shown = view(*(service(f"a-service-with-a-long-name-{number}", answered=10**9) for number in range(90)))
    press(shown, key)
    for blocks in (True, False):
        lines = screen(shown, width, height, blocks=blocks)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert blocks or all(line.isascii() for line in lines)


def test_wide_screen_shows_more_columns() -> None:
    shown = view(service("a", endpoints=["tcp://127.0.0.1:7", "udp://127.0.0.1:7"]), service("b", endpoints=[]))
    heads = "RATE GRAPH CONNS ANSWERED REFUSED DROPPED FAILED STATE"
    assert screen(shown)[3].split() == ["SERVICE", *heads.split()]
    assert screen(shown, 120)[3].split() == ["SERVICE", "ENDPOINT", *heads.split()]
    assert screen(shown, 120)[4].split()[1:3] == ["tcp://127.0.0.1:7", "+1"]
    assert screen(shown, 50)[3].split() == ["SERVICE", "RATE", "CONNS", "REFUSED", "DROPPED", "FAILED"]


def test_selected_service_is_shown_in_full() -> None:
    counters = {"bytes_in": 1500, "refused": {"rate": 3, "ban": 1}, "dropped": {"queue": 2}, "checks": 4}
    shown = view(service("a", type="time", enabled=False, why="by the config", counters=counters))
    assert [line.rstrip() for line in screen(shown, 100)[-3:-1]] == [
        "a (time) off (by the config): tcp://127.0.0.1/a",
        "1500 octets in; 0 octets out; refused: rate 3, ban 1; dropped: queue 2; checks: 4",
    ]


def test_control_characters_and_markup_are_escaped() -> None:
    nasty = "unix:///run/[bold]\x1b[2J\x9b1m\u202eé\udc80"
    assert printable(nasty) == "unix:///run/[bold]\\x1b[2J\\x9b1m\\u202eé\\udc80"
    shown = view(service("a", endpoints=[nasty]))
    for blocks, letter in ((True, "é"), (False, "\\xe9")):
        assert f"[bold]\\x1b[2J\\x9b1m\\u202e{letter}\\udc80" in screen(shown, 120, blocks=blocks)[-3]
        assert "\x1b[2J" not in drawn(shown, 120, blocks=blocks)
    shown.trouble = nasty
    assert "\\x1b[2J" in screen(shown)[-1]


def test_keys_are_recognised_however_the_octets_are_split() -> None:
    data = b"jq\x1b[A\x1bOB\x1b[5~\x1b[1;5C\t\r\n\x03\xff\x1b[Z?"
    names = ["j", "q", "up", "down", "page up", "unknown", "tab", "enter", "enter", "\x03", "ÿ", "tab", "?"]
    assert keys(data, complete=False) == (names, b"")
    for cut in range(len(data)):
        first, rest = keys(data[:cut], complete=False)
        second, rest = keys(rest + data[cut:], complete=False)
        assert (first + second, rest) == (names, b"")
    assert keys(b"\x1b", complete=False) == ([], b"\x1b")
    assert keys(b"\x1b", complete=True) == (["escape"], b"")
    assert keys(b"\x1b[", complete=True) == (["escape", "["], b"")
