"""URLs of targets, the addresses of their names, and addresses as text."""

import socket
import threading

import pytest

from netd.client.probe import targets
from netd.client.probe.targets import Address, Target, address_as_text, parse_target, resolve
from netd.endpoints import Endpoint
from netd.errors import UsageError

INET, UNIX = socket.AF_INET, socket.AF_UNIX


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("127.0.0.1:7", "expected a URL such as"),
        ("tcp://127.0.0.1", "has no port"),
    ],
)
def test_url_that_names_no_service_is_an_error(url: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(url)
    [text] = caught.value.problems
    assert text.startswith(f"{url}: ")
    assert problem in text


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:7", "udp://[::1]:7", "unix:///x/s", "unixgram://@x"])
def test_target_is_named_by_its_url(url: str) -> None:
    assert Target(parse_target(url), ()).name == url


def test_targets_keep_their_order_and_have_all_addresses() -> None:
    urls = ["unix:///x/s", "udp://127.0.0.1:7", "unixgram://@x", "tcp://a..b:7"]
    found = resolve([parse_target(url) for url in urls])
    assert [target.name for target in found] == urls
    assert [target.addresses for target in found] == [
        ((UNIX, "/x/s"),),
        ((INET, ("127.0.0.1", 7)),),
        ((UNIX, "\0x"),),
        (),
    ]
    assert [bool(target.problem) for target in found] == [False, False, False, True]
    assert "label" in found[3].problem


def test_resolver_that_does_not_answer_delays_no_other_target(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    ask = socket.getaddrinfo

    def hang(host: str, *how: object, **more: object) -> object:
        assert host != "slow.invalid" or release.wait(10)
        return ask(host, *how, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(targets, "_RESOLVER_TIMEOUT", 0.05)
    slow, quick = resolve([parse_target("tcp://slow.invalid:7"), parse_target("tcp://127.0.0.1:7")])
    release.set()
    assert (slow.addresses, slow.problem) == ((), "no answer from the resolver within 0 s")
    assert quick.addresses == ((INET, ("127.0.0.1", 7)),)


@pytest.mark.parametrize(
    ("addresses", "local"),
    [
        ([(INET, ("127.0.0.2", 7))], True),
        ([(socket.AF_INET6, ("::1", 7, 0, 0))], True),
        ([(UNIX, "/x/s")], True),
        ([(INET, ("192.0.2.1", 7))], False),
        ([(INET, ("127.0.0.1", 7)), (INET, ("192.0.2.1", 7))], False),
    ],
)
def test_target_is_local_if_all_its_addresses_are(addresses: list[Address], local: bool) -> None:
    assert Target(Endpoint.parse("tcp://name:7"), tuple(addresses)).local is local


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ((INET, ("192.0.2.1", 7)), "192.0.2.1:7"),
        ((socket.AF_INET6, ("::1", 7, 0, 0)), "[::1]:7"),
        ((UNIX, "/x/s"), "/x/s"),
        ((UNIX, "\0x"), "@x"),
    ],
)
def test_address_is_written_as_in_a_url(address: Address, text: str) -> None:
    assert address_as_text(address) == text
