"""What one service, and one source, may take of the host."""

from typing import Annotated

from pydantic import Field

from netd.admission.addresses import LOCAL, Named, NetworkOption
from netd.values import Count, Duration, Model, Rate, RateOrOff, Size, SizeOrOff, Timeout


class Limits(Model):
    """Limits of a service. What is not given comes from ``defaults.limits``; ``off`` lifts a limit."""

    connections: Count = 8192
    """Connections of this service at one time; they cost under 1.5 KB each, and half of what the daemon takes in all
    stays free for the others."""
    per_source: Count = 64
    """Connections of this service at one time that one source may have: an IPv4 address, or an IPv6 /64. 64 is more
    than people and programs of one host need here, and leaves room for 127 others."""
    rate: RateOrOff = Rate(50, "s", 100, "udp")
    """New connections and datagrams that are taken from one source, as in `50/s` or `50/s burst 100`; with `tcp` or
    `udp` before it, of that transport alone. 50 a second is more than people and health checks ask, a burst of 100 is a
    tool that asks all at once, and neither hurts whom a forged source names. Connections cannot be forged: without a
    rate of their own, per_source holds them."""
    total_rate: RateOrOff = None
    """The same for all sources together; off, since whoever fills it keeps everybody else out."""
    exempt: tuple[NetworkOption, ...] = (Named("local", LOCAL),)
    """Sources that per_source and rate do not count: networks, addresses, `local` or `any`. Loopback, since that is how
    people test and measure; UNIX peers have no address, and are never counted."""
    idle: Timeout = 300.0
    """Close a connection on which nothing moved for this long; 5 minutes lets a person think and frees what a dead
    peer left behind."""
    lifetime: Timeout = None
    """Close a connection this long after it was accepted, busy or not; off, since a long transfer is no fault."""
    bytes: SizeOrOff = None
    """Close a connection after so many octets, in and out together; off, since a long transfer is no fault."""
    drain: Duration = 30.0
    """When the service is switched off or removed while netd goes on, its live conversations have this long to finish;
    as long as when netd itself stops."""
    line: Annotated[Size, Field(le=2**20)] = 4096
    """The longest line of a line service, in octets, at most 1 MiB: more than a person types, and no more than a page
    of memory per peer."""
    datagram: Annotated[Size, Field(le=65535)] = 8192
    """The longest datagram taken, in octets, at most 65535; a longer one is dropped and counted. 8 KiB is what
    inetd takes, and more than any of these services needs."""
