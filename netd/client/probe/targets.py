"""The targets: a URL as the operator gave it, and the addresses that its name has."""

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from netd.addresses import address_text, is_loopback, pack_address
from netd.client.urls import client_endpoint
from netd.endpoints import Endpoint
from netd.errors import UsageError
from netd.tls.client import ClientTls

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | str]
"""An address family, and the address for connect(2)."""

_RESOLVER_TIMEOUT = 10.0
"""Seconds for all names together; resolv.conf(5) gives a dead server five, twice."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service, and all addresses of its name; none where the name cannot be resolved."""

    endpoint: Endpoint
    addresses: tuple[Address, ...]
    problem: str = ""
    """Why there are no addresses."""
    tls: ClientTls | None = None
    """What its connections need for TLS; None: they have none."""

    @property
    def name(self) -> str:
        return str(self.endpoint)

    @property
    def local(self) -> bool:
        """Whether all addresses are on this host: loopback or UNIX sockets."""
        return all(
            family == socket.AF_UNIX or is_loopback(pack_address(address[0])) for family, address in self.addresses
        )


def parse_target(url: str) -> Endpoint:
    """The endpoint of a URL that a client can connect to. Raises UsageError."""
    try:
        return client_endpoint(url)
    except ValueError as error:
        raise UsageError([f"{url}: {error}"]) from None


def resolve(endpoints: Sequence[Endpoint]) -> list[Target]:
    """Resolve the names of all endpoints at the same time, so that a dead resolver costs its time-out only once."""
    found: dict[int, Target] = {}

    def look_up(index: int, endpoint: Endpoint) -> None:
        found[index] = _look_up(endpoint)

    # A look-up cannot be interrupted: daemon threads, so that one which hangs does not keep the process alive.
    threads = [threading.Thread(target=look_up, args=job, daemon=True) for job in enumerate(endpoints)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _RESOLVER_TIMEOUT
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"no answer from the resolver within {_RESOLVER_TIMEOUT:.0f} s"
    return [found.get(index) or Target(endpoint, (), late) for index, endpoint in enumerate(endpoints)]


def _look_up(endpoint: Endpoint) -> Target:
    if endpoint.path:
        path = endpoint.path
        return Target(endpoint, ((socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path),))
    kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
    try:
        answers = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is too long
        return Target(endpoint, (), getattr(error, "strerror", None) or str(error))
    addresses = [(family, address) for family, _, _, _, address in answers]
    return Target(endpoint, tuple(dict.fromkeys(addresses)))  # type: ignore[arg-type]  # AF_INET and AF_INET6 alone


def address_as_text(address: Address) -> str:
    """An address as text: ``192.0.2.1:7``, a path, or ``@NAME``."""
    value = address[1]
    if isinstance(value, str):
        return address_text(value.replace("\0", "@", 1), 0, unix=True)
    return address_text(value[0], value[1])
