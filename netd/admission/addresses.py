"""What policy makes of addresses: what counts as one source, networks in the config, and finding the longest prefix."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.addresses import Network, network_of, parse_address
from netd.text import shown

LOCAL = (Network(127 << 24, 8, 32), Network(1, 128, 128))
"""This host, as far as addresses can tell."""
ANY = (Network(0, 0, 32), Network(0, 0, 128))
"""Everybody."""

V = TypeVar("V")
W = TypeVar("W")


def source_of(address: bytes) -> bytes:
    """What counts as one source: an IPv4 address, or an IPv6 /64, which is what one network hands to one customer."""
    return address if len(address) == 4 else address[:8]


def source_text(source: bytes) -> str:
    """A source as people write it: ``192.0.2.7`` or ``2001:db8::/64``."""
    return str(ip_address(source)) if len(source) == 4 else f"{IPv6Address(source + bytes(8))}/64"


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
            return (_usual_network(text) or _parse_network(text),)
    raise _no_network(text)


_NUMBERS = {str(number): number for number in range(256)}
_LENGTHS = {str(length): (length, (1 << 32 - length) - 1) for length in range(33)}
_IPV6 = re.compile(r"((?:[0-9a-f]{1,4}:){1,7}):/([1-9][0-9]{0,2})", re.ASCII | re.IGNORECASE)


def _usual_network(text: str) -> Network | None:
    """The network in ``10.0.0.0/8``, ``192.0.2.7`` or ``2001:db8::/32``; None where the text has any other form.

    A config may have hundreds of thousands of these, and this takes a fraction of the time of the `ipaddress` module.
    """
    if ":" in text and (match := _IPV6.fullmatch(text)):
        words, length = match[1].split(":")[:-1], int(match[2])
        first = int("".join([word.rjust(4, "0") for word in words]), 16) << 128 - 16 * len(words)
        # Mapped addresses are IPv4, and too long a prefix is a mistake.
        if length > 128 or first >> 32 == 0xFFFF or first & (1 << 128 - length) - 1:
            return None
        return Network(first, length, 128)
    address, slash, prefix = text.partition("/")
    try:
        a, b, c, d = address.split(".")
        first = _NUMBERS[a] << 24 | _NUMBERS[b] << 16 | _NUMBERS[c] << 8 | _NUMBERS[d]
        length, host = _LENGTHS[prefix] if slash else (32, 0)
    except (KeyError, ValueError):
        return None
    return None if first & host else Network(first, length, 32)


def _parse_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        if str(error).endswith("has host bits set"):
            meant = ip_network(text, strict=False)
            raise ValueError(f"{shown(text)} has bits set behind its prefix; did you mean '{meant}'?") from None
        raise _no_network(text) from None
    return network_of(network)


def _no_network(text: object) -> ValueError:
    return ValueError(f"expected an address, a network such as 10.0.0.0/8, local or any, got {shown(text)}")


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
        self._tables = {}
        for octets in (4, 16):
            starts, values = intervals(8 * octets, chosen, None)
            self._tables[octets] = [start.to_bytes(octets) for start in starts], values

    def find(self, address: bytes) -> V | None:
        """What stands at the longest prefix of an address, or None where none holds it."""
        starts, values = self._tables[len(address)]
        return values[bisect_right(starts, address) - 1]


def intervals(bits: int, chosen: Mapping[Network, V], nothing: W) -> tuple[list[int], list[V | W]]:
    """Where each interval of the addresses of so many bits starts, in order, the first at 0, and what holds in it.

    That is the value of the longest of the prefixes there; ``nothing``, where there is none.
    """
    starts: list[int] = [0]
    values: list[V | W] = [nothing]
    last = 2**bits - 1
    open_ones: list[tuple[int, V]] = []  # prefixes that hold the place reached, the longest one at the end

    def cut(place: int, value: V | W) -> None:
        if starts[-1] == place:
            values[-1] = value
        else:
            starts.append(place)
            values.append(value)

    def leave() -> None:
        end, _ = open_ones.pop()
        if end < last:
            cut(end + 1, open_ones[-1][1] if open_ones else nothing)

    for network in sorted(network for network in chosen if network.bits == bits):
        while open_ones and open_ones[-1][0] < network.first:
            leave()
        cut(network.first, chosen[network])
        open_ones.append((network.last, chosen[network]))
    while open_ones:
        leave()
    return starts, values
