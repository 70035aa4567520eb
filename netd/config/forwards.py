"""What is checked of a service that forwards: that listeners and targets fit, and that none of them is netd itself."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from netd.config.problems import Finding, Mark, Problem, Where
from netd.config.source import Source
from netd.endpoints import Endpoint
from netd.services.forward.options import ForwardOptions
from netd.services.forward.target import Kind, Target

Place = tuple[Target, Mark, Where]
"""A target, and where it stands."""
Listeners = Mapping[tuple[str, int], Mapping[str, Iterable[tuple[Endpoint, str, Mark]]]]
"""Those of all enabled services, with the names of these: by path and port, then by host."""

_WILDCARDS = {
    "*": (socket.AF_INET, socket.AF_INET6),
    "0.0.0.0": (socket.AF_INET,),
    "::": (socket.AF_INET6,),
}
_KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("stream", "connections", "tcp://, tls://, unix://"),
    ("datagram", "datagrams", "udp://, unixgram://"),
)


def findings(listen: tuple[Endpoint, ...], options: ForwardOptions) -> Iterator[Finding]:
    """The problems of a service with these endpoints and options."""
    # A socket of the service manager may be of either kind.
    known = {number: endpoint for number, endpoint in enumerate(listen) if endpoint.transport != "systemd"}
    for kind, what, schemes in _KINDS:
        targets = [number for number, target in enumerate(options.to) if target.kind == kind]
        listeners = [number for number, endpoint in known.items() if endpoint.streams == (kind == "stream")]
        if listeners and not targets:
            yield Finding(("listen", listeners[0]), f"there is no target of {what} ({schemes})")
        # One without listeners gets the connections of tcpmux.
        if targets and not listeners and len(known) == len(listen) and (listen or kind == "datagram"):
            yield Finding(("options", "to", targets[0]), f"no listener takes {what} for this target")
        if kind == "datagram" and targets and options.proxy_protocol:
            yield Finding(("options", "proxy_protocol"), "datagrams to a target have no header of the PROXY protocol")
        if kind == "datagram" and targets and options.check and options.check.send is None:
            url = options.to[targets[0]]
            yield Finding(("options", "check"), f"expected `send`: only an answer shows that {url} is up")
    for target in options.to:
        if options.bind and _family(target.host) not in (0, _family(options.bind)):
            yield Finding(
                ("options", "bind"), f"{options.bind} cannot connect to {target}, of the other address family"
            )


def places(part: Source, path: Where, options: ForwardOptions) -> list[Place]:
    """The targets of the service at this path of a file."""
    at: list[Where] = [(*path, "options", "to", number) for number in range(len(options.to))]
    return [(target, part.mark(where), where) for target, where in zip(options.to, at, strict=True)]


def own_listeners(targets: Iterable[Place], listeners: Listeners) -> Iterator[Problem]:
    """A problem for each target that is a listener of this netd, which would connect to itself."""
    for target, place, where in targets:
        near = listeners.get((target.path, target.port), {})
        for endpoint, name, mark in (one for some in near.values() for one in some):
            if endpoint.socket_transport == target.socket_transport and _takes(endpoint, target):
                message = f"{target} is where '{name}' of this netd listens, in {mark.file}:{mark.line}"
                yield Problem(place, where, message)
                break


def _takes(endpoint: Endpoint, target: Target) -> bool:
    """Whether connections to the target come to the endpoint, which has the same transport, and port or path."""
    if target.path or endpoint.host.lower() == target.host.lower():
        return True
    if target.host.lower() == "localhost":
        return endpoint.host in _WILDCARDS or _is_loopback(endpoint.host)
    family = _family(target.host)
    return family in _WILDCARDS.get(endpoint.host, ()) and _is_of_this_host(family, target.host)


def _family(host: str) -> int:
    """AF_INET or AF_INET6; 0 for a name or none."""
    try:
        return socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return 0


def _is_loopback(host: str) -> bool:
    return bool(_family(host)) and ip_address(host).is_loopback


def _is_of_this_host(family: int, host: str) -> bool:
    """Whether this host has an address: a socket can be bound to it (bind(2)); nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        try:
            one.bind((host, 0))
        except OSError:
            return False
    return True
