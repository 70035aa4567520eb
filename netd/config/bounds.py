"""Bounds on the size of a config, over all its files, so that its cost is limited.

Each bound is far above what a host needs. A config at any of them is loaded within ten seconds of processor time. A
reload takes as long, during which the supervisor does nothing else.
"""

from typing import NamedTuple

from netd.shared.memory import MOST_ISOLATED


class Bound(NamedTuple):
    """A bound, and the things that it counts."""

    most: int
    what: str


VALUES = Bound(2_000_000, "values in all files, aliases expanded")
"""Each is read, and its position is stored, which takes some microseconds."""
SERVICES = Bound(10_000, "services")
"""Each is in every process, and takes some descriptors of the supervisor."""
LISTENERS = Bound(20_000, "URLs to listen on, of all services")
"""Two for each service; each is a descriptor in every process."""
RULES = Bound(
    1_000_000,
    "access rules; those of defaults count once, and again for each service that adds rules",
)
"""Enough for 200 services with 3,000 rules each, or for 10,000 in defaults and other ones in a hundred services."""
TIMES = Bound(10_000, "times in access rules; those of defaults count as its rules do")
"""Unlike other rules, each takes time in every worker, at each reload and once a minute."""
CERTIFICATE_RULES = Bound(10_000, "certificate rules in access.allow; those of defaults count as its rules do")
"""Each is parsed in every worker at each reload."""
CERTIFICATES = Bound(1_000, "certificates in tls of all services; those of defaults count for each service")
"""Each is a descriptor of the supervisor, two in a reload, and a context of OpenSSL in every worker."""
ISOLATED = Bound(MOST_ISOLATED, "services with isolate")
"""Each is a process. There are 64 workers at most, and `daemon.workers` are others."""
NETWORKS = Bound(
    100_000, "networks in exempt, amplify and proxy_protocol of all services; those of defaults count for each service"
)
"""Every worker reads each of them, for each service again."""
