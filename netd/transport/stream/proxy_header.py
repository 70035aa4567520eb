"""The header of the PROXY protocol, with which a proxy names its peer (proxy-protocol.txt of HAProxy).

Version 1 is a line, version 2 binary. `parse_header` reads both, `proxy_header` makes them. Pure.
"""

import re
import socket
import struct
from collections.abc import Container, Iterator, Mapping
from typing import Literal

from netd.addresses import host_text, map_to_ipv6, pack_address, unmap
from netd.errors import PeerError
from netd.peer import Peer, Proxied, Tls
from netd.transport.stream.preamble import LONGEST_HEADER

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first octets of version 2."""
_PREFIX = b"PROXY "
_LONGEST_LINE = 107
"""Octets of a header of version 1, with its CRLF."""
_NUMBER = rb"(0|[1-9][0-9]{0,4})"
_TCP = re.compile(rb"TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) %b %b" % (_NUMBER, _NUMBER))
_LAST_PORT = 65535
_HEAD = struct.Struct("!12sBBH")  # signature, version and command, family and transport, octets after these
_VERSION = 2
_LOCAL, _PROXY = 0, 1
_ADDRESSES = {0x1: struct.Struct("!4s4sHH"), 0x2: struct.Struct("!16s16sHH")}
"""Sources, destinations and ports, by family: AF_INET and AF_INET6."""
_FAMILIES = (0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32)
"""The families, with the transports: none, IPv4, IPv6 and UNIX; none, stream and datagram."""
_TLV = struct.Struct("!BH")  # type, octets of the value
_TLS = struct.Struct("!BI")  # flags, and 0 if the certificate of the peer was verified
_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x01, 0x02, 0x03, 0x05, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_OVER_TLS, _CERTIFICATE = 0x01, 0x06  # flags of _TLS: a certificate of this connection, or of its session
_VERIFIED, _UNVERIFIED = 0, 1
_LONGEST_FACT = 256
"""Octets of a fact that is kept, for as long as its connection: names and the like are shorter."""


def parse_header(data: bytes, sender: Peer, versions: Container[int] = (1, 2)) -> tuple[int, Peer] | None:
    """The length of the header that the data begins with, and the peer that it names; None if it is not complete.

    ``sender`` is the peer of the socket. It stays where the header names none (``LOCAL``, ``UNKNOWN``), the sender, or
    one without an address, of a UNIX socket. Raises `PeerError` for anything but a header of one of the ``versions``,
    as soon as that is certain, and for one of more than `LONGEST_HEADER` octets.
    """
    if data and (1 if data[:1] == _PREFIX[:1] else 2) not in versions:
        raise PeerError(f"expected a header of the PROXY protocol of version {2 if 2 in versions else 1}")
    if data.startswith(SIGNATURE):
        return _parse_binary(data, sender)
    if data.startswith(_PREFIX):
        return _parse_line(data[:_LONGEST_LINE], sender)
    if SIGNATURE.startswith(data) or _PREFIX.startswith(data):
        return None
    raise PeerError("expected a header of the PROXY protocol")


def _parse_line(data: bytes, sender: Peer) -> tuple[int, Peer] | None:
    line, end, _ = data.partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]) or (not end and len(data) == _LONGEST_LINE):
        raise PeerError("expected a line of at most 107 octets that ends with CRLF")
    if not end:
        return None
    words = line.removeprefix(_PREFIX)
    length = len(line) + len(end)
    if words == b"UNKNOWN" or words.startswith(b"UNKNOWN "):
        return length, sender
    if not (match := _TCP.fullmatch(words)):
        raise PeerError("expected PROXY TCP4|TCP6 ADDRESS ADDRESS PORT PORT")
    version, *hosts = match.group(1, 2, 3)
    source, destination = (_parse_host(host.decode(), is_ipv4=version == b"4") for host in hosts)
    ports = int(match[4]), int(match[5])
    if max(ports) > _LAST_PORT:
        raise PeerError("expected ports up to 65535")
    return length, _named(sender, source, destination, *ports, Proxied(sender.remote))


def _parse_host(text: str, *, is_ipv4: bool) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET if is_ipv4 else socket.AF_INET6, text)  # refuses leading zeros
    except OSError:
        raise PeerError("expected an address of the family that the header names") from None


def _parse_binary(data: bytes, sender: Peer) -> tuple[int, Peer] | None:
    if len(data) < _HEAD.size:
        return None
    _, version, family, rest = _HEAD.unpack_from(data)
    length = _HEAD.size + rest
    if version >> 4 != _VERSION or version & 0xF not in (_LOCAL, _PROXY):
        raise PeerError("expected version 2 of the PROXY protocol, and LOCAL or PROXY")
    if length > LONGEST_HEADER:
        raise PeerError(f"expected a header of at most {LONGEST_HEADER} octets")
    if len(data) < length:
        return None
    if version & 0xF == _LOCAL:
        return length, sender
    if family not in _FAMILIES:
        raise PeerError("expected a family and transport of version 2 of the PROXY protocol")
    if (addresses := _ADDRESSES.get(family >> 4)) is None:
        return length, sender
    if rest < addresses.size:
        raise PeerError("expected two addresses and two ports")
    source, destination, *ports = addresses.unpack_from(data, _HEAD.size)
    proxied = _parse_facts(data[:length], _HEAD.size + addresses.size, sender.remote)
    return length, _named(sender, source, destination, ports[0], ports[1], proxied)


def _named(sender: Peer, source: bytes, destination: bytes, port: int, destination_port: int, proxied: Proxied) -> Peer:
    """The peer that a header names, or the sender if it names itself; an IPv4 address mapped into IPv6 is IPv4."""
    host, local_host = host_text(unmap(source)), host_text(unmap(destination))
    if (host, port) == (sender.host, sender.port):
        return sender  # as HAProxy does in a check, with version 1
    return Peer("tcp", host, port, local_host, destination_port, proxied=proxied)


def _parse_facts(header: bytes, start: int, via: str) -> Proxied:
    """What the TLVs from ``start`` on say. Unknown ones are skipped, and so are long values."""
    facts: dict[int, bytes] = {}
    for kind, value, at in _tlvs(header, start):
        if kind == _CRC32C:
            zeroed = header[:at] + bytes(len(value)) + header[at + len(value) :]
            if value != crc32c(zeroed).to_bytes(4):
                raise PeerError("the checksum of the header is wrong")
        facts[kind] = value
    return Proxied(
        via,
        _text(facts.get(_AUTHORITY)),
        _text(facts.get(_ALPN)),
        _text(facts.get(_UNIQUE_ID)),
        _parse_tls(facts[_SSL]) if _SSL in facts else None,
    )


def _parse_tls(value: bytes) -> Tls | None:
    if len(value) < _TLS.size:
        raise PeerError("expected five octets about TLS")
    flags, verify = _TLS.unpack_from(value)
    facts = {kind: fact for kind, fact, _ in _tlvs(value, _TLS.size)}
    if not flags & _OVER_TLS:
        return None
    common_name = facts.get(_SSL_CN) if flags & _CERTIFICATE and verify == _VERIFIED else None
    return Tls(_text(facts.get(_SSL_VERSION)), _text(facts.get(_SSL_CIPHER)), _text(common_name))


def _tlvs(data: bytes, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Type, value, and the place of the value, of each TLV from ``start`` to the end."""
    while start < len(data):
        begin = start + _TLV.size
        if begin > len(data):
            raise PeerError("expected a type and a length")
        kind, size = _TLV.unpack_from(data, start)
        start = begin + size
        if start > len(data):
            raise PeerError("a value is longer than the header")
        yield kind, data[begin:start], begin


def _text(value: bytes | None) -> str:
    """A fact as text; one that is no text in hexadecimal."""
    if value is None or len(value) > _LONGEST_FACT:
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text else value.hex()


def proxy_header(version: Literal[1, 2], peer: Peer | None) -> bytes:
    """The header that names this peer, and the address to which it has connected.

    None: the connection is one of the proxy itself (``LOCAL``), as a check is. A peer of a UNIX socket has no address:
    its header names none either, and is ``LOCAL`` unless it has facts: HAProxy refuses another one without addresses.
    Version 2 has the facts of ``peer.proxied`` too, and those of TLS to netd itself.
    """
    facts = peer.proxied if peer else None
    if peer and (tls := peer.tls):
        facts = (facts or Proxied(""))._replace(server_name=tls.server_name, alpn=tls.alpn, tls=tls)
    addresses = None
    if peer and peer.family != "unix":
        addresses = pack_address(peer.host), pack_address(peer.local_host)
        if len(addresses[0]) != len(addresses[1]):
            addresses = map_to_ipv6(addresses[0]), map_to_ipv6(addresses[1])
    if version == 1:
        if not peer or not addresses:
            return b"PROXY UNKNOWN\r\n"
        source, destination = map(host_text, addresses)
        family = 4 if len(addresses[0]) == 4 else 6
        return f"PROXY TCP{family} {source} {destination} {peer.port} {peer.local_port}\r\n".encode()
    if not peer or not (addresses or facts):
        return _HEAD.pack(SIGNATURE, _VERSION << 4 | _LOCAL, 0, 0)
    family, rest = 0x00, b""
    if addresses:
        family = 0x11 if len(addresses[0]) == 4 else 0x21
        rest = _ADDRESSES[family >> 4].pack(*addresses, peer.port, peer.local_port)
    rest += b"".join(_facts_of(facts) if facts else ())
    return _HEAD.pack(SIGNATURE, _VERSION << 4 | _PROXY, family, len(rest)) + rest


def _facts_of(proxied: Proxied) -> Iterator[bytes]:
    texts = {_ALPN: proxied.alpn, _AUTHORITY: proxied.server_name, _UNIQUE_ID: proxied.unique_id}
    yield from _tlvs_of(texts)
    if tls := proxied.tls:
        texts = {_SSL_VERSION: tls.protocol, _SSL_CN: tls.common_name, _SSL_CIPHER: tls.cipher}
        flags, verify = _OVER_TLS, _UNVERIFIED  # zero would say that there is a certificate, whatever the flags
        if tls.fingerprint or tls.common_name:
            flags, verify = _OVER_TLS | _CERTIFICATE, _VERIFIED
        yield _tlv(_SSL, _TLS.pack(flags, verify) + b"".join(_tlvs_of(texts)))


def _tlvs_of(texts: Mapping[int, str]) -> Iterator[bytes]:
    """Those that are not empty and not long: a certificate may have a name of any length, and a header has an end."""
    encoded = ((kind, text.encode()) for kind, text in texts.items() if text)
    return (_tlv(kind, value) for kind, value in encoded if len(value) <= _LONGEST_FACT)


def _tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind, len(value)) + value


def _crc_of(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRCS = [_crc_of(octet) for octet in range(256)]


def crc32c(data: bytes) -> int:
    """The CRC of these octets (Castagnoli; RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRCS[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
