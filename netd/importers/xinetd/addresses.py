"""The addresses in `only_from` and `no_access`, in the forms that xinetd tries, in its order."""

import functools
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Literal

from netd.importers.host import Host
from netd.text import printable

_MOST_FACTORS = 256


@dataclass(frozen=True)
class Form:
    """What xinetd takes a word for."""

    kind: Literal["networks", "never", "name", "skipped", "error"]
    """`never`: an entry that matches no peer; `name`: the name of peers, which netd does not look up; `skipped`: xinetd
    logs it and goes on; `error`: the service is off."""
    networks: tuple[str, ...] = ()
    note: str = ""


@functools.lru_cache(maxsize=65536)
def parse(word: str, host: Host) -> Form:
    """What xinetd takes a word for, with a note where the operator may have meant something else."""
    if "{" in word or "}" in word:
        return _factorised(word)
    if "," in word:
        return Form("error", note="a comma outside { }")
    if "/" in word:
        return _with_prefix(word)
    if word[:1].isdigit() and (quad := _aton(word)):
        return _address(word, quad)
    if ":" in word:
        return _version_6(word)
    if word.startswith("."):
        return Form("name", note="netd does not look up the names of peers")
    return _named(word, host)


def _with_prefix(word: str) -> Form:
    address, _, given = word.partition("/")
    number = re.match("[0-9]{1,9}", given)
    prefix = int(number[0]) if number else 0
    if ":" in address:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            return Form("skipped", note="it is no address")
        if prefix >= 128:
            return Form("never", note=f"xinetd reads /{prefix} so that it matches no peer; one address has no /")
        return Form("networks", (str(ipaddress.ip_network(f"{address}/{prefix}", strict=False)),))
    quad = _aton(address)
    if quad is None:
        return Form("skipped", note="it is no address")
    note = ""
    if prefix > 32 and "." in given:
        meant = _mask_meant(address, given)
        note = f"xinetd reads no mask: it is the one address {quad}" + (
            f"; {meant} was probably meant" if meant else ""
        )
    elif "." in given:
        note = f"xinetd reads no mask: it is the prefix /{prefix}"
    network = str(ipaddress.ip_network(f"{quad}/{min(prefix, 32)}", strict=False)).removesuffix("/32")
    return Form("networks", (network,), note)


def _mask_meant(address: str, mask: str) -> str:
    try:
        return str(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    except ValueError:
        return ""


def _aton(word: str) -> str | None:
    """The address of inet_aton(3), which takes fewer than four parts, octal and hexadecimal numbers."""
    try:
        return socket.inet_ntoa(socket.inet_aton(word)) if re.fullmatch("[0-9a-fA-FxX.]+", word) else None
    except OSError:
        return None


def _address(word: str, quad: str) -> Form:
    """An address, in which zeros at the end stand for a network."""
    parts = quad.split(".")
    while parts and parts[-1] == "0":
        parts.pop()
    prefix = 8 * len(parts)
    network = quad if prefix == 32 else f"{quad}/{prefix}"
    number = word.count(".") + 1
    if number < 4:
        meant = _mask_meant(".".join([*word.split("."), "0", "0", "0"][:4]), str(8 * number))
        note = f"xinetd reads it as {network}" + (f"; {meant} was probably meant" if meant else "")
        if meant == network:
            note = ""
        return Form("networks", (network,), note)
    return Form("networks", (network,), "" if word == quad else f"xinetd reads it as {network}")


def _version_6(word: str) -> Form:
    try:
        address = ipaddress.IPv6Address(word)
    except ValueError:
        return Form("skipped", note="it is no address")
    if address.ipv4_mapped:
        return Form("networks", (str(address.ipv4_mapped),))
    note = "it is the one address ::, not all of them" if word == "::" else ""
    return Form("networks", (str(address),), note)


def _factorised(word: str) -> Form:
    """``192.0.2.{1,2}``: these values in the last place; with fewer than four parts, networks."""
    match = re.fullmatch(r"((?:[0-9]{1,3}\.){0,3})\{([0-9]{1,3}(?:,[0-9]{1,3})*)\}", word)
    values = match[2].split(",") if match else []
    if match is None or len(values) > _MOST_FACTORS:
        return Form("error", note="values in { } that xinetd does not read")
    before = match[1].split(".")[:-1]
    found = []
    for value in values:
        parts = [*before, value]
        if any(int(part) > 255 for part in parts):
            return Form("error", note=f"{value} is no octet")
        quad = ".".join(str(int(part)) for part in [*parts, "0", "0", "0"][:4])
        found.append(quad if len(parts) == 4 else f"{quad}/{8 * len(parts)}")
    return Form("networks", tuple(found))


def _named(word: str, host: Host) -> Form:
    if (number := host.network(word)) and (quad := _aton(number)):
        return Form("networks", _address(number, quad).networks, f"from /etc/networks, where {word} is {number}")
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", word):
        return Form("skipped", note="it is no address")
    addresses = host.addresses(word)
    if not addresses:
        return Form("skipped", note="no host of this name is known")
    note = f"netd does not look up the names of peers; {printable(word)} is {', '.join(addresses[:8])} now"
    return Form("name", note=note)
