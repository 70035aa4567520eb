"""Sources, the networks of a config, and longest prefix match.

A source is an IPv4 address, or an IPv6 /64, which is what one customer is assigned. Where many parties share a /64, it
is the whole address: in the prefixes of IPv4 hosts behind NAT64 (64:ff9b::/96, RFC 6052; 64:ff9b:1::/48, RFC 8215), and
of link-local addresses (fe80::/10).
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Generic, TypeVar

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd import notation
from netd.addresses import Network, host_text, is_link_local, network_of, parse_address
from netd.text import shown

LOCAL = (Network(127 << 24, 8, 32), Network(1, 128, 128))
"""The loopback addresses of this host."""
ANY = (Network(0, 0, 32), Network(0, 0, 128))
"""All addresses."""

NAT64 = (Network(0x64FF9B << 96, 96, 128), Network(0x64FF9B0001 << 80, 48, 128))
"""The prefixes of IPv4 hosts behind NAT64."""

_NAT64 = tuple(network.first.to_bytes(16)[: network.length // 8] for network in NAT64)

V = TypeVar("V")
W = TypeVar("W")


def source_of(address: bytes) -> bytes:
    """The source of an address of 4 or 16 octets: 4, 8 or 16 octets."""
    if len(address) == 4 or address.startswith(_NAT64) or is_link_local(address):
        return address
    return address[:8]


def first_address(source: bytes) -> bytes:
    """The first address of a source, 4 or 16 octets."""
    return source if len(source) == 4 else source.ljust(16, b"\0")


def source_network(source: bytes) -> Network:
    """The addresses that have this source, but for those of `NAT64` in the /64 before them."""
    first = first_address(source)
    return Network(int.from_bytes(first), 8 * len(source), 8 * len(first))


def source_text(source: bytes) -> str:
    """A source as text: ``192.0.2.7``, ``2001:db8::/64`` or ``fe80::7``."""
    text = host_text(first_address(source))
    return f"{text}/64" if len(source) == 8 else text


def parse_source(text: str) -> bytes:
    """Parse an address or an IPv6 /64 into its source; else ValueError."""
    address, slash, length = text.partition("/")
    source = source_of(parse_address(address))
    if slash and length != str(8 * len(source)):
        raise ValueError(f"expected an address or an IPv6 /64, got {shown(text)}")
    return source


def parse_networks(text: object) -> tuple[Network, ...]:
    """Parse ``10.0.0.0/8``, ``192.0.2.7``, ``any`` or ``local``; else ValueError."""
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
    """Parse ``10.0.0.0/8``, ``192.0.2.7`` or ``2001:db8::/32``; None for any other form.

    A config may have hundreds of thousands of networks, and the `ipaddress` module takes several times as long.
    """
    if ":" in text and (match := _IPV6.fullmatch(text)):
        groups, length = match[1].split(":")[:-1], int(match[2])
        first = int("".join([group.rjust(4, "0") for group in groups]), 16) << 128 - 16 * len(groups)
        # Left to `ipaddress`: mapped addresses, which are IPv4, and mistakes.
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
            raise ValueError(f"{shown(text)} has host bits set; did you mean '{meant}'?") from None
        raise _no_network(text) from None
    return network_of(network)


def _no_network(text: object) -> ValueError:
    return ValueError(f"expected an address, a network such as 10.0.0.0/8, local or any, got {shown(text)}")


@dataclass(frozen=True, slots=True)
class Named:
    """Networks, and their text in the config."""

    text: str
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, text: object) -> "Named":
        """Parse as `parse_networks` does; else ValueError."""
        return cls(str(text), parse_networks(text))


NetworkOption = Annotated[
    InstanceOf[Named],
    BeforeValidator(Named.parse),
    PlainSerializer(lambda named: named.text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
    notation.NETWORK,
]
"""A network in the config."""


class Prefixes(Generic[V]):
    """Longest prefix match: finds the value of the longest prefix that contains an address.

    The prefixes divide all addresses into intervals, each with the prefix that is the longest there. So a lookup is a
    bisection, and its time grows with the logarithm of their number.
    """

    def __init__(self, items: Iterable[tuple[Network, V]]) -> None:
        """Of several items with one prefix the first one counts."""
        chosen: dict[Network, V] = {}
        for network, value in items:
            chosen.setdefault(network, value)
        self._tables = {}
        for octets in (4, 16):
            starts, values = intervals(8 * octets, chosen, None)
            self._tables[octets] = [start.to_bytes(octets) for start in starts], values

    def find(self, address: bytes) -> V | None:
        """The value of the longest prefix of an address; None if no prefix contains it."""
        starts, values = self._tables[len(address)]
        return values[bisect_right(starts, address) - 1]

    def starts(self, octets: int) -> Iterable[int]:
        """Where addresses of this length (4 or 16 octets) begin to have another value, from 0 on, as numbers."""
        return map(int.from_bytes, self._tables[octets][0])


def intervals(bits: int, chosen: Mapping[Network, V], nothing: W) -> tuple[list[int], list[V | W]]:
    """Divide all addresses of this length into intervals. Return their starts, in order from 0, and their values.

    The value of an interval is that of the longest prefix there, or ``nothing`` where there is none.
    """
    starts: list[int] = [0]
    values: list[V | W] = [nothing]
    last = 2**bits - 1
    containing: list[tuple[int, V]] = []  # last address and value of the prefixes here, the longest one at the end

    def start(address: int, value: V | W) -> None:
        if starts[-1] == address:
            values[-1] = value
        else:
            starts.append(address)
            values.append(value)

    def end_longest() -> None:
        end, _ = containing.pop()
        if end < last:
            start(end + 1, containing[-1][1] if containing else nothing)

    for network in sorted(network for network in chosen if network.bits == bits):
        while containing and containing[-1][0] < network.first:
            end_longest()
        start(network.first, chosen[network])
        containing.append((network.last, chosen[network]))
    while containing:
        end_longest()
    return starts, values
