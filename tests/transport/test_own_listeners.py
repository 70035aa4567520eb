"""Which connections lead to a listener of this process."""

import socket

import pytest

from netd.transport.own_listeners import OwnListeners

KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]


def listener(kind: int, host: str, *, dual: bool = False) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if ":" in host:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    one.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one


def is_own(known: OwnListeners, kind: int, host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as one:
        one.connect((host, port))
        return known.reached_by(one)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("host", "dual", "reached"),
    [
        ("127.0.0.2", False, ["127.0.0.2"]),
        ("0.0.0.0", False, ["127.0.0.1", "127.0.0.9"]),
        ("::", False, ["::1"]),
        ("::", True, ["::1", "127.0.0.1"]),
    ],
)
def test_listener_is_recognised_at_each_of_its_addresses(kind: int, host: str, dual: bool, reached: list[str]) -> None:
    known = OwnListeners()
    with listener(kind, host, dual=dual) as one:
        port = one.getsockname()[1]
        assert not any(is_own(known, kind, address, port) for address in reached)
        known.set([one])
        assert all(is_own(known, kind, address, port) for address in reached)


@pytest.mark.parametrize("kind", KINDS)
def test_other_listeners_are_none_of_them(kind: int) -> None:
    known = OwnListeners()
    with listener(kind, "127.0.0.2") as other, listener(kind, "0.0.0.0") as anywhere:
        with socket.socket(socket.AF_UNIX) as path:
            known.set([anywhere, path])
        assert not is_own(known, kind, "127.0.0.2", other.getsockname()[1])


def test_wildcard_address_of_ipv6_alone_is_not_reached_over_ipv4() -> None:
    known = OwnListeners()
    with listener(socket.SOCK_STREAM, "::") as own, socket.socket() as other:
        known.set([own])
        other.bind(("127.0.0.1", own.getsockname()[1]))
        other.listen()
        assert not is_own(known, socket.SOCK_STREAM, "127.0.0.1", own.getsockname()[1])


def test_socket_that_has_lost_its_peer_cannot_be_asked() -> None:
    with socket.socket() as one, pytest.raises(OSError, match="not connected"):
        OwnListeners().reached_by(one)
