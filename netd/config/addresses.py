"""The addresses that the services of a config claim: two enabled services cannot have the same one."""

from collections import Counter

from netd.config.problems import Mark
from netd.endpoints import Endpoint

_MOST = 1000  # addresses of one port
_WILDCARDS = ("*", "0.0.0.0", "::")


class Addresses:
    """The addresses that are claimed."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, int]] = Counter()
        self.claimed: dict[tuple[str, int], dict[str, list[tuple[Endpoint, str, Mark]]]] = {}
        """The endpoints, with the names of their services and where they stand: by path and port, then by host."""

    def claim(self, endpoint: Endpoint, service: str, mark: Mark) -> str:
        """Claim the address of an endpoint for an enabled service. Returns why that cannot be; empty: it can."""
        place = (endpoint.path or endpoint.name, endpoint.port)
        if self._numbers[place] == _MOST:
            return f"more than {_MOST} addresses of one port; use * for all"
        self._numbers[place] += 1
        hosts = self.claimed.setdefault(place, {})
        # A wildcard may conflict with any host, another host only with itself and with wildcards.
        near = hosts if endpoint.host in _WILDCARDS else (endpoint.host, *_WILDCARDS)
        fault = ""
        for other, owner, at in (one for host in near for one in hosts.get(host, ())):
            if endpoint.overlaps(other):
                fault = f"{endpoint} conflicts with {other} of '{owner}' in {at.file}:{at.line}"
                break
        hosts.setdefault(endpoint.host, []).append((endpoint, service, mark))
        return fault
