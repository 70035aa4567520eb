"""The rules of tcp wrappers, /etc/hosts.allow and /etc/hosts.deny (hosts_access(5)), as those of netd. Pure.

tcpd(8) takes the first rule that matches, and netd that with the longest prefix. So a network that lies within one of
an earlier rule is left out.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from netd.addresses import covers

_Network = IPv4Network | IPv6Network
_ALL = "ALL"


class NoAddressesError(ValueError):
    """A rule decides by more than addresses; the message quotes it."""


def access(allow: str, deny: str, name: str) -> dict[str, list[str]]:
    """The `access` of a program of this name; empty if no rule is about it.

    ``allow`` and ``deny`` are the texts of the files. Raises NoAddressesError.
    """
    decided: list[tuple[_Network | None, bool]] = []  # None: any
    for clients, is_allowed in (*_rules(allow, name, True), *_rules(deny, name, False)):
        for client in clients:
            if not any(_covers(other, client) for other, _ in decided):
                decided.append((client, is_allowed))
    if not decided:
        return {}
    allowed = [_text(network) for network, is_allowed in decided if is_allowed]
    denied = [_text(network) for network, is_allowed in decided if not is_allowed]
    if allowed and all(network is not None for network, _ in decided):
        allowed.append("any")
    if allowed and "any" in denied:
        denied.remove("any")  # what no rule of `allow` matches is refused
    found = {"allow": allowed, "deny": denied}
    return {key: value for key, value in found.items() if value and (key == "deny" or value != ["any"] or denied)}


def _rules(text: str, name: str, allows: bool) -> Iterator[tuple[list[_Network | None], bool]]:
    """The clients of each rule about a program, and whether they are served."""
    for line in text.replace("\\\n", "").split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in re.split(r":(?![^\[]*\])", line)]
        programs = _words(fields[0])
        if name not in programs and _ALL not in programs and not any("@" in one or one == "EXCEPT" for one in programs):
            continue
        if len(fields) < 2 or fields[2:] not in ([], ["allow"], ["deny"]) or not {*programs} <= {*_plain(programs)}:
            raise NoAddressesError(line.strip())
        is_allowed = allows if len(fields) == 2 else fields[2] == "allow"
        yield [_client(word, line) for word in _words(fields[1])], is_allowed


def _plain(programs: list[str]) -> list[str]:
    return [one for one in programs if "@" not in one and one != "EXCEPT"]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _client(word: str, line: str) -> _Network | None:
    """The network of a pattern; None: all."""
    if word == _ALL:
        return None
    text = word.replace("[", "").replace("]", "")
    if re.fullmatch(r"(\d{1,3}\.){1,3}", text, re.ASCII):  # the first octets of an address
        octets = text.strip(".").split(".")
        text = f"{'.'.join([*octets, '0', '0', '0'][:4])}/{8 * len(octets)}"
    elif not re.fullmatch(r"[\d.]+(/[\d.]+)?|[\da-fA-F:.]*:[\da-fA-F:.]*(/\d+)?", text, re.ASCII):
        raise NoAddressesError(line.strip())
    try:
        return ip_network(text)
    except ValueError:
        raise NoAddressesError(line.strip()) from None


def _covers(wide: _Network | None, narrow: _Network | None) -> bool:
    if wide is None or narrow is None:
        return wide is None
    return covers(wide, narrow)


def _text(network: _Network | None) -> str:
    if network is None:
        return "any"
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
