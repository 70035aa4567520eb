"""Headers of the PROXY protocol: parsed, refused, and made."""

import contextlib
import struct
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.errors import PeerError
from netd.peer import Credentials, Peer, Proxied, Tls
from netd.transport.stream.preamble import LONGEST_HEADER
from netd.transport.stream.proxy_header import SIGNATURE, crc32c, parse_header, proxy_header

SENDER = Peer("tcp", "10.0.0.1", 40000, "10.0.0.2", 7)
VIA = Proxied("10.0.0.1:40000")
IPV4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 4711, 443)
IPV6 = bytes.fromhex("20010db8" + "00" * 11 + "0720010db8" + "00" * 11 + "01") + struct.pack("!HH", 4711, 443)
NAMED = Peer("tcp", "192.0.2.7", 4711, "198.51.100.1", 443, proxied=VIA)
NAMED6 = Peer("tcp", "2001:db8::7", 4711, "2001:db8::1", 443, proxied=VIA)


def binary(rest: bytes, family: int = 0x11, version: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + bytes((version, family)) + struct.pack("!H", len(rest) if length is None else length) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(rest: bytes) -> bytes:
    header = binary(rest + tlv(0x03, bytes(4)))
    return header[:-4] + crc32c(header).to_bytes(4)


def parsed(header: bytes) -> Peer:
    """The peer that a header names, whatever follows it, and wherever it was cut before its end."""
    for cut in range(len(header)):
        assert parse_header(header[:cut], SENDER) is None, cut
    for more in (b"hello", b"\r\n", b"PROXY ", SIGNATURE):
        assert parse_header(header + more, SENDER) == parse_header(header, SENDER)
    found = parse_header(header, SENDER)
    assert found
    assert found[0] == len(header)
    return found[1]


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", NAMED),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", None),
        (b"PROXY TCP6 2001:db8::7 2001:DB8:0:0::1 4711 443\r\n", NAMED6),
        (b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b"ffff:" * 7 + b"ffff",) * 2), None),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 4711 443\r\n", NAMED),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Peer("tcp", "0.0.0.0", 0, "0.0.0.0", 0, proxied=VIA)),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 7\r\n", SENDER),
        (b"PROXY UNKNOWN\r\n", SENDER),
        (b"PROXY UNKNOWN \r\n", SENDER),
        (b"PROXY UNKNOWN %b %b 65535 65535\r\n" % ((b"ffff:" * 7 + b"ffff",) * 2), SENDER),
        (b"PROXY UNKNOWN \xff\0 nonsense\r\n", SENDER),
    ],
)
def test_line_names_a_peer(header: bytes, peer: Peer | None) -> None:
    found = parsed(header)
    if peer:
        assert found == peer


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\rx",
        b"PROXY TCP4 192.0.2.7\n198.51.100.1 4711 443\r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.1 4711 443\r\n",
        b"PROXY TCP4\t192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.051.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY TCP6 2001:db8::7%eth0 2001:db8::1 4711 443\r\n",
        b"PROXY TCP6 2001:db8::7 2001:db8::1::2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 00\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 -1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 +443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711 44٣\r\n".encode(),
        b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN x\nx\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",  # 108 octets
        b"PROXY UNKNOWN " + b"x" * 93,
        b"PROXY \r\n",
        b"proxy TCP4",
        b"PROXX",
        b" PROXY",
        b"GET / HTTP/1.1\r\n",
        b"\r\n\r\n\r",
        b"\n",
        b"\0",
    ],
)
def test_wrong_line_is_refused(header: bytes) -> None:
    with pytest.raises(PeerError):
        parse_header(header, SENDER)


def test_line_of_107_octets_is_the_longest() -> None:
    assert parsed(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") == SENDER


SSL = tlv(0x21, b"TLSv1.3") + tlv(0x22, b"alex") + tlv(0x23, b"TLS_AES_128_GCM_SHA256") + tlv(0x24, b"SHA256")


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (binary(IPV4), NAMED),
        (binary(IPV4, family=0x12), NAMED),
        (binary(IPV6, family=0x21), NAMED6),
        (
            binary(bytes(10) + b"\xff\xff" + IPV4[:4] + bytes(16) + IPV4[8:], family=0x21).replace(
                bytes(16) + IPV4[8:], bytes(10) + b"\xff\xff" + IPV4[4:]
            ),
            NAMED,
        ),
        (binary(b"", version=0x20, family=0), SENDER),
        (binary(IPV4 + b"nonsense", version=0x20, family=0xFF), SENDER),
        (binary(b"", family=0), SENDER),
        (binary(b"nonsense", family=0), SENDER),
        (binary(b"client.sock".ljust(216, b"\0"), family=0x31), SENDER),
        (binary(IPV4 + tlv(0x04, bytes(536)) + tlv(0xEE, b"?") + tlv(0x30, b"netns")), NAMED),
        (with_checksum(IPV4), NAMED),
        (binary(IPV4 + tlv(0x04, bytes(LONGEST_HEADER - 16 - 12 - 3))), NAMED),
    ],
)
def test_binary_header_names_a_peer(header: bytes, peer: Peer) -> None:
    assert parsed(header) == peer


@pytest.mark.parametrize(
    ("tlvs", "proxied"),
    [
        (tlv(0x02, b"example.com"), VIA._replace(server_name="example.com")),
        (tlv(0x01, b"h2"), VIA._replace(alpn="h2")),
        (tlv(0x05, b"req-17"), VIA._replace(unique_id="req-17")),
        (tlv(0x05, b"\0\xff\x10"), VIA._replace(unique_id="00ff10")),
        (tlv(0x05, b"\x1b[31m"), VIA._replace(unique_id="1b5b33316d")),
        (tlv(0x02, b"x" * 257), VIA),
        (tlv(0x02, b""), VIA),
        (tlv(0x20, b"\7" + bytes(4) + SSL), VIA._replace(tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "alex"))),
        (tlv(0x20, b"\1" + bytes(4) + SSL), VIA._replace(tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256"))),
        (tlv(0x20, b"\7\0\0\0\1" + SSL), VIA._replace(tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256"))),
        (tlv(0x20, b"\1" + bytes(4)), VIA._replace(tls=Tls())),
        (tlv(0x20, b"\0" + bytes(4) + SSL), VIA),
    ],
)
def test_facts_beside_the_addresses_are_kept(tlvs: bytes, proxied: Proxied) -> None:
    """A common name is one only if the peer has shown a certificate, and the proxy has verified it."""
    assert parsed(with_checksum(IPV4 + tlvs)) == NAMED._replace(proxied=proxied)


@pytest.mark.parametrize(
    "header",
    [
        binary(IPV4, version=0x11),
        binary(IPV4, version=0x31),
        binary(IPV4, version=0x22),
        binary(IPV4, family=0x10),
        binary(IPV4, family=0x13),
        binary(IPV4, family=0x41),
        binary(IPV4[:11]),
        binary(b""),
        binary(IPV4, family=0x21),
        binary(IPV6[:35], family=0x21),
        binary(IPV4 + b"\1"),
        binary(IPV4 + b"\1\0"),
        binary(IPV4 + tlv(0x01, b"h2")[:-1]),
        binary(IPV4 + tlv(0x20, b"\1\0\0\0")),
        binary(IPV4 + tlv(0x20, b"\1" + bytes(4) + tlv(0x21, b"x") + b"\1")),
        binary(IPV4 + tlv(0x03, bytes(4))),
        binary(IPV4 + tlv(0x03, bytes(3))),
        with_checksum(IPV4).replace(bytes((192, 0, 2, 7)), bytes((192, 0, 2, 8))),
        binary(IPV4, length=LONGEST_HEADER - 15),
        binary(b"", version=0x20, length=0xFFFF),
    ],
)
def test_wrong_binary_header_is_refused(header: bytes) -> None:
    with pytest.raises(PeerError):
        parse_header(header, SENDER)


@pytest.mark.parametrize(("version", "other"), [(1, 2), (2, 1)])
def test_header_of_another_version_is_refused_at_its_first_octet(version: Literal[1, 2], other: Literal[1, 2]) -> None:
    taken, refused = proxy_header(version, NAMED), proxy_header(other, NAMED)
    for cut in range(len(taken)):
        assert parse_header(taken[:cut], SENDER, (version,)) is None
    assert parse_header(taken, SENDER, (version,)) == parse_header(taken, SENDER)
    for cut in range(1, len(refused) + 1):
        with pytest.raises(PeerError, match=f"version {version}"):
            parse_header(refused[:cut], SENDER, (version,))
    with pytest.raises(PeerError):
        parse_header(b"hello", SENDER, (version,))


def test_checksum_is_that_of_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=400) | st.builds(bytes.__add__, st.sampled_from([SIGNATURE, b"PROXY "]), st.binary()))
def test_any_octets_raise_a_peer_error_alone(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        assert parse_header(data, SENDER) is None or data.startswith((SIGNATURE, b"PROXY UNKNOWN"))


@given(st.integers(0, 0xFF), st.integers(0, 0xFF), st.binary(max_size=300))
def test_any_binary_header_raises_a_peer_error_alone(version: int, family: int, rest: bytes) -> None:
    header = binary(rest, family, version)
    with contextlib.suppress(PeerError):
        found = parse_header(header + b"more", SENDER)
        assert found
        assert found[0] == len(header)


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=60).filter(str.isprintable)
_FACTS = st.builds(
    Proxied,
    st.just(VIA.via),
    _TEXTS,
    _TEXTS,
    _TEXTS,
    st.none() | st.tuples(_TEXTS, _TEXTS, _TEXTS).map(lambda texts: Tls(*texts)),
)
_PORTS = st.integers(0, 65535)
_HOSTS = st.ip_addresses(v=4).map(str) | st.just("2001:db8::7") | st.just("::") | st.just("fe80::1")


@given(st.sampled_from([1, 2]), _HOSTS, _PORTS, _HOSTS, _PORTS, _FACTS)
def test_header_that_is_made_names_the_same_peer(
    version: Literal[1, 2], host: str, port: int, local_host: str, local_port: int, facts: Proxied
) -> None:
    peer = Peer("tcp", host, port, local_host, local_port, proxied=facts)
    found = parsed(proxy_header(version, peer))
    assert found == (peer if version == 2 else peer._replace(proxied=VIA))


def test_facts_of_tls_to_netd_itself_come_before_those_of_a_proxy() -> None:
    own = Tls("TLSv1.3", "AES", "alex", subject="CN=alex", fingerprint="ab", server_name="www.example.org", alpn="h2")
    for proxied in (None, Proxied("10.0.0.9:1", "other", "other", "id", Tls("TLSv1.2"))):
        found = parsed(proxy_header(2, NAMED._replace(proxied=proxied, tls=own)))
        unique_id = "id" if proxied else ""
        facts = VIA._replace(
            server_name="www.example.org", alpn="h2", unique_id=unique_id, tls=Tls("TLSv1.3", "AES", "alex")
        )
        assert found == NAMED._replace(proxied=facts)


@pytest.mark.parametrize(
    ("tls", "flags"), [(Tls("TLSv1.3"), b"\1\0\0\0\1"), (Tls("TLSv1.3", fingerprint="ab"), b"\7\0\0\0\0")]
)
def test_certificate_is_verified_only_where_there_is_one(tls: Tls, flags: bytes) -> None:
    assert proxy_header(2, NAMED._replace(tls=tls)).endswith(tlv(0x20, flags + tlv(0x21, b"TLSv1.3")))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("peer", [None, Peer("unix", "", credentials=Credentials(1, 2, 3))])
def test_header_without_an_address_leaves_the_sender(version: Literal[1, 2], peer: Peer | None) -> None:
    assert parsed(proxy_header(version, peer)) == SENDER


def test_zone_of_an_address_is_not_in_a_header() -> None:
    peer = Peer("tcp", "fe80::1%eth0", 1, "fe80::2%eth0", 2)
    assert proxy_header(1, peer) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


@pytest.mark.parametrize("length", [257, 65_535, 100_000])
def test_long_fact_is_left_out_of_a_header(length: int) -> None:
    tls = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "x" * length)
    header = proxy_header(2, Peer("tcp", "192.0.2.1", 5, "192.0.2.2", 7, tls=tls))
    found = parse_header(header, SENDER)
    assert found
    assert found[1].proxied
    assert found[1].proxied.tls == tls._replace(common_name="")
