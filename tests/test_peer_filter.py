"""The peers that a filter matches."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import host_text, unmap_host
from netd.peer import Credentials, Peer
from netd.peer_filter import PeerFilter

V4, V6 = Peer("tcp", "10.0.0.9", 53), Peer("udp", "2001:db8::1", 53)
LINK = Peer("tcp", "fe80::1%eth0", 53)
PATH = Peer("unix", "/run/x\x1b", credentials=Credentials(7, 1000, 100))
NAMELESS = Peer("unix", "", credentials=Credentials(7, 1000, 100))


@pytest.mark.parametrize(
    ("text", "peers"),
    [
        ("10.0.0.9", [V4]),
        ("10.0.0.0/24", [V4]),
        ("10.0.0.9/24", [V4]),
        ("10.0.0.0/255.255.255.0", [V4]),
        ("10.0.0.9:53", [V4]),
        ("10.0.0.9:54", []),
        ("10.0.0.0/24:53", []),
        ("::ffff:10.0.0.9", [V4]),
        ("::ffff:a00:9", [V4]),
        ("::ffff:10.0.0.0/120", [V4]),
        ("[::ffff:10.0.0.9]:53", [V4]),
        ("[::ffff:10.0.0.9]:54", []),
        ("0.0.0.0/0", [V4]),
        ("::/0", [V6, LINK]),
        ("2001:DB8:0::1", [V6]),
        ("[2001:db8::1]", [V6]),
        ("[2001:db8:0::1]:53", [V6]),
        ("fe80::/64", [LINK]),
        ("fe80::1", [LINK]),
        ("fe80::1%eth0", [LINK]),
        ("[fe80::1%eth0]:53", [LINK]),
        ("fe80::1%eth1", []),
        ("/run/x\\x1b", [PATH]),
        ("/run/x\x1b", [PATH]),
        ("pid=7,uid=1000,gid=100", [NAMELESS]),
        ("uid=1000", [NAMELESS]),
        ("uid=100", []),
        ("10.0.0.9:99999", []),
        ("", [NAMELESS]),
    ],
)
def test_filter_matches_the_peers_of_its_text(text: str, peers: list[Peer]) -> None:
    selected = PeerFilter(text)
    assert [peer for peer in (V4, V6, LINK, PATH, NAMELESS) if selected.matches(peer)] == peers


def test_the_path_of_a_unix_peer_is_no_address() -> None:
    assert not PeerFilter("10.0.0.0/8").matches(Peer("unix", "10.0.0.9"))
    assert PeerFilter("10.0.0.9").matches(Peer("unix", "10.0.0.9"))  # as a list shows it


_ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address) | st.one_of(
    st.integers(0, 2**128 - 1), st.integers(0, 2**33).map(lambda low: low | 0xFFFE << 32)
).map(IPv6Address)


@given(_ADDRESSES, _ADDRESSES, st.integers(0, 128))
def test_filter_of_a_network_agrees_with_the_ipaddress_module(
    one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address, length: int
) -> None:
    network = ip_network((one, min(length, one.max_prefixlen)), strict=False)
    for address in (one, other):
        peer = Peer("tcp", unmap_host(host_text(address.packed)), 5)
        kernel = ip_address(peer.host)  # for netd, an IPv4 peer of an IPv6 socket is IPv4
        mapped = IPv6Address(0xFFFF << 32 | int(kernel)) if kernel.version == 4 else kernel
        inside = kernel in network or (network.prefixlen >= 96 and mapped in network)
        assert PeerFilter(str(network)).matches(peer) is inside


@given(st.text())
def test_filter_of_any_text_raises_no_error(text: str) -> None:
    PeerFilter(text).matches(V4)
