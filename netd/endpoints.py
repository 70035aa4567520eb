"""`Endpoint`: the URL that a service listens on, parsed and frozen, with its text as the operator wrote it.

``tcp://HOST:PORT``, ``tls://HOST:PORT`` (over TCP), ``udp://HOST:PORT``, ``unix:///PATH``, ``unixgram:///PATH``,
``unix://@ABSTRACT``, and ``systemd://NAME`` for sockets that the service manager opens; HOST is ``*`` (both address
families), an address (IPv6 in brackets) or a name. Socket options are query keys (`SocketOptions`).
This file holds values only; ``netd/transport/listen.py`` opens the sockets.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any, Literal, TypeAlias

from netd.accounts import parse_id
from netd.addresses import address_text, parse_address, split_port
from netd.errors import InvalidValueError, faults_of
from netd.peer import Transport
from netd.text import likely, shown
from netd.values import parse_size, parse_switch

Scheme: TypeAlias = Literal[Transport, "tls", "systemd"]
LONGEST_PATH = 107  # sun_path holds 108 octets, with the NUL that ends it (unix(7))


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"\d{1,10}", text, re.ASCII) and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"expected a number from {low} to {high}, got {shown(text)}")

    return parse


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text, re.ASCII):
        raise ValueError(f"expected octal permissions such as 0660, got {shown(text)}")
    return int(text, 8)


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,32}", text):
        raise ValueError(f"expected a name, got {shown(text)}")
    return text


def _account(text: str) -> str:
    """A user or group, by name or number. The largest number stands for "leave it as it is" (chown(2))."""
    if re.fullmatch("[0-9]+", text) and parse_id(text) is None:
        raise ValueError(f"expected a number below {2**32 - 1}, got {shown(text)}")
    return _word(text)


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """The query keys of an endpoint. Switches are ``on`` or ``off``; sizes are octets or ``64KiB``."""

    backlog: int = 1024
    """Connections that may wait to be accepted, 1 to 65535 (listen(2)); the kernel caps it at net.core.somaxconn."""
    nodelay: bool = True
    """Send small answers at once (TCP_NODELAY, tcp(7)); on, since these services answer each request at once."""
    keepalive: bool = False
    """Probe silent peers (SO_KEEPALIVE, socket(7)); off, since ``limits.idle`` closes their connections sooner."""
    rcvbuf: int | None = None
    """The receive buffer in octets (SO_RCVBUF, capped by net.core.rmem_max); unset, the kernel decides."""
    sndbuf: int | None = None
    """The send buffer in octets (SO_SNDBUF, capped by net.core.wmem_max); unset, the kernel decides."""
    freebind: bool = False
    """Bind an address that this host does not have yet (IP_FREEBIND, ip(7)), for floating addresses."""
    device: str | None = None
    """Receive on this network interface, or in this VRF, only (SO_BINDTODEVICE, socket(7)); answers leave there."""
    reuse_port: bool = False
    """Share the port with other processes that set this option (SO_REUSEPORT, socket(7))."""
    mode: int = 0o666
    """Permission bits of a UNIX socket's path, octal; 0666 as in systemd.socket(5): access to the network needs no
    permission either."""
    owner: str | None = None
    """The owner (name or number) of a UNIX socket's path."""
    group: str | None = None
    """The group (name or number) of a UNIX socket's path."""


_PARSERS: dict[str, Callable[[str], Any]] = {
    "backlog": _number(1, 65535),
    "nodelay": parse_switch,
    "keepalive": parse_switch,
    "rcvbuf": parse_size,
    "sndbuf": parse_size,
    "freebind": parse_switch,
    "device": _word,
    "reuse_port": parse_switch,
    "mode": _mode,
    "owner": _account,
    "group": _account,
}
_INET_KEYS = ("rcvbuf", "sndbuf", "freebind", "device", "reuse_port")
_PATH_KEYS = ("mode", "owner", "group")
KEYS: dict[Scheme, tuple[str, ...]] = {
    "tcp": ("backlog", "nodelay", "keepalive", *_INET_KEYS),
    "tls": ("backlog", "nodelay", "keepalive", *_INET_KEYS),
    "udp": _INET_KEYS,
    "unix": ("backlog", "rcvbuf", "sndbuf", *_PATH_KEYS),
    "unixgram": ("rcvbuf", "sndbuf", *_PATH_KEYS),
    "systemd": (),
}
"""The query keys that endpoints with a scheme may have."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to listen, with its socket options."""

    transport: Scheme
    host: str = ""
    """``*``, a numeric address in its canonical form, or a name; empty over UNIX and for systemd."""
    port: int = 0
    """0 to 65535; 0 lets the kernel choose."""
    path: str = ""
    """The path of a UNIX socket: absolute, or ``@NAME`` in the abstract namespace (unix(7))."""
    name: str = ""
    """The FileDescriptorName= of sockets from systemd (systemd.socket(5))."""
    options: SocketOptions = SocketOptions()
    text: str = field(default="", compare=False)
    """The URL as the operator wrote it."""
    place: str = field(default="", compare=False)
    """Where it stands in the config, as FILE:LINE:COLUMN; empty if it stands in none."""
    number: int = field(default=0, compare=False)
    """Its position in ``listen``, from 0."""

    @classmethod
    def parse(cls, text: object) -> "Endpoint":
        """The endpoint of a URL. Raises ValueError."""
        if not isinstance(text, str) or "://" not in text:
            raise InvalidValueError(f"expected a URL such as tcp://*:7, got {shown(text)}", _url_hint(text))
        scheme, _, rest = text.partition("://")
        place, _, query = rest.partition("?")
        if scheme not in KEYS:
            raise InvalidValueError(f"unknown scheme {shown(scheme)}", likely(scheme, KEYS))
        transport: Scheme = scheme
        parse_place: Callable[[str], dict[str, Any]]
        match transport:
            case "tcp" | "tls" | "udp":
                parse_place = partial(_parse_authority, transport)
            case "systemd":
                parse_place = _parse_name
            case _:
                parse_place = _parse_path
        faults: list[InvalidValueError] = []
        parsed: dict[str, Any] = {}
        for part in (partial(parse_place, place), partial(_parse_query, transport, query)):
            try:
                parsed |= part()
            except ValueError as error:
                faults += faults_of(error)
        if faults:
            raise InvalidValueError(faults[0].message, faults[0].hint, faults[1:4])
        return cls(transport, text=text, **parsed)

    def __str__(self) -> str:
        return self.text or self.at(self.host, self.port)

    def at(self, host: str, port: int) -> str:
        """The URL with the address that was bound, which the text of this one lacks for port 0 and for names."""
        if self.path or self.name:
            return f"{self.transport}://{self.path or self.name}"
        return f"{self.transport}://{address_text(host, port)}"

    @property
    def streams(self) -> bool:
        """Whether this is an endpoint for streams, rather than for datagrams."""
        return self.transport in ("tcp", "tls", "unix")

    @property
    def socket_transport(self) -> Transport | Literal["systemd"]:
        """The transport of its socket, in which tls is tcp."""
        return "tcp" if self.transport == "tls" else self.transport

    def overlaps(self, other: "Endpoint") -> bool:
        """Whether both endpoints claim the same address: equal ones, or a wildcard and an address that it includes."""
        if self.name or other.name:
            return self.name == other.name
        if self.socket_transport != other.socket_transport:
            # Streams and datagrams share the paths in the file system, but not the abstract names (unix(7)).
            return bool(self.path) and self.path == other.path and not self.path.startswith("@")
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or self.port == 0:
            return False
        devices = {self.options.device, other.options.device}
        if len(devices) == 2 and None not in devices:
            return False
        return self.host == other.host or any(_covers(a, b) for a, b in ((self, other), (other, self)))


def _covers(wide: Endpoint, narrow: Endpoint) -> bool:
    """Whether ``wide`` is a wildcard for an address family of ``narrow``."""
    match wide.host:
        case "*":
            return True
        case "0.0.0.0":
            return ":" not in narrow.host
        case "::":
            return ":" in narrow.host or narrow.host == "*"
    return False


def _parse_authority(scheme: str, place: str) -> dict[str, Any]:
    host, port = split_port(place)
    if port is None or not re.fullmatch(r"[^\s/@]+", host):
        raise InvalidValueError(
            f"expected HOST:PORT such as *:7, 192.0.2.1:7 or [2001:db8::1]:7, got {shown(place)}",
            _authority_hint(scheme, place),
        )
    if ":" in host:
        host = _canonical(host, 6)
    elif re.fullmatch(r"[0-9.]+", host):
        host = _canonical(host, 4)
    elif host != "*" and not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", host):
        raise ValueError(f"expected an address, a name or *, got {shown(host)}")
    return {"host": host, "port": port}


def _canonical(host: str, version: Literal[4, 6]) -> str:
    try:
        parse_address(host)
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"expected an IPv{version} address, got {shown(host)}") from None
    if address.version != version or getattr(address, "ipv4_mapped", None):
        raise ValueError(f"expected an IPv{version} address, got {shown(host)}")
    return str(address)


def _parse_path(place: str) -> dict[str, Any]:
    if "\0" in place or len(place.encode()) > LONGEST_PATH:
        raise ValueError(f"expected a path of at most {LONGEST_PATH} octets, got {shown(place)}")
    if len(place) < 2 or not place.startswith(("/", "@")):
        raise ValueError(
            f"expected an absolute path (unix:///run/x.sock) or an abstract name (unix://@x), got {shown(place)}"
        )
    return {"path": re.sub("/+", "/", place) if place.startswith("/") else place}


def _parse_name(place: str) -> dict[str, Any]:
    if not re.fullmatch(r"[!-9;-~]{1,255}", place):  # no ":" (sd_listen_fds(3))
        raise ValueError(f"expected a FileDescriptorName (systemd.socket(5)) such as echo.socket, got {shown(place)}")
    return {"name": place}


def _parse_query(transport: Scheme, query: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    faults: list[InvalidValueError] = []
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        if key not in KEYS[transport]:
            hint = likely(key, KEYS[transport])
            faults.append(InvalidValueError(f"unknown socket option {shown(key)} for {transport}", hint))
        elif not equals or key in given:
            how = "twice" if key in given else "without a value"
            faults.append(InvalidValueError(f"socket option {key} is given {how}"))
        else:
            try:
                given[key] = _PARSERS[key](value)
            except ValueError as error:
                given[key] = None
                faults += (
                    InvalidValueError(f"socket option {key}: {one.message}", one.hint) for one in faults_of(error)
                )
    if faults:
        raise InvalidValueError(faults[0].message, faults[0].hint, faults[1:4])
    return {"options": SocketOptions(**given)}


def _url_hint(text: object) -> str:
    """The URL that a text without a scheme may mean."""
    if not isinstance(text, str):
        return ""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in KEYS and rest:
        # unix:/run/x, tcp:host:7
        meant = f"{scheme}://{rest.lstrip('/')}" if scheme in ("tcp", "tls", "udp", "systemd") else f"{scheme}://{rest}"
    elif text.startswith("/"):
        meant = f"unix://{text}"
    elif re.fullmatch(r"\d{1,5}", text):
        meant = f"tcp://*:{text}"
    else:
        meant = f"tcp://{text}"
    return _guess(meant)


def _authority_hint(scheme: str, place: str) -> str:
    """The URL that an address without a host, or an IPv6 address without brackets, may mean."""
    host, _, port = place.rpartition(":")
    if not port.isdigit() or "[" in host:
        return ""
    return _guess(f"{scheme}://[{host}]:{port}" if host else f"{scheme}://*:{port}")


def _guess(url: str) -> str:
    try:
        Endpoint.parse(url)
    except ValueError:
        return ""
    return f"did you mean '{url}'?"
