"""The services of a worker: those of the config in force, and those of a config that is prepared to follow it.

A new config comes in two steps: `prepare`, which may fail and changes nothing, and `commit` (or `abort`), which cannot
fail. Both work in slices, with turns of the loop between them: a large config delays the peers of the services in
force by one slice at most.
"""

import gc
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from netd import host_zone
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
from netd.daemon.worker.faults import reason
from netd.daemon.worker.instance import Server, ServiceInstance, call_soon
from netd.daemon.worker.launchers import Launchers
from netd.services import table
from netd.services.service_type import ServiceType
from netd.shared.table import Table
from netd.telemetry.service_events import ConnectionLog, ServiceEvents
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.resolver import Resolver
from netd.transport.stream.connection import Connection
from netd.transport.stream.connections import Connections
from netd.transport.stream.server import StreamServer

_SLICE = 0.01  # seconds of work on a new config before the loop turns
_COLLECTED = 250  # services between two garbage collections

Traceable = Connections | DatagramServer
"""An object that taps are attached to."""
_Respond = Callable[[Done | Failed], object]
_RunningCommit = tuple[Iterator[None], _Respond]


class _UnpreparedError(Exception):
    """This worker cannot serve a config. The message is the reason."""


@dataclass
class _PreparedConfig:
    """A config that is ready for the commit."""

    connections: int | None  # ``daemon.connections``
    bans: BanRules
    draining: Mapping[str, float]
    """The services that end with the commit, and the seconds until their connections are closed."""
    listeners: set[int] = field(default_factory=set)  # of all services, also of those that another worker serves
    services: dict[str, ServiceInstance] = field(default_factory=dict)
    log_connections: dict[str, ConnectionLog] = field(default_factory=dict)
    sockets: dict[int, socket.socket] = field(default_factory=dict)  # the new listeners, by number
    tables: dict[str, Table] = field(default_factory=dict)
    """The counters of all services, by name, including those of services that another worker serves."""
    servers: list[Server] = field(default_factory=list)
    """The new servers, which the commit starts."""


class WorkerConfig:
    """The services of one worker.

    Services get ``inspect`` in their `Context`. ``attach_taps`` is called with the objects that a commit makes.
    """

    def __init__(
        self,
        number: int,
        loop: Loop,
        inspect: Callable[[str], Any],
        attach_taps: Callable[[Iterable[Traceable]], None],
        launchers: Launchers,
    ) -> None:
        self.shared: DaemonAdmission  # set before the first `prepare`
        self.services: dict[str, ServiceInstance] = {}  # by name, without those that another worker serves
        self._number = number
        self._loop = loop
        self._inspect = inspect
        self._attach_taps = attach_taps
        self._launchers = launchers
        self._resolver = Resolver(loop)
        self._sockets: dict[int, socket.socket] = {}
        self._tables: dict[str, Table] = {}
        self._prepared: _PreparedConfig | None = None
        self._preparation: Iterator[None] | None = None  # the slices of a prepare under way
        self._running_commit: _RunningCommit | None = None
        self._removed: list[Server] = []  # of listeners that the config in force does not have, until `close_removed`
        self._draining: Mapping[str, float] = {}  # as of the last commit
        self._retained: set[Connections] = set()  # open connections without a server

    def servers(self) -> Iterator[Server]:
        """All servers."""
        for service in self.services.values():
            yield from service.servers.values()
        yield from self._removed

    def traceable(self) -> Iterator[Traceable]:
        """All objects that taps are attached to."""
        for server in self.servers():
            yield server.connections if isinstance(server, StreamServer) else server
        yield from list(self._retained)  # a copy: closing a connection may change the set

    def connections_by_listener(self) -> Iterator[Connections]:
        """The connections of each stream listener, including listeners that are closed."""
        for one in self.traceable():
            if isinstance(one, Connections):
                yield one

    def connections(self) -> Iterator[Connection]:
        """All connections."""
        for connections in self.connections_by_listener():
            yield from connections

    def events(self) -> set[ServiceEvents]:
        """The events of all services, including services that have ended and still have connections."""
        others = (*self._removed, *self._retained)
        return {service.events for service in self.services.values()} | {one.events for one in others}

    def retain(self, connections: Connections) -> None:
        """Serve connections that have no server, until the last one is closed."""
        self._retained.add(connections)
        connections.release_when_empty(lambda: self._on_last_closed(connections))

    def _on_last_closed(self, connections: Connections) -> None:
        self._retained.discard(connections)
        self._log_ended(connections.events)

    def _log_ended(self, events: ServiceEvents) -> None:
        """Log what these events hold back, if their service has ended."""
        service = self.services.get(events.service)
        if service is None or service.events is not events:
            events.log_pending(final=True)

    def close(self) -> None:
        """Close all listeners and connections."""
        for server in self.servers():
            server.close()
        for connections in self._retained:
            connections.close()

    # A new config.

    def prepare(self, message: Prepare, descriptors: list[int], respond: _Respond) -> None:
        """Make the objects that a config needs and this worker does not have. ``respond`` gets the result."""
        gc.disable()  # until the commit, see `_end_commit`
        self._preparation = preparation = self._prepare(message, descriptors)
        self._resume_prepare(preparation, respond)

    def _resume_prepare(self, preparation: Iterator[None], respond: _Respond) -> None:
        if preparation is not self._preparation:
            return  # it was aborted
        until = time.monotonic() + _SLICE
        try:
            for _ in preparation:
                if time.monotonic() >= until:
                    return self._loop.call(lambda: self._resume_prepare(preparation, respond))
        except Exception as error:
            self.abort()
            respond(Failed(reason(error)))
        else:
            self._preparation = None
            respond(Done())

    def _prepare(self, message: Prepare, descriptors: list[int]) -> Iterator[None]:
        """The slices of `prepare`. Any exception means that this worker cannot serve the config."""
        bans = BanRules.model_validate_json(message.bans)
        self._prepared = prepared = _PreparedConfig(message.connections, bans, message.draining)
        tables = dict(self._tables)
        entries: dict[str, ServiceEntry] = {}
        left = descriptors[::-1]
        try:
            for text in message.services:
                yield
                entry = ServiceEntry.decode(text)
                entries[entry.name] = entry
                prepared.listeners.update(entry.listeners)
                prepared.log_connections[entry.name] = entry.log_connections
            for content, name in message.attached():
                yield
                if content == "listener":
                    prepared.sockets[name] = socket.socket(fileno=left.pop())
                elif content == "access":
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
                gc.collect(0)  # the objects made since the last collection: the commit freezes all that is left
            kind = _kind(entry)
            if self._number and kind.single_worker:
                continue  # worker 0 serves it; the supervisor replaces that worker if it ends
            try:
                access = access_at(*entry.access)
                prepared.services[entry.name] = self._prepare_service(entry, kind, prepared, access)
            except Exception as error:  # the class of a service may raise anything
                raise _UnpreparedError(f"services.{entry.name}: {reason(error)}") from error

    def _prepare_service(
        self, entry: ServiceEntry, kind: ServiceType, prepared: _PreparedConfig, access: Access
    ) -> ServiceInstance:
        current = self.services.get(entry.name)
        if current is None or entry.changed:
            options = kind.options.model_validate_json(entry.options)
            policy = Policy.model_validate_json(entry.policy)
            counters = prepared.tables[entry.name]
            if current and current.events.table is counters:
                events = current.events
            else:  # also where its type has changed: open connections continue to count in the old table
                events = ServiceEvents(entry.name, counters, self._number)
            names_peers = policy.proxy_protocol is not None
            context = Context(
                line_limit=policy.limits.line,
                inspect=self._inspect,
                call_soon=partial(call_soon, self._loop, events),
                names_peers=names_peers,
                resolve=self._resolver.resolve,
            )
            if entry.program and events.programs:
                context = self._launchers.provide(context, *entry.program, events.programs)
            # One object for all endpoints of a service: its state is the same on each of them.
            service = kind.build(options, context)
            admission = AdmissionControl(entry.name, policy, access, events.table, self.shared, time.time)
            made = ServiceInstance(kind, service, admission, events, access)
        else:
            made = ServiceInstance(current.kind, current.service, current.admission, current.events, access)
        for number in entry.listeners:
            if current and not entry.changed and number in current.servers:
                made.servers[number] = current.servers[number]
                continue
            listener = prepared.sockets.get(number) or self._sockets[number]
            prepared.servers.append(made.listen(number, listener, self._loop))
        return made

    def commit(self, respond: _Respond) -> None:
        """Serve the prepared config. A server that is in both configs does not change. ``respond`` is called last."""
        self._running_commit = running = self._commit(), respond
        self._resume_commit(running)

    def _resume_commit(self, running: _RunningCommit) -> None:
        if running is self._running_commit:
            until = time.monotonic() + _SLICE
            for _ in running[0]:
                if time.monotonic() >= until:
                    return self._loop.call(lambda: self._resume_commit(running))
            self._end_commit()

    def finish_commit(self) -> None:
        """Do the rest of a commit under way at once, before a message that must not find half a config in force."""
        if self._running_commit:
            for _ in self._running_commit[0]:
                pass
            self._end_commit()

    def _end_commit(self) -> None:
        assert self._running_commit, "a commit is under way"
        (_, respond), self._running_commit = self._running_commit, None
        if len(self.services) > MANY:
            gc.freeze()
        gc.enable()
        respond(Done())

    def _commit(self) -> Iterator[None]:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        host_zone.read_again()
        wanted = prepared.listeners
        ended: list[ServiceEvents] = []
        for name, service in self.services.items():
            new = prepared.services.get(name)
            for number, server in service.servers.items():
                if new and new.servers.get(number) is server:
                    continue
                if number in wanted:
                    server.retire()
                    self.retire(server)
                else:
                    server.answer_queue()
                    self._removed.append(server)
            if new is None or new.events is not service.events:
                ended.append(service.events)
            yield
        self._draining = prepared.draining
        self.close_connections_later(self._draining)
        for name, service in prepared.services.items():
            if before := self.services.get(name):
                _take_over(service, before)
            # Assigned even if the rules are equal: this releases the memory of the config before.
            service.admission.access = service.access
        self.services = prepared.services
        for events in ended:  # not before: the last connection of one may have closed meanwhile
            events.log_pending(final=True)
        self._tables = prepared.tables
        self._sockets |= prepared.sockets
        self._sockets = {number: opened for number, opened in self._sockets.items() if number in wanted}
        self.shared.apply(prepared.connections, prepared.bans)
        datagram_sockets = [opened for opened in self._sockets.values() if opened.type == socket.SOCK_DGRAM]
        self.shared.ports = frozenset(
            opened.getsockname()[1] for opened in datagram_sockets if opened.family != socket.AF_UNIX
        )
        self.shared.paths = frozenset(
            opened.getsockname() for opened in datagram_sockets if opened.family == socket.AF_UNIX
        )
        self.forget_verdicts()
        for events in self.events():  # also of connections that stayed open when their service got another type
            if (mode := prepared.log_connections.get(events.service)) is not None:
                events.set_connection_log(mode)
        self._attach_taps(
            server.connections if isinstance(server, StreamServer) else server for server in prepared.servers
        )
        for server in prepared.servers:
            server.start()
            yield

    def close_removed(self) -> None:
        """Close the listeners that the config in force does not have, after what is in their queues was served."""
        removed, self._removed = self._removed, []
        for server in removed:
            server.server_close()
            self.retire(server)
            self._log_ended(server.events)
        self.close_connections_later(self._draining)

    def forget_verdicts(self) -> None:
        """Have each sender of datagrams checked again: the bans or the limits have changed."""
        for server in self.servers():
            if isinstance(server, DatagramServer):
                server.forget_verdicts()

    def retire(self, server: Server) -> None:
        """Stop the server. Its connections stay open."""
        server.release()
        if isinstance(server, StreamServer):
            self.retain(server.connections)

    def close_connections_later(self, drains: Mapping[str, float]) -> None:
        """Close the connections of services that were switched off, after the seconds in ``drains``."""
        for connections in self.connections_by_listener():
            if connections and (drain := drains.get(connections.events.service)) is not None:
                self._loop.later(drain, connections.close_all)

    def abort(self) -> None:
        """Release the prepared config."""
        gc.enable()
        self._preparation = None
        if self._prepared:
            for server in self._prepared.servers:
                self.retire(server)
            for opened in self._prepared.sockets.values():
                opened.close()
            self._prepared = None


def _kind(entry: ServiceEntry) -> ServiceType:
    """The type of a service. `_UnpreparedError` if this worker cannot find it, as in a chroot without its package."""
    try:
        kind = table.find_again(entry.type)
    except ValueError as error:
        raise _UnpreparedError(f"services.{entry.name}: {error}") from error
    if kind is None:
        raise _UnpreparedError(f"services.{entry.name}: there is no service type '{entry.type}'")
    return kind


def _take_over(new: ServiceInstance, before: ServiceInstance) -> None:
    """Give the state of a service to its successor."""
    if new.kind.takes_over and new.service is not before.service and type(new.service) is type(before.service):
        try:
            new.service.take_over(before.service)
        except BaseException as error:  # a commit cannot fail, whatever a service raises, SystemExit too
            new.events.inherit_failed(error)
