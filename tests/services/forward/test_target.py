"""Targets: which URLs are some."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.services.forward.target import Target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://192.0.2.7:80", Target("tcp", "192.0.2.7", 80)),
        ("tcp://[2001:DB8::7]:80", Target("tcp", "2001:db8::7", 80)),
        ("tcp://[fe80::1%eth0]:80", Target("tcp", "fe80::1%eth0", 80)),
        ("tls://db.example:5433", Target("tls", "db.example", 5433)),
        ("tcp://db.example:5432", Target("tcp", "db.example", 5432)),
        ("udp://192.0.2.7:53", Target("udp", "192.0.2.7", 53)),
        ("unix:///run//x.sock", Target("unix", path="/run/x.sock")),
        ("unixgram:///run/x.sock", Target("unixgram", path="/run/x.sock")),
        ("unix://@x", Target("unix", path="@x")),
    ],
)
def test_target_is_parsed(url: str, expected: Target) -> None:
    target = Target.parse(url)
    assert target == expected
    assert str(target) == url
    assert target.is_name == ("example" in url)
    assert target.kind == ("datagram" if url.startswith(("udp", "unixgram")) else "stream")


def test_path_is_as_connect_takes_it() -> None:
    assert Target.parse("unix://@x").socket_path == "\0x"
    assert Target.parse("unix:///run/x").socket_path == "/run/x"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("192.0.2.7:80", "expected a URL such as tcp://192.0.2.7:80, got '192.0.2.7:80'"),
        (80, "expected a URL"),
        ("http://192.0.2.7", "unknown scheme 'http' of a target"),
        ("systemd://x", "unknown scheme 'systemd' of a target"),
        ("tcp://*:80", "expected one address or name to connect to"),
        ("tcp://0.0.0.0:80", "expected one address or name to connect to"),
        ("tcp://[::]:80", "expected one address or name to connect to"),
        ("tcp://192.0.2.7:0", "expected a port from 1 to 65535"),
        ("tcp://192.0.2.7:80?nodelay=off", "a target has no socket options"),
        ("tcp://192.0.2.7", "expected HOST:PORT"),
        ("tcp://192.0.2.700:80", "expected an IPv4 address"),
        ("unix://run/x", "expected an absolute path"),
    ],
)
def test_other_urls_are_refused(url: object, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*").replace("[", r"\[")):
        Target.parse(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("tls://www.example.org.:443", "www.example.org"),
        ("tls://[fe80::1%eth0]:443", "fe80::1"),
        ("tls://192.0.2.7:443", "192.0.2.7"),
    ],
)
def test_certificate_has_neither_the_last_dot_nor_the_zone_of_a_host(url: str, host: str) -> None:
    assert Target.parse(url).certified_host == host


@given(st.one_of(st.text(), st.from_regex(r"(tcp|udp|unix|unixgram)://.{0,30}", fullmatch=True)))
def test_any_text_is_a_target_or_an_error(text: str) -> None:
    try:
        target = Target.parse(text)
    except ValueError:
        return
    assert bool(target.path) != bool(target.host and target.port)
