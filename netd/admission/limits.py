"""Limits of one service, and of one source within it."""

from typing import Annotated

from pydantic import Field

from netd.admission.addresses import LOCAL, Named, NetworkOption
from netd.values import Count, Duration, Model, Rate, RateOrOff, Size, SizeOrOff, Timeout


class Limits(Model):
    """Limits of a service. ``defaults.limits`` gives the values that are not set here; ``off`` lifts a limit."""

    connections: Count = 8192
    """Connections of this service at one time. Each costs less than 1.5 KB, and half of daemon.connections stays free
    for the other services."""
    per_source: Count = 64
    """Connections of this service at one time from one source: an IPv4 address, or an IPv6 /64 (one address, if
    it is link-local or behind NAT64). 64 is more than the users and programs of one host need here, and leaves places
    for 127 other sources."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 32
    """Threads of this service at one time and in all workers, for handlers that block (`socketserver`), 1 to 1024.
    A connection has one until its handler returns, a datagram too; a further connection is refused, a datagram
    waits. 32 take less than 2 MB. `daemon.threads` bounds those of all services."""
    rate: RateOrOff = Rate(50, "s", 100, "udp")
    """New connections and datagrams accepted from one source, as in `50/s` or `50/s burst 100`; with `tcp` or `udp`
    before it, of that transport alone. Users and health checks send less than 50 a second, a tool that sends all its
    queries at once stays within a burst of 100, and the answers to either do no harm to the owner of a forged source
    address. The source of a connection cannot be forged: by default only per_source limits it."""
    total_rate: RateOrOff = None
    """The same for all sources together; off, since one source that exhausts it would lock out all others."""
    exempt: tuple[NetworkOption, ...] = (Named("local", LOCAL),)
    """Sources exempt from per_source and rate: networks, addresses, `local` or `any`. Loopback, since tests and
    measurements use it. UNIX peers have no address, and are always exempt."""
    idle: Timeout = 300.0
    """Close a connection on which nothing was received or sent for this long, or where the peer acknowledges nothing of
    what was sent (TCP_USER_TIMEOUT, tcp(7)). 5 minutes is enough for a user to type a line, and frees the connection
    of a dead peer."""
    lifetime: Timeout = None
    """Close a connection this long after it was accepted, idle or not; off, since a long transfer is legitimate."""
    bytes: SizeOrOff = None
    """Close a connection after this many octets in both directions; off, since a long transfer is legitimate."""
    drain: Duration = 30.0
    """How long live conversations may continue once the service is disabled or removed, while netd keeps running; by
    default as long as when netd stops."""
    line: Annotated[Size, Field(le=2**20)] = 4096
    """The longest line of a line service, in octets, at most 1MiB. 4KiB is more than a user types, and one page of
    memory per peer."""
    datagram: Annotated[Size, Field(le=65535)] = 65535
    """The longest datagram, in octets, at most 65535; a longer one is dropped and counted. UDP carries up to
    65507 over IPv4, and echo is what jumbo frames are tested with. Long ones take memory only when they come."""
