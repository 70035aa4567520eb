"""The section [Socket]: where it listens, with which options, how many it accepts, and from which addresses."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from netd.addresses import covers
from netd.endpoints import Endpoint
from netd.importers.systemd.case import Case
from netd.importers.systemd.units import Directive, count, octets, switch
from netd.importers.systemd.words import UnknownSpecifierError, split
from netd.text import shown
from netd.values import size_text

_SECTION = "Socket"
_LISTEN = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO", "ListenSpecial", "ListenNetlink")
_DEFAULT_CONNECTIONS = 64
_Network = IPv4Network | IPv6Network
_NAMED = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}


def put_socket(case: Case) -> None:
    """Set `listen`, and `limits` and `access` where systemd accepts."""
    options = _options(case)
    found: dict[str, Endpoint] = {}
    for directive in case.socket.listed(_SECTION, *_LISTEN):
        url = _url(case, directive, options)
        if not url:
            continue
        endpoint = Endpoint.parse(url)
        if other := next((one for one, theirs in found.items() if endpoint.overlaps(theirs)), ""):
            case.leave_out(directive, f"{other} has this address already")
        else:
            found[url] = endpoint
            case.take(directive, "listen")
    case.service.put([*found], "listen")
    for directive in case.socket.set_aside(_SECTION, *_LISTEN):
        if directive.value:
            case.note(directive, "an empty assignment after it removes it")
    if case.accepts:
        _put_limits(case)
    _put_access(case)


def is_switched_on(case: Case, key: str) -> bool:
    """The value of a boolean, no by default; systemd ignores one that it cannot read."""
    directive = case.socket.last(_SECTION, key)
    if directive is None:
        return False
    try:
        is_on = switch(directive.value)
    except ValueError as error:
        case.note(directive, f"systemd ignores it: {error}")
        return False
    case.take(directive, "listen")
    return is_on


def _options(case: Case) -> dict[str, str]:
    """The options of sockets, as in a URL."""
    found: dict[str, str] = {}
    for key, option in (
        ("NoDelay", "nodelay"),
        ("KeepAlive", "keepalive"),
        ("FreeBind", "freebind"),
        ("ReusePort", "reuse_port"),
    ):
        if is_switched_on(case, key) and option != "nodelay":
            found[option] = "on"
    for key, option in (("ReceiveBuffer", "rcvbuf"), ("SendBuffer", "sndbuf")):
        if directive := case.socket.last(_SECTION, key):
            try:
                found[option] = size_text(octets(directive.value) or 0)
                case.take(directive, "listen")
            except ValueError as error:
                case.note(directive, f"systemd ignores it: {error}")
    if directive := case.socket.last(_SECTION, "Backlog"):
        if re.fullmatch(r"\d{1,10}", directive.value, re.ASCII):
            found["backlog"] = str(min(65535, max(1, int(directive.value))))
            case.take(directive, "listen")
        else:
            case.note(directive, "systemd ignores it: it is no number")
    for key, option in (
        ("BindToDevice", "device"),
        ("SocketUser", "owner"),
        ("SocketGroup", "group"),
        ("SocketMode", "mode"),
    ):
        if directive := case.socket.last(_SECTION, key):
            found[option] = directive.value
            case.take(directive, "listen")
    return found


_KEYS = {
    "tcp": ("backlog", "keepalive", "rcvbuf", "sndbuf", "freebind", "device", "reuse_port"),
    "udp": ("rcvbuf", "sndbuf", "freebind", "device", "reuse_port"),
    "unix": ("backlog", "rcvbuf", "sndbuf", "mode", "owner", "group"),
    "unixgram": ("rcvbuf", "sndbuf", "mode", "owner", "group"),
}


def _url(case: Case, directive: Directive, options: dict[str, str]) -> str:
    """The URL of an assignment; empty after it was told why there is none."""
    if directive.key not in ("ListenStream", "ListenDatagram"):
        case.leave_out(directive, "netd has sockets for streams and datagrams alone")
        return ""
    datagrams = directive.key == "ListenDatagram"
    if datagrams and case.accepts:
        case.leave_out(directive, "with Accept=yes there are streams alone")
        return ""
    try:
        value = case.expanded(directive.value, case.socket)
    except UnknownSpecifierError as error:
        case.leave_out(directive, f"only systemd knows {error}")
        return ""
    if value.startswith(("/", "@")):
        scheme = "unixgram" if datagrams else "unix"
        place = value
    else:
        scheme = "udp" if datagrams else "tcp"
        place = _authority(case, value)
    keys = [
        key
        for key in _KEYS[scheme]
        if key in options and not (value.startswith("@") and key in ("mode", "owner", "group"))
    ]
    query = "&".join(f"{key}={options[key]}" for key in keys)
    url = f"{scheme}://{place}{'?' if query else ''}{query}"
    try:
        endpoint = Endpoint.parse(url)
        if (endpoint.path or place) != place:
            raise ValueError(f"it has another path, {shown(endpoint.path)}")
    except ValueError as error:
        case.leave_out(directive, f"netd cannot listen there: {error}")
        return ""
    return url


def _authority(case: Case, value: str) -> str:
    """The host and port of a URL."""
    only = case.socket.last(_SECTION, "BindIPv6Only")
    is_only = only is not None and only.value.lower() in ("ipv6-only", "1", "yes", "y", "true", "t", "on")
    if only:
        if is_only and only.value.lower() != "ipv6-only":
            case.note(only, "it means IPv6 alone", "listen")
        else:
            case.take(only, "listen")
    every = "[::]" if is_only else "*"
    if re.fullmatch(r"\d{1,5}", value, re.ASCII):
        return f"{every}:{value}"
    if match := re.fullmatch(r"\[::\]:(\d{1,5})", value, re.ASCII):
        return f"{every}:{match[1]}"
    if match := re.fullmatch(r"\[([^\]]*)\]:(\d{1,5})%([\w.-]+)", value, re.ASCII):
        return f"[{match[1]}%{match[3]}]:{match[2]}"
    return value


def _put_limits(case: Case) -> None:
    for key, option in (("MaxConnections", "connections"), ("MaxConnectionsPerSource", "per_source")):
        directive = case.socket.last(_SECTION, key)
        if directive is None:
            continue
        try:
            number = count(directive.value)
        except ValueError as error:
            case.note(directive, f"systemd ignores it: {error}")
            continue
        if option == "per_source" and number:
            case.note(directive, "netd counts an IPv6 /64 as one source")
        if number:
            case.put(directive, number, "limits", option)
        elif option == "connections":
            case.leave_out(directive, "netd has no service that refuses every connection", off=True)
    if case.service.get("limits", "connections") is None:
        case.service.put(_DEFAULT_CONNECTIONS, "limits", "connections", comments=["the default of MaxConnections="])


def _put_access(case: Case) -> None:
    """IPAddressAllow= wins over IPAddressDeny= in systemd; netd takes the longest prefix, and `deny` on a tie."""
    rules = case.socket.listed(_SECTION, "IPAddressAllow") + case.socket.listed(_SECTION, "IPAddressDeny")
    paths = [url.startswith("unix") for url in case.service.get("listen")]
    if any(paths):
        for directive in rules:
            if all(paths):
                case.note(directive, "it does nothing for UNIX sockets")
            else:
                case.leave_out(directive, "in netd it would hold for UNIX peers of the service too", off=True)
        return
    allowed, denied = (_networks(case, key) for key in ("IPAddressAllow", "IPAddressDeny"))
    if not denied:
        return
    is_all = {*_parsed("any")} <= {*denied}
    kept = [one for one in denied if not any(covers(wide, one) for wide in allowed)]
    if is_all and not allowed:
        case.service.put(["any"], "access", "deny")
        return
    if allowed:
        case.service.put([*map(str, allowed), *(() if is_all else ("any",))], "access", "allow")
    if kept and not is_all:
        case.service.put([*map(str, kept)], "access", "deny")


def _networks(case: Case, key: str) -> list[_Network]:
    found: list[_Network] = []
    for directive in case.socket.listed(_SECTION, key):
        try:
            for word, _ in split(directive.value):
                found += _parsed(word)
        except ValueError:
            case.leave_out(directive, "it is no list of networks", off=True)
            continue
        case.note(directive, "systemd drops packets of others without an answer; netd refuses their connections")
    return found


def _parsed(word: str) -> list[_Network]:
    return [ip_network(one, strict=False) for one in _NAMED.get(word, (word,))]
