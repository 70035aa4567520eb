"""Addresses: as 4 or 16 octets in network order, as text with a port, and as networks.

An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) is the IPv4 address, wherever it comes from.
"""

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from netd.text import escaped, shown

_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_TEXT = "::ffff:"
_MAPPED_BITS = 96
_PLACE = re.compile(
    r"(?:\[(?P<inside>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d{0,5}))?|(?P<bare>[^:\[\]]*(?::[^:\[\]]*){2,})",
    re.ASCII,
)


class Network(NamedTuple):
    """The addresses of one prefix. Networks sort by address, of two with one address the wider one first."""

    first: int
    """Its first address, as a number."""
    length: int
    """How many bits of an address the prefix has."""
    bits: int
    """How many bits an address has: 32 or 128."""

    @property
    def last(self) -> int:
        """Its last address."""
        return self.first | (1 << self.bits - self.length) - 1

    def holds(self, address: bytes) -> bool:
        """Whether an address of 4 or 16 octets is one of these."""
        return 8 * len(address) == self.bits and self.first <= int.from_bytes(address) <= self.last


def network_of(network: IPv4Network | IPv6Network) -> Network:
    """The same network; one of mapped addresses is one of IPv4."""
    first, length, bits = int(network.network_address), network.prefixlen, network.max_prefixlen
    if bits == 128 and length >= _MAPPED_BITS and first >> 32 == 0xFFFF:
        return Network(first & 0xFFFFFFFF, length - _MAPPED_BITS, 32)
    return Network(first, length, bits)


def plain(address: bytes) -> bytes:
    """The address of 4 or 16 octets: an IPv4 address where one is mapped into IPv6."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def six(address: bytes) -> bytes:
    """An address as a socket of IPv6 has it."""
    return address if len(address) == 16 else _MAPPED + address


def octets(host: str) -> bytes:
    """The octets of an address that the kernel gave, without its interface (%eth0)."""
    if ":" in host:
        return plain(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
    return socket.inet_pton(socket.AF_INET, host)


def parse_address(text: str) -> bytes:
    """The octets of an address that a person gave, without its interface (%eth0); ValueError says what is wrong."""
    address, percent, interface = text.partition("%")
    try:
        if percent and not (":" in address and re.fullmatch(r"[\w.-]{1,15}", interface)):
            raise ValueError("an interface where there may be none")
        return plain(ip_address(address).packed)
    except ValueError:
        raise ValueError(f"expected an address such as 192.0.2.7 or 2001:db8::7, got {shown(text)}") from None


def host_text(address: bytes) -> str:
    """An address of 4 or 16 octets as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def plain_host(host: str) -> str:
    """An address that the kernel gave, without the form it takes on a socket of both families."""
    return host[len(_MAPPED_TEXT) :] if host.startswith(_MAPPED_TEXT) and "." in host else host


def address_text(host: str, port: int, *, unix: bool = False) -> str:
    """An address as people write it. A UNIX path is chosen by the peer, so what is not printable ASCII is escaped."""
    if unix:
        return escaped(host) if host else "unnamed"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_port(text: str) -> tuple[str, int | None]:
    """The host, without brackets, and the port of ``HOST:PORT``, ``[IPV6]:PORT``, ``HOST``, ``[IPV6]`` or ``IPV6``.

    The port is None where it is missing, or empty (RFC 3986, 3.2.3). ValueError says what is wrong.
    """
    match = _PLACE.fullmatch(text)
    if not match:
        raise ValueError(f"expected HOST:PORT such as 192.0.2.7:53 or [2001:db8::7]:53, got {shown(text)}")
    host, inside, port = match["host"] or match["bare"] or "", match["inside"], match["port"]
    if inside is not None:
        if ":" not in inside:
            raise ValueError(f"expected an IPv6 address in brackets, got {shown(inside)}")
        host = inside
    if port and int(port) > 65535:
        raise ValueError(f"expected a port from 0 to 65535, got {int(port)}")
    return host, int(port) if port else None


def is_of_many(address: bytes) -> bool:
    """Whether it is no single host's: multicast, and in IPv4 what is above it (240/4, broadcast)."""
    return address[0] >= 224 if len(address) == 4 else address[0] == 255


def is_loopback(address: bytes) -> bool:
    """Whether an address of 4 or 16 octets is this host's loopback: 127.0.0.0/8 or ::1."""
    return address[:1] == b"\x7f" if len(address) == 4 else address == bytes(15) + b"\x01"


def is_link_local(address: bytes) -> bool:
    """Whether this is an address of IPv6 that means nothing without its interface (fe80::/10, RFC 4291, 2.5.6)."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80
