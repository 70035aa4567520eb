"""Addresses as policy sees them: 4 or 16 octets in network order, and what counts as one source.

An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) is the IPv4 address, whoever asks.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.settings import shown

Network = IPv4Network | IPv6Network

_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 96
LOCAL: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""This host, as far as addresses can tell."""
ANY: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""Everybody."""

V = TypeVar("V")


def plain(octets: bytes) -> bytes:
    """The address in these 4 or 16 octets: an IPv4 address where one is mapped into IPv6."""
    return octets[12:] if len(octets) == 16 and octets.startswith(_MAPPED) else octets


def parse_address(text: str) -> bytes:
    """The octets of an address, without its interface (%eth0); ValueError says what is wrong."""
    address, percent, interface = text.partition("%")
    try:
        if percent and not (":" in address and re.fullmatch(r"[\w.-]{1,15}", interface)):
            raise ValueError("an interface where there may be none")
        return plain(ip_address(address).packed)
    except ValueError:
        raise ValueError(f"expected an address such as 192.0.2.7 or 2001:db8::7, got {shown(text)}") from None


def is_of_many(address: bytes) -> bool:
    """Whether it is no single host's: multicast, and in IPv4 what is above it (240/4, broadcast)."""
    return address[0] >= 224 if len(address) == 4 else address[0] == 255


def source_of(address: bytes) -> bytes:
    """What counts as one source: an IPv4 address, or an IPv6 /64, which is what one network hands to one customer."""
    return address if len(address) == 4 else address[:8]


def source_text(source: bytes) -> str:
    """A source as people write it: ``192.0.2.7`` or ``2001:db8::/64``."""
    return str(ip_address(source)) if len(source) == 4 else f"{IPv6Address(source + bytes(8))}/64"


def is_loopback(address: bytes) -> bool:
    """Whether an address of 4 or 16 octets is this host's loopback: 127.0.0.0/8 or ::1."""
    return address[:1] == b"\x7f" if len(address) == 4 else address == bytes(15) + b"\x01"


def parse_source(text: str) -> bytes:
    """The source that an address, or an IPv6 /64, stands for; ValueError says what is wrong."""
    address, slash, length = text.partition("/")
    octets = parse_address(address)
    if slash and length != ("32" if len(octets) == 4 else "64"):
        raise ValueError(f"expected an address or an IPv6 /64, got {shown(text)}")
    return source_of(octets)


def parse_networks(text: object) -> tuple[Network, ...]:
    """The networks behind ``10.0.0.0/8``, ``192.0.2.7``, ``any`` or ``local``; ValueError says what is wrong."""
    match text:
        case "any":
            return ANY
        case "local":
            return LOCAL
        case str():
            try:
                network = ip_network(text)
            except ValueError as error:
                if str(error).endswith("has host bits set"):
                    meant = ip_network(text, strict=False)
                    raise ValueError(f"{shown(text)} has bits set behind its prefix; did you mean '{meant}'?") from None
            else:
                return (_plain_network(network),)
    raise ValueError(f"expected an address, a network such as 10.0.0.0/8, local or any, got {shown(text)}")


def _plain_network(network: Network) -> Network:
    """A network of mapped addresses is one of IPv4."""
    if (
        network.version == 6
        and network.prefixlen >= _MAPPED_BITS
        and network.network_address.packed.startswith(_MAPPED)
    ):
        return IPv4Network((network.network_address.packed[12:], network.prefixlen - _MAPPED_BITS))
    return network


@dataclass(frozen=True, slots=True)
class Named:
    """Networks under the name the operator gave them."""

    text: str
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, text: object) -> "Named":
        """As `parse_networks`, of which it raises the ValueError."""
        return cls(str(text), parse_networks(text))


NetworkOption = Annotated[
    InstanceOf[Named],
    BeforeValidator(Named.parse),
    PlainSerializer(lambda named: named.text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""A network in the config."""


class Prefixes(Generic[V]):
    """Finds the longest of the prefixes that hold an address.

    The prefixes cut all addresses into intervals, each with the one prefix that is the longest there. So a search is a
    bisection, whose time grows with the logarithm of their number.
    """

    def __init__(self, items: Iterable[tuple[Network, V]]) -> None:
        """Of two items with one prefix, the first one counts."""
        chosen: dict[Network, V] = {}
        for network, value in items:
            chosen.setdefault(network, value)
        self._tables = {octets: _intervals(octets, chosen) for octets in (4, 16)}

    def find(self, address: bytes) -> V | None:
        """What stands at the longest prefix of an address, or None where none holds it."""
        starts, values = self._tables[len(address)]
        return values[bisect_right(starts, address) - 1]


def _intervals(octets: int, chosen: dict[Network, V]) -> tuple[list[bytes], list[V | None]]:
    """Where each interval starts, in order, and what holds in it."""
    starts: list[bytes] = [bytes(octets)]
    values: list[V | None] = [None]
    last = 2 ** (8 * octets) - 1
    open_ones: list[tuple[int, V]] = []  # prefixes that hold the place reached, the longest one at the end

    def cut(place: int, value: V | None) -> None:
        start = place.to_bytes(octets)
        if starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    def leave() -> None:
        end, _ = open_ones.pop()
        if end < last:
            cut(end + 1, open_ones[-1][1] if open_ones else None)

    networks = [network for network in chosen if network.max_prefixlen == 8 * octets]
    for network in sorted(networks, key=lambda network: (int(network.network_address), network.prefixlen)):
        place = int(network.network_address)
        while open_ones and open_ones[-1][0] < place:
            leave()
        cut(place, chosen[network])
        open_ones.append((int(network.broadcast_address), chosen[network]))
    while open_ones:
        leave()
    return starts, values
