"""The view of `netd top`, without a terminal: answers and keys in, rows and requests out."""

from netd.cli.top.view import View
from tests.cli.top.answers import answer, service
from tests.cli.top.views import press, screen, view


def names(shown: View, page: int = 100) -> list[str]:
    rows, selected = shown.window(shown.rows(), page)
    return [("*" if number == selected else "") + row["SERVICE"] for number, row in enumerate(rows)]


def test_sort_keys_cycle_through_the_columns() -> None:
    shown = view(service("a", requests=1), service("b", requests=3, connections=1), service("c", connections=7))
    assert names(shown) == ["*a", "b", "c"]
    shown.on_status(answer(service("a", requests=1), service("b", requests=3), service("c", requests=4)), 1.0)
    assert names(shown) == ["*c", "a", "b"], "by rate"
    press(shown, "s", "s")
    assert (shown.sort, names(shown)) == ("SERVICE", ["*a", "b", "c"])
    press(shown, "r")
    assert names(shown) == ["*c", "b", "a"]
    press(shown, "r", ">", ">")
    assert (shown.sort, names(shown)) == ("REQUESTS", ["*c", "b", "a"])
    press(shown, *["<"] * 5)
    assert shown.sort == "STATE"


def test_selection_follows_the_service() -> None:
    shown = view(service("a", requests=1), service("b", requests=2), service("c", requests=3), sort="REQUESTS")
    press(shown, "j", "down", "k")
    assert names(shown) == ["c", "*b", "a"]
    shown.on_status(answer(service("a"), service("b", requests=9), service("c", requests=3)), 1.0)
    assert names(shown) == ["*b", "c", "a"]
    shown.on_status(answer(service("a"), service("c", requests=3)), 2.0)
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
    peer = {"peer": "192.0.2.7", "connections": 2, "received_bytes": 7, "sent_bytes": 10**9}
    shown.peers = {"total": 5, "peers": [peer, {**peer, "peer": "2001:db8::1", "connections": 1, "received_bytes": 8}]}
    lines = screen(shown)
    assert lines[2].rstrip() == "peers of all services: 5 connections, 3 of them from the 2 peers with most"
    assert [line.split() for line in lines[3:6]] == [
        ["PEER", "OPEN", "IN", "OUT"],
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
