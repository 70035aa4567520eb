"""URLs that clients connect to."""

import pytest

from netd.client.urls import client_endpoint


@pytest.mark.parametrize(
    "url",
    [
        "tcp://name:1",
        "tls://name:1",
        "tls://[::1]:1",
        "udp://[::1]:1",
        "unix:///run/x",
        "unixgram://@x",
        "tcp://127.0.0.1:1",
    ],
)
def test_url_of_one_service_is_accepted(url: str) -> None:
    assert str(client_endpoint(url)) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:7", "expected a URL such as tcp://localhost:7, .*, got 'localhost:7'"),
        ("tcp://localhost", "expected a URL such as tcp://localhost:7, .*; tcp://localhost has no port"),
        ("udp://[::1]", "; udp://.* has no port"),
        ("tcp://", "; tcp:// has no port"),
        ("tls://localhost", "; tls://localhost has no port"),
        ("tls://*:7", r"; tls://\*:7 is not an address to connect to"),
        ("tcp://*:7", r"; tcp://\*:7 is not an address to connect to"),
        ("tcp://0.0.0.0:7", "is not an address to connect to"),
        ("udp://[::]:7", "is not an address to connect to"),
        ("tcp://name:0", "; tcp://name:0 is not an address to connect to"),
        ("systemd://echo", "; systemd:// is for listeners"),
        ("tcp://name:7?backlog=7", "; socket options are for listeners"),
        ("tpc://name:7", "unknown scheme 'tpc'; did you mean 'tcp'"),
    ],
)
def test_url_of_no_service_is_an_error_without_a_listener_in_its_example(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        client_endpoint(url)
    assert "*:7" in url or "*:7" not in str(caught.value)
