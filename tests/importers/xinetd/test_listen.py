"""Addresses to listen on: protocol, port, family."""

from pathlib import Path
from typing import Any

import pytest

from tests.importers.xinetd.reading import of_text

CAT = "user = nobody\nserver = /bin/cat\n"


def listen(folder: Path, lines: str, dialect: str = "debian") -> tuple[list[str] | None, bool, str]:
    """The URLs, whether the service is on, and the account."""
    result = of_text(
        folder, f"service {'x' if 'UNLISTED' in lines else 'printer'}\n{{\n{lines}\n{CAT}}}\n", dialect=dialect
    )
    service: dict[str, Any] = next(iter(result.services.values()), {"enabled": False})
    return service.get("listen"), service.get("enabled") is not False, "\n".join(result.lines)


UNLISTED = "type = UNLISTED\nport = 1025\nwait = no\n"


@pytest.mark.parametrize(
    ("lines", "debian", "rhel"),
    [
        ("socket_type = stream", "tcp://*:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp", "tcp://*:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp\nflags = IPv4", "tcp://0.0.0.0:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp\nflags = IPv6", "tcp://*:1025", "tcp://*:1025"),
        ("protocol = tcp\nflags = IPv6\nv6only = yes", "tcp://[::]:1025", "tcp://[::]:1025"),
        ("protocol = tcp\nflags = IPv6\nv6only = no", "tcp://*:1025", "tcp://*:1025"),
        ("protocol = tcp\nv6only = yes", "tcp://[::]:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp\nflags = IPv6 IPv4", "tcp://*:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp\nbind = 192.0.2.1", "tcp://192.0.2.1:1025", "tcp://192.0.2.1:1025"),
        ("protocol = tcp\ninterface = 2001:db8::1", "tcp://[2001:db8::1]:1025", "tcp://[2001:db8::1]:1025"),
        ("protocol = tcp\nbind = ::", "tcp://*:1025", "tcp://*:1025"),
        ("protocol = tcp\nbind = 0.0.0.0", "tcp://0.0.0.0:1025", "tcp://0.0.0.0:1025"),
        ("protocol = tcp\nbind = host.example", "tcp://host.example:1025", "tcp://host.example:1025"),
        ("protocol = tcp\nflags = KEEPALIVE NODELAY", "tcp://*:1025?keepalive=on", "tcp://0.0.0.0:1025?keepalive=on"),
    ],
)
def test_family_is_that_of_the_dialect(tmp_path: Path, lines: str, debian: str, rhel: str) -> None:
    assert listen(tmp_path, UNLISTED + lines)[0] == [debian]
    assert listen(tmp_path, UNLISTED + lines, "rhel")[0] == [rhel]


def test_both_flags_switch_the_original_off_and_not_the_fork(tmp_path: Path) -> None:
    lines = UNLISTED + "protocol = tcp\nflags = IPv6 IPv4"
    assert listen(tmp_path, lines)[1] is True
    assert listen(tmp_path, lines, "rhel")[1] is False


def test_v6only_of_no_is_a_note(tmp_path: Path) -> None:
    assert "xinetd took any value for yes" in listen(tmp_path, UNLISTED + "protocol = tcp\nv6only = no")[2]


@pytest.mark.parametrize(
    ("lines", "expected", "is_on", "told"),
    [
        ("wait = no\nprotocol = tcp", ["tcp://*:515"], True, ""),
        ("wait = no\nprotocol = tcp\nport = 515", ["tcp://*:515"], True, ""),
        ("wait = no\nprotocol = tcp\nport = 516", ["tcp://*:516"], False, "516 is not the port 515"),
        ("wait = no\nprotocol = udp\nport = 516", ["udp://*:516"], False, "not in /etc/services"),
        ("wait = no\nprotocol = udp", None, False, "it has no port: printer with udp is not in /etc/services"),
        ("wait = no\ntype = UNLISTED\nprotocol = tcp", None, False, "it has no port, which UNLISTED needs"),
        ("wait = no\ntype = UNLISTED\nprotocol = tcp\nport = http", None, False, "http is no number"),
        ("wait = no\ntype = UNLISTED\nport = 1025", None, False, "neither socket_type nor protocol"),
        ("wait = no\ntype = UNLISTED\nport = 1025\nsocket_type = raw", None, False, "no sockets of the type raw"),
        ("wait = no\ntype = UNLISTED\nport = 1025\nprotocol = tcp6", None, False, "protocol tcp6"),
        ("wait = no\ntype = UNLISTED\nport = 1\nprotocol = tcp\nsocket_type = dgram", None, False, "no sockets of the"),
        ("wait = no\ntype = UNLISTED\nport = 0\nprotocol = tcp", ["tcp://*:0"], True, ""),
        (
            "wait = yes\ntype = UNLISTED\nport = 1\nprotocol = udp\nbind = 224.0.0.9",
            ["udp://224.0.0.9:1"],
            False,
            "multicast",
        ),
        ("wait = no\ntype = UNLISTED\nport = 1\nprotocol = tcp\nbind = *", ["tcp://*:1"], False, "is no address"),
        ("wait = no\ntype = UNLISTED\nport = 1\nprotocol = tcp\nbind = 25", ["tcp://*:1"], False, "is no address"),
    ],
)
def test_port_is_that_of_the_name_or_of_an_unlisted_service(
    tmp_path: Path, lines: str, expected: list[str] | None, told: str, *, is_on: bool
) -> None:
    urls, enabled, account = listen(tmp_path, lines)
    assert (urls, enabled) == (expected, is_on or (expected is not None and enabled))
    assert told in account
    assert enabled is is_on or expected is None
