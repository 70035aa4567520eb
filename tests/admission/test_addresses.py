"""Sources, networks, and longest prefix match."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import Network, network_of, parse_address
from netd.admission.addresses import (
    Named,
    Prefixes,
    parse_networks,
    parse_source,
    source_network,
    source_of,
    source_text,
)


def test_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert source_of(parse_address("192.0.2.7")) != source_of(parse_address("192.0.2.8"))
    assert source_of(parse_address("2001:db8::1")) == source_of(parse_address("2001:db8::ffff:1"))
    assert source_of(parse_address("2001:db8::1")) != source_of(parse_address("2001:db8:0:1::1"))
    for text in ("192.0.2.7", "2001:db8::/64"):
        assert source_text(parse_source(text)) == text
    assert source_text(parse_source("2001:db8::5")) == "2001:db8::/64"
    assert source_text(parse_source("192.0.2.7/32")) == "192.0.2.7"
    for shared in ("64:ff9b::c000:20%d", "64:ff9b:1::c000:20%d", "64:ff9b:1:ffff:1:2:3:%d", "fe80::%d"):
        one, other = parse_source(shared % 1), parse_source(shared % 2)
        assert one != other
        assert source_text(one) == shared % 1
        assert parse_source(f"{shared % 1}/128") == one
    for network in ("64:ff9b:0:1::", "64:ff9b:2::", "fec0::"):
        assert parse_source(f"{network}1") == parse_source(f"{network}2")
    for text in ("64:ff9b::/64", "fe80::1/64", "192.0.2.0/24", "2001:db8::/32", "2001:db8::/128", "x"):
        with pytest.raises(ValueError, match="expected"):
            parse_source(text)


@pytest.mark.parametrize("text", ["192.0.2.7/32", "2001:db8::/64", "64:ff9b::c000:207/128", "fe80::7/128"])
def test_source_is_a_network(text: str) -> None:
    assert source_network(parse_source(text)) == network_of(ip_network(text))


def test_prefixes_tell_where_their_value_changes() -> None:
    prefixes = Prefixes(
        (network, text) for text in ("10.0.0.0/8", "10.1.0.0/16", "::1") for network in parse_networks(text)
    )
    assert list(prefixes.starts(4)) == [0, 10 << 24, 10 << 24 | 1 << 16, 10 << 24 | 2 << 16, 11 << 24]
    assert list(prefixes.starts(16)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.0.0.0/8", (Network(10 << 24, 8, 32),)),
        ("10.0.0.0/255.0.0.0", (Network(10 << 24, 8, 32),)),
        ("192.0.2.7", (Network(0xC0000207, 32, 32),)),
        ("2001:db8::/32", (Network(0x20010DB8 << 96, 32, 128),)),
        ("::ffff:10.0.0.0/104", (Network(10 << 24, 8, 32),)),
        ("any", (Network(0, 0, 32), Network(0, 0, 128))),
        ("local", (Network(127 << 24, 8, 32), Network(1, 128, 128))),
    ],
)
def test_networks_and_their_names(text: str, networks: tuple[Network, ...]) -> None:
    assert parse_networks(text) == Named.parse(text).networks == networks


# Few values, so that prefixes overlap.
_BITS = st.sampled_from([0, 1, 2, 3, 128, 255])


@st.composite
def _networks(draw: st.DrawFn) -> Network:
    octets = draw(st.sampled_from([4, 16]))
    address = bytes(draw(st.lists(_BITS, min_size=octets, max_size=octets)))
    return _network(int.from_bytes(address), draw(st.integers(0, 8 * octets)), 8 * octets)


def _network(address: int, length: int, bits: int) -> Network:
    return Network(address >> bits - length << bits - length, length, bits)


_parts = st.one_of(st.integers(0, 300).map(str), st.text("0123456789+_ ٣/.:", max_size=3))
_words = st.one_of(st.sampled_from(["", "0", "ffff", "FFFF", "2001", "db8"]), st.text("0f+_ ٣:.", max_size=5))
_texts = st.one_of(
    st.builds(
        "{}{}{}".format, st.lists(_parts, min_size=3, max_size=5).map(".".join), st.sampled_from(["", "/"]), _parts
    ),
    st.builds("{}{}/{}".format, st.lists(_words, max_size=9).map(":".join), st.sampled_from(["", ":", "::"]), _parts),
    _networks().map(lambda one: f"{(IPv4Address if one.bits == 32 else IPv6Address)(one.first)}/{one.length}"),
)


@given(_texts)
def test_networks_are_parsed_as_by_the_ipaddress_module(text: str) -> None:
    try:
        expected = ip_network(text)
    except ValueError:
        with pytest.raises(ValueError, match="expected|did you mean"):
            parse_networks(text)
        return
    [network] = parse_networks(text)
    first, last = int(expected.network_address), int(expected.broadcast_address)
    if expected.version == 6 and first >> 32 == last >> 32 == 0xFFFF:
        first, last = first & 0xFFFFFFFF, last & 0xFFFFFFFF
        assert network.bits == 32
    assert (network.first, network.last) == (first, last)


@pytest.mark.parametrize("value", ["", "lan", "10.0.0.0/33", "10.0.0.0/255.0.0", 10, 10.5, None, True, ["any"], {}])
def test_networks_reject_other_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected an address, a network such as"):
        parse_networks(value)


def test_network_with_host_bits_is_rejected_with_a_proposal() -> None:
    with pytest.raises(ValueError, match=r"did you mean '10\.0\.0\.0/8'"):
        parse_networks("10.1.2.3/8")


_ADDRESSES = st.one_of(
    st.lists(_BITS, min_size=4, max_size=4).map(bytes), st.lists(_BITS, min_size=16, max_size=16).map(bytes)
)


def slow_find(items: list[tuple[Network, int]], address: bytes) -> int | None:
    """The result that `Prefixes` should have: of all prefixes that match the longest, of equal ones the first."""
    number = int.from_bytes(address)
    best: tuple[int, int] | None = None
    for network, value in items:
        inside = network.first <= number <= network.last
        if network.bits == 8 * len(address) and inside and (best is None or network.length > best[0]):
            best = (network.length, value)
    return best[1] if best else None


@given(st.lists(_networks(), max_size=12), st.lists(_ADDRESSES, max_size=12))
def test_longest_prefix_wins(networks: list[Network], addresses: list[bytes]) -> None:
    items = [(network, number) for number, network in enumerate(networks)]
    prefixes = Prefixes(items)
    # The first and last addresses of each prefix, and their neighbours.
    for network in networks:
        low, high = network.first, network.last
        octets = network.bits // 8
        addresses = addresses + [
            number.to_bytes(octets) for number in (low - 1, low, high, high + 1) if 0 <= number < 2 ** (8 * octets)
        ]
    for address in addresses:
        assert prefixes.find(address) == slow_find(items, address), address


def test_lookup_among_a_thousand_prefixes_costs_less_than_ten_times_one_among_ten() -> None:
    def prefixes(number: int) -> Prefixes[int]:
        # Of every length, in both families, and nested.
        items: list[tuple[Network, int]] = []
        for n in range(number // 2):
            items.append((_network(n * 2654435761 % 2**32, 1 + n % 32, 32), n))
            items.append((_network((n * 2654435761 % 2**32) << 96, 1 + n % 128, 128), n))
        return Prefixes(items)

    few, many = prefixes(10), prefixes(1000)

    class Counted(bytes):
        """Counts how often it is compared, which is the cost of a search."""

        compared = 0

        def __lt__(self, other: bytes) -> bool:
            Counted.compared += 1
            return super().__lt__(other)

    def cost(searched: Prefixes[int]) -> int:
        Counted.compared = 0
        for n in range(200):
            address = (n * 2246822519 % 2**32).to_bytes(4)
            assert searched.find(Counted(address)) == searched.find(address)
            searched.find(Counted(address + bytes(12)))
        return Counted.compared

    few_steps, many_steps = cost(few), cost(many)
    assert 0 < many_steps < 10 * few_steps
