"""What is checked of a service that is behind proxies."""

from collections.abc import Iterator

from netd.admission.proxies import NO_DATAGRAMS, ProxyProtocol
from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.values import Model

_BY_ITSELF = "mode: listener: the program accepts by itself, so netd reads no header"
_ANY = "any: every client may name any address as its own; list the proxies, unless a firewall keeps out all others"
_NO_UNIX = "UNIX peers are refused, since none of them is a proxy; `local` in proxy_protocol.from makes them proxies"


def findings(protocol: ProxyProtocol | None, listen: tuple[Endpoint, ...], options: Model) -> Iterator[Finding]:
    """The problems and notices of a service with these proxies, endpoints and options."""
    if protocol is None:
        return
    if getattr(options, "mode", None) == "listener":
        yield Finding(("proxy_protocol",), _BY_ITSELF)
    for number, endpoint in enumerate(listen):
        if endpoint.transport in ("udp", "unixgram"):
            yield Finding(("listen", number), NO_DATAGRAMS)
        elif endpoint.transport == "unix" and not protocol.admits_unix and protocol.others == "refuse":
            yield Finding(("listen", number), _NO_UNIX, is_notice=True)
    for number, named in enumerate(protocol.sources):
        if any(network.length == 0 for network in named.networks):
            yield Finding(("proxy_protocol", "from", number), _ANY, is_notice=True)
