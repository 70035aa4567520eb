"""Where a line of inetd.conf listens, as URLs of netd."""

from ipaddress import ip_address

from netd.endpoints import Endpoint
from netd.importers.host import Host
from netd.importers.inetd.dialects import Dialect
from netd.importers.inetd.entries import Entry, UnusableLineError
from netd.text import shown
from netd.values import size_text

_ALL = {"both": "*", "4": "0.0.0.0", "6": "::"}


def urls(entry: Entry, dialect: Dialect, host: Host) -> list[str]:
    """The URLs of an entry. Raises UnusableLineError where inetd would not listen, or netd cannot."""
    query = "&".join(f"{key}={size_text(octets)}" for key, octets in sorted(entry.buffers.items()))
    query = f"?{query}" if query else ""
    if entry.transport == "unix":
        return [_checked(f"{'unixgram' if entry.datagrams else 'unix'}://{entry.service}{query}", entry.service)]
    scheme = "udp" if entry.datagrams else "tcp"
    port = _port(entry.service, scheme, dialect, host)
    found = [_host(one, entry, dialect) for one in entry.hosts]
    return [_checked(f"{scheme}://{one}:{port}{query}", "") for one in dict.fromkeys(found) if one]


def _port(service: str, protocol: str, dialect: Dialect, host: Host) -> int:
    if service.isascii() and service.isdigit():
        if len(service) < 6 and 0 < int(service) < 2**16:
            return int(service)
        raise UnusableLineError(f"{shown(service)} is no port")
    port = host.port(service, protocol)
    if port is None:
        raise UnusableLineError(
            f"/etc/services of this host has no {shown(service)} with {protocol}, so {dialect.program} skips it"
        )
    return port


def _host(text: str, entry: Entry, dialect: Dialect) -> str:
    """The host of a URL."""
    if text == "*":
        text = _ALL[entry.families]
    try:
        version = ip_address(text).version
    except ValueError:
        return text  # * or a name
    if entry.families not in ("both", str(version)):
        raise UnusableLineError(f"{dialect.program} skips it: {text} is no address of IPv{entry.families}")
    return f"[{text}]" if version == 6 else text


def _checked(url: str, path: str) -> str:
    try:
        endpoint = Endpoint.parse(url)
    except ValueError as error:
        raise UnusableLineError(f"netd cannot listen there: {error}") from None
    if path and endpoint.path != path:
        raise UnusableLineError(f"netd cannot listen on the path {shown(path)}")
    return url
