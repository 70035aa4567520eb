"""The addresses that services claim."""

import pytest

from netd.config.addresses import Addresses
from netd.config.problems import Mark
from netd.endpoints import Endpoint


def claimed(*urls: str) -> str:
    """What is said of the last of these URLs."""
    addresses = Addresses()
    said = ""
    for number, url in enumerate(urls):
        said = addresses.claim(Endpoint.parse(url), f"s{number}", Mark("netd.yaml", number + 1, 1))
    return said


@pytest.mark.parametrize("other", ["tcp://*:7", "tcp://127.0.0.1:7", "tls://*:7", "tls://[::1]:7"])
def test_an_address_is_claimed_once_with_tls_or_without(other: str) -> None:
    assert claimed(other, "tls://*:7") == f"tls://*:7 conflicts with {other} of 's0' in netd.yaml:1"
    assert claimed("tcp://*:7", other).endswith("conflicts with tcp://*:7 of 's0' in netd.yaml:1")


def test_other_addresses_do_not_conflict() -> None:
    assert claimed("tls://*:7", "udp://*:7", "tcp://*:8", "unix://@s") == ""
    assert claimed("tls://127.0.0.1:7", "tcp://127.0.0.2:7") == ""


def test_addresses_of_a_port_are_bounded() -> None:
    urls = [f"tcp://10.0.{number // 250}.{number % 250}:7" for number in range(1001)]
    assert claimed(*urls[:-1]) == ""
    assert claimed(*urls) == "more than 1000 addresses of one port; use * for all"
