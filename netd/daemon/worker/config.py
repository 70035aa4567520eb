"""What a worker serves: the services of the config in force, and those of one that is made ready to follow it.

A new config comes in two steps: `prepare`, which may fail and changes nothing, and `commit` (or `abort`), which cannot
fail. To prepare is done in slices: the peers of the services there are wait no longer than for one of them, however
large the config is.
"""

import gc
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from netd.admission.access_memory import AccessTables
from netd.admission.access_table import Access
from netd.admission.bans import BanRules
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.contract import Context
from netd.daemon.garbage import MANY
from netd.daemon.messages.from_supervisor import Prepare, ServiceEntry
from netd.daemon.messages.from_worker import Done, Failed
from netd.services import table
from netd.services.service_type import ServiceType
from netd.shared.table import Table
from netd.telemetry.service_events import ConnectionLog, ServiceEvents
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream.connection import Connection
from netd.transport.stream.connections import Connections
from netd.transport.stream.server import StreamServer

_SLICE = 0.01  # seconds of work on a new config at once
_COLLECTED = 250  # services whose garbage is collected at once

Server = StreamServer | DatagramServer
_Answer = Callable[[Done | Failed], object]
_Change = tuple[Iterator[None], _Answer]
Observed = Connections | DatagramServer
"""What taps are put to."""


class _UnpreparedError(Exception):
    """This worker cannot serve a config, for this reason."""


@dataclass
class Served:
    """A service as it is served now, or will be."""

    kind: ServiceType
    service: Any
    admission: AdmissionControl
    events: ServiceEvents
    access: Access  # what admission has from the commit on
    servers: dict[int, Server] = field(default_factory=dict)
    """By the number of the listener."""


@dataclass
class _Prepared:
    """A config that is ready to be served."""

    connections: int | None
    """``daemon.connections``"""
    bans: BanRules
    log_connections: ConnectionLog
    draining: Mapping[str, float]
    """The services that end with the commit, and how many seconds their connections have."""
    listeners: set[int] = field(default_factory=set)
    """The numbers of all listeners, also of services that another worker serves."""
    services: dict[str, Served] = field(default_factory=dict)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    """The listeners that are new, by number."""
    tables: dict[str, Table] = field(default_factory=dict)
    """The counters of all services by name, likewise."""
    servers: list[Server] = field(default_factory=list)
    """What is to be started."""


class Serving:
    """The services of one worker. Blocking handlers ask ``inspect``, and ``look_at`` has taps put."""

    def __init__(
        self, number: int, loop: Loop, inspect: Callable[[str], Any], look_at: Callable[[Iterable[Observed]], None]
    ) -> None:
        self.shared: DaemonAdmission  # set before anything is prepared
        self.services: dict[str, Served] = {}
        """By name; without those that another worker serves."""
        self._number = number
        self._loop = loop
        self._inspect = inspect
        self._look_at = look_at
        self._sockets: dict[int, socket.socket] = {}
        self._tables: dict[str, Table] = {}
        self._prepared: _Prepared | None = None
        self._work: Iterator[None] | None = None  # on what is prepared, piece by piece
        self._change: _Change | None = None  # the commit under way
        self._kept: set[Connections] = set()  # without a server

    def servers(self) -> Iterator[Server]:
        """All servers."""
        for service in self.services.values():
            yield from service.servers.values()

    def observed(self) -> Iterator[Observed]:
        """All that peers can be looked at in."""
        for server in self.servers():
            yield server.connections if isinstance(server, StreamServer) else server
        yield from list(self._kept)  # the end of a connection may release one

    def keepers(self) -> Iterator[Connections]:
        """The connections of each stream socket, also those that have outlived it."""
        for one in self.observed():
            if isinstance(one, Connections):
                yield one

    def connections(self) -> Iterator[Connection]:
        """All connections."""
        for connections in self.keepers():
            yield from connections

    def events(self) -> set[ServiceEvents]:
        """Of all services, and of connections that have outlived theirs."""
        return {service.events for service in self.services.values()} | {one.events for one in self._kept}

    def keep(self, connections: Connections) -> None:
        """There will be no more of them, and those that are open go on."""
        self._kept.add(connections)
        connections.release_at_end(lambda: self._ended(connections))

    def _ended(self, connections: Connections) -> None:
        """The last one of these is over."""
        self._kept.discard(connections)
        service = self.services.get(connections.events.service)
        if service is None or service.events is not connections.events:
            connections.events.log_pending(final=True)

    def close(self) -> None:
        """Release everything, also what is open."""
        for server in self.servers():
            server.close()
        for connections in self._kept:
            connections.close()

    # A new config.

    def prepare(self, message: Prepare, descriptors: list[int], answer: _Answer) -> None:
        """Make ready what a config needs. ``answer`` is called once that is done, with what is wrong, if anything."""
        gc.disable()  # until the commit, see there
        self._work = work = self._prepare(message, descriptors)
        self._go_on(work, answer)

    def _go_on(self, work: Iterator[None], answer: _Answer) -> None:
        if work is not self._work:
            return  # it was aborted
        until = time.monotonic() + _SLICE
        try:
            for _ in work:
                if time.monotonic() >= until:
                    return self._loop.call(lambda: self._go_on(work, answer))
        except Exception as error:
            self.abort()
            answer(Failed(_reason(error)))
        else:
            self._work = None
            answer(Done())

    def _prepare(self, message: Prepare, descriptors: list[int]) -> Iterator[None]:
        """Make all that the config needs and this worker does not have. Whatever it raises says what is wrong."""
        bans = BanRules.model_validate_json(message.bans)
        self._prepared = prepared = _Prepared(message.connections, bans, message.log_connections, message.draining)
        tables = dict(self._tables)
        entries: dict[str, ServiceEntry] = {}
        left = descriptors[::-1]
        try:
            for text in message.services:
                yield
                entry = ServiceEntry.decode(text)
                entries[entry.name] = entry
                prepared.listeners.update(entry.listeners)
            for what, name in message.handed():
                yield
                if what == "listener":
                    prepared.sockets[name] = socket.socket(fileno=left.pop())
                elif what == "access":
                    access_tables = AccessTables(left.pop())
                    access_tables.close_descriptor()
                else:
                    layout = _kind(entries[name]).layout
                    tables[name] = Table(left.pop(), layout)
                    tables[name].close_descriptor()
        finally:
            for descriptor in left:
                os.close(descriptor)
        prepared.tables = {name: tables[name] for name in entries}
        access_at = cache(lambda offset, length: Access(access_tables.table(offset, length)))
        for number, entry in enumerate(entries.values()):
            yield
            if len(entries) > MANY and number % _COLLECTED == 0:
                gc.collect(0)  # of what is new since the last time; the commit is to keep no garbage
            kind = _kind(entry)
            if self._number and kind.single_worker:  # the first worker serves it: there always is one, or will be soon
                continue
            try:
                access = access_at(*entry.access)
                prepared.services[entry.name] = self._prepare_service(entry, kind, prepared, access)
            except Exception as error:  # whatever a service's class raises
                raise _UnpreparedError(f"services.{entry.name}: {_reason(error)}") from error

    def _prepare_service(self, entry: ServiceEntry, kind: ServiceType, prepared: _Prepared, access: Access) -> Served:
        current = self.services.get(entry.name)
        if current is None or entry.changed:
            options = kind.options.model_validate_json(entry.options)
            policy = Policy.model_validate_json(entry.policy)
            # One object for all endpoints of a service, so that what it knows it knows on each of them.
            service = kind.build(options, Context(line_limit=policy.limits.line, inspect=self._inspect))
            counters = prepared.tables[entry.name]
            if current and current.events.table is counters:
                events = current.events
            else:  # also where its type has changed: the connections that are open go on counting in the old table
                events = ServiceEvents(entry.name, counters, self._number)
            admission = AdmissionControl(entry.name, policy, access, events.table, self.shared, time.time)
            made = Served(kind, service, admission, events, access)
        else:
            made = Served(current.kind, current.service, current.admission, current.events, access)
        for number in entry.listeners:
            if current and not entry.changed and number in current.servers:
                made.servers[number] = current.servers[number]
                continue
            listener = prepared.sockets.get(number) or self._sockets[number]
            server_class = StreamServer if listener.type == socket.SOCK_STREAM else DatagramServer
            made.servers[number] = server_class(
                listener, made.kind, made.service, made.admission, made.events, self._loop
            )
            prepared.servers.append(made.servers[number])
        return made

    def commit(self, answer: _Answer) -> None:
        """Serve what was prepared. A server that is in both configs is not touched. ``answer`` is called at the end."""
        self._change = change = self._commit(), answer
        self._go_on_changing(change)

    def _go_on_changing(self, change: "_Change") -> None:
        if change is self._change:
            until = time.monotonic() + _SLICE
            for _ in change[0]:
                if time.monotonic() >= until:
                    return self._loop.call(lambda: self._go_on_changing(change))
            self._end_change()

    def finish(self) -> None:
        """Put in force at once what is left of a commit under way: nothing else is to see half of it."""
        if self._change:
            for _ in self._change[0]:
                pass
            self._end_change()

    def _end_change(self) -> None:
        assert self._change, "there is one"
        (_, answer), self._change = self._change, None
        if len(self.services) > MANY:
            gc.freeze()
        gc.enable()
        answer(Done())

    def _commit(self) -> Iterator[None]:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        wanted = prepared.listeners
        for name, service in self.services.items():
            new = prepared.services.get(name)
            for number, server in service.servers.items():
                if new and new.servers.get(number) is server:
                    continue
                if number in wanted:
                    server.retire()
                else:
                    server.server_close()
                self.retire(server)
            if new is None or new.events is not service.events:
                service.events.log_pending(final=True)
            yield
        self.retire_services(prepared.draining)
        for name, service in prepared.services.items():
            if before := self.services.get(name):
                _inherit(service, before)
            service.admission.access = (
                service.access
            )  # also an equal one, so that the memory of the one before is given up
        self.services = prepared.services
        self._tables = prepared.tables
        self._sockets |= prepared.sockets
        self._sockets = {number: opened for number, opened in self._sockets.items() if number in wanted}
        self.shared.apply(prepared.connections, prepared.bans)
        takes = [opened for opened in self._sockets.values() if opened.type == socket.SOCK_DGRAM]
        self.shared.ports = frozenset(opened.getsockname()[1] for opened in takes if opened.family != socket.AF_UNIX)
        self.shared.paths = frozenset(opened.getsockname() for opened in takes if opened.family == socket.AF_UNIX)
        self.forget_verdicts()
        for events in self.events():
            events.set_connection_log(prepared.log_connections)
        self._look_at(server.connections if isinstance(server, StreamServer) else server for server in prepared.servers)
        for server in prepared.servers:
            server.start()
            yield

    def forget_verdicts(self) -> None:
        for server in self.servers():
            if isinstance(server, DatagramServer):
                server.forget_verdicts()

    def retire(self, server: Server) -> None:
        """It takes nothing more; its connections go on."""
        server.release()
        if isinstance(server, StreamServer):
            self.keep(server.connections)

    def retire_services(self, drains: Mapping[str, float]) -> None:
        """These services are switched off: their connections have so many seconds."""
        for connections in self.keepers():
            if connections and (drain := drains.get(connections.events.service)) is not None:
                self._loop.later(drain, connections.close_all)

    def abort(self) -> None:
        """Forget what was prepared."""
        gc.enable()
        self._work = None
        if self._prepared:
            for server in self._prepared.servers:
                self.retire(server)
            for opened in self._prepared.sockets.values():
                opened.close()
            self._prepared = None


def _reason(error: Exception) -> str:
    """What the operator reads of an exception."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


def _kind(entry: ServiceEntry) -> ServiceType:
    """The type of a service. `_UnpreparedError`: this worker does not have it, as in a chroot without its package."""
    try:
        kind = table.find(entry.type)
    except ValueError as error:
        raise _UnpreparedError(f"services.{entry.name}: {error}") from error
    if kind is None:
        raise _UnpreparedError(f"services.{entry.name}: there is no service type '{entry.type}'")
    return kind


def _inherit(new: Served, before: Served) -> None:
    """Let a service that was changed have what the one before knew."""
    if new.kind.takes_over and new.service is not before.service and type(new.service) is type(before.service):
        try:
            new.service.take_over(before.service)
        except Exception as error:  # what is decided is put in force, whatever a service makes of it
            new.events.inherit_failed(error)
