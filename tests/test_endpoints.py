"""Endpoints: the parts of a URL, errors, and endpoints that overlap."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.endpoints import Endpoint
from netd.errors import InvalidValueError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tcp://*:7", ("tcp", "*", 7, "")),
        ("udp://192.0.2.1:65535", ("udp", "192.0.2.1", 65535, "")),
        ("tcp://[2001:DB8::0:1]:7", ("tcp", "2001:db8::1", 7, "")),
        ("tcp://[fe80::1%eth0]:7", ("tcp", "fe80::1%eth0", 7, "")),
        ("tcp://localhost:0", ("tcp", "localhost", 0, "")),
        ("unix:///run/netd/echo.sock", ("unix", "", 0, "/run/netd/echo.sock")),
        ("unixgram://@echo", ("unixgram", "", 0, "@echo")),
    ],
)
def test_url_is_parsed(text: str, parts: tuple[object, ...]) -> None:
    endpoint = Endpoint.parse(text)
    assert (endpoint.transport, endpoint.host, endpoint.port, endpoint.path) == parts
    assert str(endpoint) == text
    assert endpoint.streams == (endpoint.transport in ("tcp", "unix"))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("unix:/tmp/y", "did you mean 'unix:///tmp/y'?"),
        ("/tmp/y", "did you mean 'unix:///tmp/y'?"),
        ("unix:@y", "did you mean 'unix://@y'?"),
        ("*:7007", "did you mean 'tcp://*:7007'?"),
        ("localhost:7007", "did you mean 'tcp://localhost:7007'?"),
        ("tcp:*:7", "did you mean 'tcp://*:7'?"),
        ("[::1]:7", "did you mean 'tcp://[::1]:7'?"),
        ("7007", "did you mean 'tcp://*:7007'?"),
        ("tcp://::1:7007", "did you mean 'tcp://[::1]:7007'?"),
        ("udp://:7", "did you mean 'udp://*:7'?"),
        ("tpc://*:7", "did you mean 'tcp'?"),
        ("TCP://*:7", "did you mean 'tcp'?"),
        ("tcp://*:7?backlgo=1", "did you mean 'backlog'?"),
        ("nonsense", ""),
        ("tcp://localhost", ""),
        ("tcp://[[::1]]:7", ""),
        (7, ""),
        ("", ""),
    ],
)
def test_url_that_can_be_guessed_has_a_hint(text: object, hint: str) -> None:
    with pytest.raises(ValueError, match=".") as raised:
        Endpoint.parse(text)
    assert getattr(raised.value, "hint", "") == hint


def test_faults_of_a_url_are_told_one_by_one() -> None:
    with pytest.raises(InvalidValueError) as raised:
        Endpoint.parse("tcp://nonsense?backlgo=1&nodelay=maybe&nodelay=on")
    assert [fault.message for fault in raised.value.faults] == [
        "expected HOST:PORT such as *:7, 192.0.2.1:7 or [2001:db8::1]:7, got 'nonsense'",
        "unknown socket option 'backlgo' for tcp",
        "socket option nodelay: expected on or off, got 'maybe'",
        "socket option nodelay is given twice",
    ]


def test_tls_is_a_stream_over_tcp() -> None:
    endpoint = Endpoint.parse("tls://127.0.0.1:7?nodelay=off")
    assert (endpoint.transport, endpoint.socket_transport, endpoint.streams) == ("tls", "tcp", True)
    assert endpoint.overlaps(Endpoint.parse("tcp://*:7"))
    assert not endpoint.overlaps(Endpoint.parse("udp://*:7"))
    assert endpoint.at("127.0.0.1", 8) == "tls://127.0.0.1:8"


def test_socket_options_are_parsed() -> None:
    options = Endpoint.parse("tcp://*:7?backlog=8&nodelay=off&keepalive=on&rcvbuf=64KiB&freebind=1&device=eth0").options
    assert (options.backlog, options.nodelay, options.keepalive) == (8, False, True)
    assert (options.rcvbuf, options.freebind, options.device) == (65536, True, "eth0")
    options = Endpoint.parse("unix:///x?mode=0660&owner=netd&group=24").options
    assert (options.mode, options.owner, options.group) == (0o660, "netd", "24")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tpc://*:7", "unknown scheme 'tpc'; did you mean 'tcp'?"),
        ("*:7", "expected a URL such as"),
        (7, "expected a URL such as tcp://"),
        ("tcp://*", "expected HOST:PORT"),
        ("tcp://*:", "expected HOST:PORT"),
        ("tcp://:7", "expected HOST:PORT"),
        ("tcp://::1:7", "expected HOST:PORT"),
        ("tcp://*:echo", "expected HOST:PORT"),
        ("tcp://*:65536", "a port from 0 to 65535, got 65536"),
        ("tcp://*:7/path", "expected HOST:PORT"),
        ("tcp://user@host:7", "expected HOST:PORT"),
        ("tcp://1.2.3:7", "an IPv4 address, got '1.2.3'"),
        ("tcp://1.2.3.256:7", "an IPv4 address"),
        ("tcp://[1.2.3.4]:7", "an IPv6 address"),
        ("tcp://[::ffff:1.2.3.4]:7", "an IPv6 address"),
        ("tcp://-x:7", "an address, a name or"),
        ("unix://run/x", "expected an absolute path"),
        ("unix://", "expected an absolute path"),
        ("unix:///" + "x" * 107, "a path of at most 107 octets"),
        ("unix:///x\0y", "a path of at most 107 octets"),
        ("tcp://*:7?backlgo=1", "unknown socket option 'backlgo' for tcp; did you mean 'backlog'?"),
        ("udp://*:7?backlog=1", "unknown socket option 'backlog' for udp"),
        ("tcp://*:7?mode=0660", "unknown socket option 'mode' for tcp"),
        ("tcp://*:7?backlog", "is given without a value"),
        ("tcp://*:7?backlog=1&backlog=2", "is given twice"),
        ("tcp://*:7?backlog=0", "socket option backlog: expected a number from 1 to 65535, got '0'"),
        ("tcp://*:7?backlog=99999999999999999999", "socket option backlog: expected a number"),
        ("tcp://*:7?nodelay=maybe", "socket option nodelay: expected on or off"),
        ("unix:///x?mode=888", "socket option mode: expected octal permissions"),
        ("tcp://*:7?device=a b", "socket option device: expected a name"),
        ("unix:///x?owner=4294967295", "socket option owner: expected a number below 4294967295"),
        ("unix:///x?owner=99999999999999999999", "socket option owner: expected a number below 4294967295"),
        ("tcp://*:7?a=1&nodelay=x", "unknown socket option 'a' for tcp; known: backlog, device, "),
        ("tcp://*:7?a=1&nodelay=x", "; socket option nodelay: expected on or off"),
    ],
)
def test_invalid_url_is_an_error(text: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Endpoint.parse(text)


@given(st.one_of(st.text(), st.from_regex(r"(tcp|udp|unix|unixgram)://.{0,30}(\?.{0,30})?")))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError as error:
        assert len(str(error)) < 300
    else:
        assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("tcp://*:7", "tcp://127.0.0.1:7", True),
        ("tcp://*:7", "tcp://[::1]:7", True),
        ("tcp://*:7", "tcp://0.0.0.0:7", True),
        ("tcp://*:7", "udp://*:7", False),
        ("tcp://*:7", "tcp://*:8", False),
        ("tcp://*:0", "tcp://*:0", False),
        ("tcp://0.0.0.0:7", "tcp://[::]:7", False),
        ("tcp://0.0.0.0:7", "tcp://10.0.0.1:7", True),
        ("tcp://[::]:7", "tcp://10.0.0.1:7", False),
        ("tcp://[::0:1]:7", "tcp://[::1]:7", True),
        ("tcp://127.0.0.1:7", "tcp://127.0.0.2:7", False),
        ("tcp://*:7?device=eth0", "tcp://*:7?device=eth1", False),
        ("tcp://*:7?device=eth0", "tcp://*:7", True),
        ("unix:///run//x", "unix://///run/x", True),
        ("unix:///x", "unix:///x?mode=600", True),
        ("unix:///x", "unixgram:///x", True),
        ("unix://@x", "unixgram://@x", False),
        ("unix://@x", "unix://@x", True),
        ("unix:///x", "unix:///y", False),
    ],
)
def test_endpoints_overlap_at_one_address(one: str, other: str, overlap: bool) -> None:
    first, second = Endpoint.parse(one), Endpoint.parse(other)
    assert first.overlaps(second) is overlap
    assert second.overlaps(first) is overlap
