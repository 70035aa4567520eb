"""Counts the datagrams and connections that the kernel drops because a socket's queue is full (SO_MEMINFO).

At a TCP listener the kernel also counts a client that resets the connection before its handshake is complete, as the
checks of HAProxy do, and scanners. So the drops there are refusals only up to the number of overflows of all listeners
in this network namespace. At a socket with a filter it counts what that has discarded, so nothing is known there.
"""

import socket
import struct
from collections.abc import Callable, Collection

from netd.config.model import ServiceConfig
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.state import State
from netd.shared.table import SUPERVISOR
from netd.telemetry.service_events import ServiceEvents

_SO_MEMINFO = 55  # asm-generic/socket.h; not in the socket module
_MEMINFO = struct.Struct("9I")  # linux/sock_diag.h; the last value is SK_MEMINFO_DROPS
_OVERFLOWS = ("ListenOverflows", "TCPReqQFullDrop")  # the queue of connections, and that of handshakes


class KernelDrops:
    """Adds the kernel's drops at each listener to the counters of its service, in the supervisor's column.

    ``filtered`` returns the ids of the listeners with a filter.
    """

    def __init__(self, state: State, listeners: Listeners, filtered: Callable[[], Collection[int]] = frozenset) -> None:
        self._state = state
        self._listeners = listeners
        self._filtered_now = filtered
        self._filtered: frozenset[int] = frozenset()  # at the last call
        self._drops: dict[int, int] = {}  # the kernel's number at the last call, by listener id
        self._overflows = _overflows()
        self._unassigned = 0  # overflows before the last call that were not at the listeners, as far as was known
        self._service_events: dict[str, ServiceEvents] = {}

    def count(self) -> None:
        """Count the datagrams and connections that the kernel dropped since the last call."""
        services = {service.name: service for service in self._state.config.services}
        before, self._drops = self._drops, {}
        filtered, self._filtered = self._filtered, frozenset(self._filtered_now())
        filtered |= self._filtered
        overflows, self._overflows = self._overflows, _overflows()
        # The kernel does not count both at one moment, so an overflow may be counted before its drop.
        new = self._overflows - overflows
        unassigned = new + self._unassigned
        for record in self._listeners:
            listener = record.listener
            number = self._drops[record.id] = _kernel_drops(listener.socket)
            if record.id in filtered:
                continue
            since = (number - before.get(record.id, number)) & 0xFFFFFFFF
            if listener.streams:
                since = min(since, unassigned)
                unassigned -= since
            if since:
                events = self._events_of(services[listener.service])
                if listener.streams:
                    events.connection_refused("backlog", number=since, endpoint=listener.url)
                else:
                    events.datagrams_dropped(since, "kernel", listener.url)
        self._unassigned = min(unassigned, new)
        tables = self._state.tables
        for name, events in list(self._service_events.items()):
            is_current = tables.get(name) is events.table
            events.log_pending(final=not is_current)
            if not is_current:  # the service was removed, or has another type
                del self._service_events[name]

    def _events_of(self, service: ServiceConfig) -> ServiceEvents:
        """The events of a service. They are kept, because their log lines are throttled."""
        table = self._state.table(service)
        events = self._service_events.get(service.name)
        if events is None or events.table is not table:
            events = self._service_events[service.name] = ServiceEvents(service.name, table, SUPERVISOR)
        return events


def _kernel_drops(opened: socket.socket) -> int:
    """The number of datagrams or connections that the kernel has dropped at this socket; 0 before Linux 4.12.

    SO_RXQ_OVFL (socket(7)) would attach the same number to every datagram.
    """
    try:
        numbers = _MEMINFO.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return 0
    return int(numbers[-1])


def _overflows() -> int:
    """How many connections the kernel has dropped in this network namespace because a queue of a listener was full.

    0 without /proc: then no refusal is counted.
    """
    try:
        with open("/proc/self/net/netstat") as lines:
            names, values = next((line.split(), next(lines).split()) for line in lines if line.startswith("TcpExt:"))
    except (OSError, StopIteration):
        return 0
    found = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return sum(found.get(name, 0) for name in _OVERFLOWS)
