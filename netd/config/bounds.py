"""How much of each thing a config may have, in all its files together, so that what it costs is known before it runs.

Each bound is far above what a host is asked for. At each of them a config is loaded within ten seconds of a processor's
time, and a reload takes as long, in which the supervisor does nothing else.
"""

from typing import NamedTuple


class Bound(NamedTuple):
    """A bound, and what it is of."""

    most: int
    what: str


VALUES = Bound(2_000_000, "values in all files, aliases counted out")
"""Of which each is read, and has its place kept: some microseconds."""
SERVICES = Bound(10_000, "services")
"""Every process has each of them, and the supervisor has some descriptors of each."""
LISTENERS = Bound(20_000, "URLs to listen on, of all services")
"""Two for each service; each is a descriptor in every process."""
RULES = Bound(
    1_000_000,
    "access rules in all; those of defaults count once, and again for each service that has rules of its own besides",
)
"""Room for 200 services of 3,000 rules each, or for 10,000 in defaults and others for a hundred services."""
TIMES = Bound(10_000, "times in access rules; those of defaults count as its rules do")
"""Unlike the other rules, each of them takes time of every worker, and again every minute."""
NETWORKS = Bound(100_000, "networks in exempt and amplify of all services; those of defaults count for each service")
"""Every worker reads each of them, for each service anew."""
