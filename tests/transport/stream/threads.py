"""Handlers that a test gives, and what is counted of their threads."""

import socket
import threading
from collections.abc import Callable
from typing import Any

from netd.admission.limits import Limits
from netd.telemetry.service_events import ServiceEvents

MOST_THREADS = Limits().threads


class Function:
    """A service with a method as its handler."""

    def __init__(self, run: Callable[[socket.socket], object]) -> None:
        self._run = run

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
        return self._run(request)


def outcomes(events: ServiceEvents) -> dict[str, int]:
    """How connections have ended, and how many of them."""
    return dict(events.counters.closed)


def threads() -> int:
    """How many threads of handlers there are in this process."""
    return sum(thread.name == "netd-test" for thread in threading.enumerate())
