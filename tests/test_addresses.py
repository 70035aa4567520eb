"""Addresses as octets, as text and as networks."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import (
    Network,
    address_text,
    covers,
    host_text,
    is_link_local,
    is_loopback,
    is_non_unicast,
    map_to_ipv6,
    network_of,
    pack_address,
    parse_address,
    split_port,
    unmap,
    unmap_host,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", bytes([192, 0, 2, 7])),
        ("::ffff:192.0.2.7", bytes([192, 0, 2, 7])),
        ("::ffff:c000:207", bytes([192, 0, 2, 7])),
        ("::1", bytes(15) + b"\1"),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
    ],
)
def test_address_is_packed_into_octets(text: str, expected: bytes) -> None:
    assert parse_address(text) == pack_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "192.0.2",
        "192.0.2.7:7",
        "1.2.3.4/32",
        "/run/x.sock",
        "1.2.3.4%",
        "1.2.3.4%eth0",
        "fe80::1%",
        "fe80::1%eth0:80",
    ],
)
def test_invalid_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_address(text)


_IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_ADDRESSES = _IPV4 | st.integers(0, 2**128 - 1).map(IPv6Address) | _IPV4.map(lambda one: IPv6Address(f"::ffff:{one}"))


@given(_ADDRESSES, st.integers(0, 65535))
def test_an_address_and_its_port_go_through_text_and_octets(address: IPv4Address | IPv6Address, port: int) -> None:
    packed = unmap(address.packed)
    assert parse_address(str(address)) == pack_address(host_text(packed)) == packed
    assert unmap(map_to_ipv6(packed)) == packed
    assert len(map_to_ipv6(packed)) == 16
    host = unmap_host(host_text(address.packed))
    assert host == host_text(packed)
    assert split_port(address_text(host, port)) == (host, port)
    assert split_port(host) == (host, None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.7:53", "192.0.2.7", 53),
        ("name:0", "name", 0),
        ("name:00007", "name", 7),
        ("name", "name", None),
        ("name:", "name", None),
        ("*:7", "*", 7),
        (":7", "", 7),
        ("", "", None),
        ("[2001:db8::7]:65535", "2001:db8::7", 65535),
        ("[fe80::1%eth0]", "fe80::1%eth0", None),
        ("2001:db8::7", "2001:db8::7", None),
        ("::ffff:10.0.0.0/120", "::ffff:10.0.0.0/120", None),
    ],
)
def test_a_host_may_have_a_port(text: str, host: str, port: int | None) -> None:
    assert split_port(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name:x", "expected HOST:PORT such as"),
        ("name:٣", "expected HOST:PORT such as"),
        ("name:123456", "expected HOST:PORT such as"),
        ("[::1", "expected HOST:PORT such as"),
        ("[::1]x:7", "expected HOST:PORT such as"),
        ("[[::1]]:7", "expected HOST:PORT such as"),
        ("[192.0.2.7]:7", "expected an IPv6 address in brackets, got '192.0.2.7'"),
        ("name:65536", "expected a port from 0 to 65535, got 65536"),
    ],
)
def test_invalid_host_and_port_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        split_port(text)


@given(st.text("[]:.0127af%x٣", max_size=12))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        host, port = split_port(text)
    except ValueError:
        return
    assert host in text
    assert port is None or 0 <= port <= 65535


@given(_ADDRESSES, st.integers(0, 128), _ADDRESSES)
def test_a_network_holds_its_first_and_its_last_address(
    address: IPv4Address | IPv6Address, length: int, other: IPv4Address | IPv6Address
) -> None:
    given_ = ip_network((address, min(length, address.max_prefixlen)), strict=False)
    network = network_of(given_)
    assert network.bits in (32, 128)
    for number in (network.first, network.last):
        assert network.holds(number.to_bytes(network.bits // 8))
    for number in (network.first - 1, network.last + 1):
        assert not 0 <= number < 2**network.bits or not network.holds(number.to_bytes(network.bits // 8))
    if network.bits == given_.max_prefixlen:
        assert network.holds(other.packed) is (other in given_)


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    assert network_of(ip_network("::ffff:10.0.0.0/104")) == network_of(ip_network("10.0.0.0/8"))
    assert network_of(ip_network("::/95")) == Network(0, 95, 128)


def test_addresses_are_non_unicast_loopback_or_link_local() -> None:
    kinds = (
        (is_non_unicast, ("224.0.0.1", "255.255.255.255", "ff02::1"), ("192.0.2.7", "fe80::1")),
        (is_loopback, ("127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"), ("128.0.0.1", "::2", "::7f00:1")),
        (is_link_local, ("fe80::1", "febf::1"), ("fec0::1", "169.254.0.1", "2001:db8::1")),
    )
    for kind, those, others in kinds:
        assert all(kind(parse_address(text)) for text in those)
        assert not any(kind(parse_address(text)) for text in others)


def test_the_path_of_a_unix_socket_is_escaped() -> None:
    assert address_text("/run/\x1b\n", 0, unix=True) == "/run/\\x1b\\n"
    assert address_text("", 0, unix=True) == "unnamed"


def test_network_covers_those_within_it_and_of_its_version() -> None:
    wide, narrow, other = map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "::/0"))
    assert covers(wide, narrow)
    assert covers(wide, wide)
    assert not covers(narrow, wide)
    assert not covers(other, wide)
