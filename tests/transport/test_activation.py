"""Inherited sockets: those of a socket unit by name, those of an earlier netd by address."""

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.transport.activation import KEPT, Inherited, InheritedSocket, Place, fault_of
from tests.support.sockets import has_ipv6

Bind = Callable[..., socket.socket]


@pytest.fixture
def bind() -> Iterator[Bind]:
    """Makes a socket and binds it."""
    opened: list[socket.socket] = []

    def bind(family: int, kind: int, address: Any) -> socket.socket:
        opened.append(socket.socket(family, kind))
        opened[-1].bind(address)
        return opened[-1]

    yield bind
    for one in opened:
        one.close()


def test_sockets_of_one_name_are_duplicated_in_order_each_time(bind: Bind) -> None:
    first, second = (bind(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) for _ in range(2))
    inherited = Inherited([InheritedSocket("echo", first), InheritedSocket("echo", second)])
    for _ in range(2):
        copies = inherited.dup_named("echo")
        assert [copy.getsockname() for copy in copies] == [first.getsockname(), second.getsockname()]
        assert {copy.fileno() for copy in copies}.isdisjoint({first.fileno(), second.fileno()})
        for copy in copies:
            copy.close()
    assert first.fileno() >= 0


def test_name_that_no_endpoint_uses_is_unclaimed(bind: Bind) -> None:
    sockets = [bind(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)) for _ in range(3)]
    inherited = Inherited([InheritedSocket(name, one) for name, one in zip(("a", "b", "b"), sockets, strict=True)])
    assert inherited.dup_named("c") == []
    for copy in inherited.dup_named("a"):
        copy.close()
    assert [(one.name, one.socket) for one in inherited.unclaimed()] == [("b", sockets[1]), ("b", sockets[2])]


def test_socket_of_a_unit_is_not_found_by_its_address_nor_a_kept_one_by_its_name(bind: Bind) -> None:
    one, other = (bind(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)) for _ in range(2))
    inherited = Inherited([InheritedSocket("echo", one), InheritedSocket(f"{KEPT}1", other)])
    assert inherited.pop_kept(Place.at(socket.AF_INET, socket.SOCK_STREAM, one.getsockname())) is None
    assert inherited.dup_named(f"{KEPT}1") == []
    assert [found.socket for found in inherited.unclaimed()] == [one]
    assert [found.socket for found in inherited.pop_unused()] == [other]
    assert inherited.pop_unused() == []


def test_kept_socket_is_found_by_family_type_address_and_dual_stack() -> None:
    with socket.socket(socket.AF_INET6) as kept:
        kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        kept.bind(("::", 0))
        kept.listen()
        port = kept.getsockname()[1]
        inherited = Inherited([InheritedSocket(f"{KEPT}1", kept)])
        assert inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_STREAM, ("::", port))) is None, (
            "it serves IPv4 too"
        )
        assert inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_DGRAM, ("::", port), dual=True)) is None
        found = inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_STREAM, ("::", port), dual=True))
        assert found
        assert found.socket is kept
        assert inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_STREAM, ("::", port), dual=True)) is None
        assert inherited.pop_unused() == []


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this host")
def test_kept_ipv6_socket_is_found_with_and_without_flow_label_and_scope(bind: Bind) -> None:
    kept = bind(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0))
    port = kept.getsockname()[1]
    for address in (("::1", port), ("::1", port, 0, 0)):
        inherited = Inherited([InheritedSocket(f"{KEPT}1", kept)])
        assert inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", port, 0, 3))) is None
        found = inherited.pop_kept(Place.at(socket.AF_INET6, socket.SOCK_DGRAM, address, dual=dual(kept)))
        assert found
        assert found.name == f"{KEPT}1"


def test_kept_socket_that_is_bound_to_an_interface_is_found_with_it_alone(bind: Bind) -> None:
    kept = bind(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    inherited = Inherited([InheritedSocket(f"{KEPT}1", kept)])
    assert inherited.pop_kept(Place.at(socket.AF_INET, socket.SOCK_DGRAM, kept.getsockname())) is None
    found = inherited.pop_kept(Place.at(socket.AF_INET, socket.SOCK_DGRAM, kept.getsockname(), device="lo"))
    assert found
    assert found.socket is kept


def dual(opened: socket.socket) -> bool:
    return not opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize("name", ["path", "\udcff", "@abstract", "@\udcff"])
def test_kept_unix_socket_is_found_by_its_path(bind: Bind, tmp_path: Path, name: str) -> None:
    address = f"\0{tmp_path}/{name}" if name.startswith("@") else f"{tmp_path}/{name}"
    kept = bind(socket.AF_UNIX, socket.SOCK_DGRAM, address)
    inherited = Inherited([InheritedSocket(f"{KEPT}1", kept)])
    assert inherited.pop_kept(Place.at(socket.AF_UNIX, socket.SOCK_STREAM, address)) is None
    found = inherited.pop_kept(Place.at(socket.AF_UNIX, socket.SOCK_DGRAM, address))
    assert found
    assert found.socket is kept


def test_kept_socket_that_is_put_back_is_found_again_and_unused_in_the_end(bind: Bind) -> None:
    kept = bind(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    inherited = Inherited([InheritedSocket(f"{KEPT}1", kept)])
    for _ in range(2):
        found = inherited.pop_kept(Place.at(socket.AF_INET, socket.SOCK_STREAM, kept.getsockname()))
        assert found
        assert inherited.pop_unused() == []
        inherited.put_back(found)
    assert [left.socket for left in inherited.pop_unused()] == [kept]


def no_listener() -> socket.socket:
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    return opened


def connection() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        return listener.accept()[0]


def connected_datagrams() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.connect(opened.getsockname())
    return opened


def unix_pair() -> socket.socket:
    one, other = socket.socketpair()
    other.close()
    return one


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_listener, "a stream socket that does not listen"),
        (connection, "passed a connection; netd takes the listening socket (Accept=no in its unit)"),
        (unix_pair, "passed a connection; netd takes the listening socket (Accept=no in its unit)"),
        (connected_datagrams, "a datagram socket that is connected to one peer"),
        (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), "another kind (AF_UNIX, SOCK_SEQPACKET, "),
        (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), "another kind (AF_NETLINK, SOCK_RAW, protocol 0)"),
    ],
)
def test_socket_that_netd_cannot_serve_is_refused(make: Callable[[], socket.socket], reason: str) -> None:
    with make() as opened, socket.create_server(("127.0.0.1", 0)) as good:
        inherited = Inherited([InheritedSocket("x", good), InheritedSocket("x", opened)])
        with pytest.raises(ValueError, match=re.escape(reason)):
            inherited.dup_named("x")
        assert fault_of(good) == ""
