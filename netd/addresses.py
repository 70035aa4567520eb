"""Addresses: as 4 or 16 octets in network order, as text with a port, and as networks.

An IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is treated as the IPv4 address.
"""

import re
import socket
from functools import lru_cache
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
    """The addresses of one prefix. Networks sort by address; of two with the same address, the wider one is first."""

    first: int
    """The first address, as a number."""
    length: int
    """The length of the prefix, in bits."""
    bits: int
    """The length of an address, in bits: 32 or 128."""

    @property
    def last(self) -> int:
        """The last address, as a number."""
        return self.first | (1 << self.bits - self.length) - 1

    def holds(self, address: bytes) -> bool:
        """Whether an address of 4 or 16 octets is in this network."""
        return 8 * len(address) == self.bits and self.first <= int.from_bytes(address) <= self.last


def covers(wide: IPv4Network | IPv6Network, narrow: IPv4Network | IPv6Network) -> bool:
    """Whether a network has all addresses of another one; never if that is of the other version."""
    return wide.version == narrow.version and narrow.subnet_of(wide)  # type: ignore[arg-type]  # of one version


def network_of(network: IPv4Network | IPv6Network) -> Network:
    """Convert a network; one of IPv4-mapped addresses becomes one of IPv4."""
    first, length, bits = int(network.network_address), network.prefixlen, network.max_prefixlen
    if bits == 128 and length >= _MAPPED_BITS and first >> 32 == 0xFFFF:
        return Network(first & 0xFFFFFFFF, length - _MAPPED_BITS, 32)
    return Network(first, length, bits)


def unmap(address: bytes) -> bytes:
    """The IPv4 address of an IPv4-mapped one; any other address of 4 or 16 octets as it is."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def map_to_ipv6(address: bytes) -> bytes:
    """The IPv4-mapped IPv6 address of an IPv4 address, as an IPv6 socket takes it; an IPv6 address as it is."""
    return address if len(address) == 16 else _MAPPED + address


@lru_cache(1024)
def pack_address(host: str) -> bytes:
    """The octets of a numeric address from the kernel, without its zone (%eth0, RFC 4007, 11)."""
    if ":" in host:
        return unmap(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
    return socket.inet_pton(socket.AF_INET, host)


def parse_address(text: str) -> bytes:
    """The octets of an address from a config or a command, without its zone (%eth0). Raises ValueError."""
    address, percent, interface = text.partition("%")
    try:
        if percent and not (":" in address and re.fullmatch(r"[\w.-]{1,15}", interface)):
            raise ValueError("unexpected zone")
        return unmap(ip_address(address).packed)
    except ValueError:
        raise ValueError(f"expected an address such as 192.0.2.7 or 2001:db8::7, got {shown(text)}") from None


def host_text(address: bytes) -> str:
    """An address of 4 or 16 octets as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def unmap_host(host: str) -> str:
    """A numeric address from the kernel, with an IPv4-mapped one of a dual-stack socket as IPv4."""
    return host[len(_MAPPED_TEXT) :] if host.startswith(_MAPPED_TEXT) and "." in host else host


def address_text(host: str, port: int, *, unix: bool = False) -> str:
    """``HOST:PORT`` or ``[IPV6]:PORT``. The peer chooses a UNIX path, so all but printable ASCII is escaped in it."""
    if unix:
        return escaped(host) if host else "unnamed"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_port(text: str) -> tuple[str, int | None]:
    """The host, without brackets, and the port of ``HOST:PORT``, ``[IPV6]:PORT``, ``HOST``, ``[IPV6]`` or ``IPV6``.

    The port is None if it is missing or empty (RFC 3986, 3.2.3). Raises ValueError.
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


def is_non_unicast(address: bytes) -> bool:
    """Whether an address is multicast, or in IPv4 reserved or broadcast (240.0.0.0/4)."""
    return address[0] >= 224 if len(address) == 4 else address[0] == 255


def is_loopback(address: bytes) -> bool:
    """Whether an address is loopback: 127.0.0.0/8 or ::1."""
    return address[:1] == b"\x7f" if len(address) == 4 else address == bytes(15) + b"\x01"


def is_link_local(address: bytes) -> bool:
    """Whether an IPv6 address is link-local, so that it needs an interface (fe80::/10, RFC 4291, 2.5.6)."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80
