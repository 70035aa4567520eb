"""The address of a service: protocol, port, family, and the options of its socket."""

import ipaddress
import re

from netd.importers.xinetd import values
from netd.importers.xinetd.case import Case
from netd.text import printable

_PROTOCOLS = {"stream": "tcp", "dgram": "udp"}
_TYPES = {"tcp": "stream", "udp": "dgram"}


def convert(case: Case) -> None:
    """Set `listen` of the service, or drop the service where it can have none."""
    protocol = _protocol(case)
    if protocol is None:
        return
    port = _port(case, protocol)
    if port is None:
        return
    host = _host(case)
    if host is None:
        return
    options = ""
    if "KEEPALIVE" in case.flags() and protocol == "tcp":
        options = "?keepalive=on"
    case.service.put([f"{protocol}://{host}:{port}{options}"], "listen")


def _protocol(case: Case) -> str | None:
    """``tcp`` or ``udp``, from `protocol` and `socket_type`, of which either decides about the other."""
    kind, protocol = case.settings.one("socket_type"), case.settings.one("protocol")
    kind, protocol = kind and kind.lower(), protocol and protocol.lower()
    if kind is None and protocol is None:
        case.drop("neither socket_type nor protocol is given")
        return None
    if kind not in (None, "stream", "dgram"):
        case.drop(f"netd has no sockets of the type {printable(kind or '')}")
        return None
    if protocol not in (None, "tcp", "udp"):
        case.drop(f"netd does not serve the protocol {printable(protocol or '')}")
        return None
    wanted = protocol or _PROTOCOLS[kind or ""]
    if kind and _PROTOCOLS[kind] != wanted:
        case.drop(f"{wanted} has no sockets of the type {kind}")
        return None
    return wanted


def _port(case: Case, protocol: str) -> int | None:
    types = {word.upper() for word in case.settings.words("type") or ()}
    text = case.settings.one("port")
    given = values.number(text) if text is not None else None
    if text is not None and (given is None or given > 65535):
        case.bad("port", f"{printable(text)} is no number from 0 to 65535")
        given = None
    name = case.settings.name
    if "UNLISTED" not in types:
        known = case.host.port(name, protocol)
        if known is None and given is None:
            case.drop(f"it has no port: {printable(name)} with {protocol} is not in /etc/services")
        elif known is None:
            case.broken("port", f"{printable(name)} with {protocol} is not in /etc/services, and type is not UNLISTED")
        elif given is not None and given != known:
            case.broken("port", f"{given} is not the port {known} of {printable(name)} in /etc/services")
        given = known if given is None else given
    if given is None:
        case.drop("it has no port, which UNLISTED needs" if text is None else "its port is no number up to 65535")
    return given


def _host(case: Case) -> str | None:
    """The host of the URL: an address or a name, ``0.0.0.0`` for IPv4 alone, ``*`` for both families."""
    flags = case.flags()
    version_4, version_6 = "IPV4" in flags, "IPV6" in flags
    if version_4 and version_6:
        if case.is_fork:
            case.note("flags", "IPv4 and IPv6 together: IPv6, which includes IPv4")
            version_4 = False
        else:
            case.broken("flags", "IPv4 and IPv6 together")
    bound = case.settings.one("bind")
    if bound is not None:
        return _bound(case, bound, version_4)
    if version_4 or not (case.is_fork or version_6):
        return "0.0.0.0"
    return _both_families(case, "flags" if version_6 else "")


def _bound(case: Case, bound: str, version_4: bool) -> str | None:
    try:
        address = ipaddress.ip_address(bound)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", bound) or re.fullmatch("[0-9.]+", bound):
            case.bad("bind", f"{printable(bound)} is no address")
            return "*"
        case.note("bind", "netd listens on all addresses of the name")
        return bound
    if address.version == 4:
        if address.is_multicast:
            case.leave_out("bind", "netd joins no multicast group", off=True)
        return str(address)
    if address == ipaddress.IPv6Address("::") and not version_4:
        return _both_families(case, "bind")
    return f"[{address}]"


def _both_families(case: Case, name: str) -> str:
    """``*``, or ``[::]`` where the service keeps IPv4 out."""
    given = case.settings.values.get("v6only")
    if given is not None and not given.inherited:
        if values.yes_or_no(given.values[0]):
            return "[::]"
        case.note("v6only", "xinetd took any value for yes, and kept IPv4 out; netd serves both, as it says")
        return "*"
    if name:
        case.note(name, "xinetd serves IPv4 too: v6only is not given, so it switches V6ONLY off")
    return "*"
