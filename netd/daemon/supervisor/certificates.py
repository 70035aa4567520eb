"""The certificates in force: what `netd status` says of them, and a warning before they expire."""

import time
from typing import Any

from netd.config.model import ServiceConfig
from netd.daemon.supervisor.state import State
from netd.telemetry.daemon_events import DaemonEvents
from netd.tls.service_files import Identity

_WARNED = 30 * 86400.0
"""Seconds before the end in which it is warned of: authorities renew earlier, so that there was a chance by then."""


class Certificates:
    """The certificates of the services in force."""

    def __init__(self, state: State, events: DaemonEvents) -> None:
        self._state = state
        self._events = events
        self._told: set[Identity] = set()

    def report(self, service: ServiceConfig) -> dict[str, list[dict[str, Any]]]:
        """What a status has of a service: nothing where it has none."""
        found = [{"file": one.path, "names": list(one.names), "expires": one.not_after} for one in _of(service)]
        return {"certificates": found} if found else {}

    def warn(self) -> None:
        """Log each that expires soon or has expired, once, until a reload takes a renewed file."""
        now = time.time()
        soon = {one for service in self._state.config.enabled for one in _of(service) if one.not_after - now < _WARNED}
        for one in sorted(soon - self._told, key=lambda one: one.not_after):
            self._events.expiry_neared(one.path, one.not_after)
        self._told = soon


def _of(service: ServiceConfig) -> tuple[Identity, ...]:
    return service.tls_files.identities if service.tls_files else ()
