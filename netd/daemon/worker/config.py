"""The services of a worker: those of the config in force, and those of a config that is prepared to follow it.

A new config comes in two steps: `prepare`, which may fail and changes nothing, and `commit` (or `abort`), which cannot
fail. Both work in slices, with turns of the loop between them: a large config delays the peers of the services in
force by one slice at most.
"""

import gc
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from netd import host_zone
from netd.admission.access_memory import AccessTables
from netd.admission.access_table import Access
from netd.admission.banner import Banners
from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.admission.sensor import SensorControl
from netd.contract import Context
from netd.daemon.garbage import MANY
from netd.daemon.messages.from_supervisor import Prepare, ServiceEntry
from netd.daemon.messages.from_worker import Done, Failed
from netd.daemon.worker.faults import reason
from netd.daemon.worker.instance import Server, ServiceInstance, call_soon, check_targets, control_of
from netd.daemon.worker.kinds import CodeOf, UnpreparedError, kind_of, type_of
from netd.daemon.worker.launchers import Launchers
from netd.daemon.worker.multiplexing import connect_targets
from netd.daemon.worker.prepared_config import PreparedConfig
from netd.services.service_type import ServiceType
from netd.shared.table import Table
from netd.telemetry.sensor_events import SensorEvents
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.forward import ForwardServer
from netd.transport.datagram.server import DatagramServer
from netd.transport.datagram.session import Session
from netd.transport.loop import Loop
from netd.transport.own_listeners import OwnListeners
from netd.transport.resolver import Resolver
from netd.transport.stream.connection import Connection
from netd.transport.stream.connections import Connections
from netd.transport.stream.server import StreamServer

_SLICE = 0.01  # seconds of work on a new config before the loop turns
_COLLECTED = 250  # services between two garbage collections

Traceable = Connections | DatagramServer
"""An object that taps are attached to."""
_Kept = Connections | ForwardServer
"""An object that keeps connections, or the sessions that are these for datagrams, also without its listener."""
_Respond = Callable[[Done | Failed], object]
_RunningCommit = tuple[Iterator[None], _Respond]


class WorkerConfig:
    """The services of one worker.

    Services get ``inspect`` in their `Context`, ``attach_taps`` what a commit makes. `kind_of` has ``code_of``.
    """

    def __init__(
        self,
        number: int,
        loop: Loop,
        inspect: Callable[[str], Any],
        attach_taps: Callable[[Iterable[Traceable]], None],
        launchers: Launchers,
        code_of: CodeOf,
    ) -> None:
        self.shared: DaemonAdmission  # set before the first `prepare`
        self.services: dict[str, ServiceInstance] = {}  # by name, without those that another worker serves
        self.alone = ""  # the only service that this worker may serve; empty: those without a worker of their own
        self._number = number
        self._loop = loop
        self._inspect = inspect
        self._attach_taps = attach_taps
        self._launchers = launchers
        self._code_of = code_of
        self._resolver = Resolver(loop)
        self._own_listeners = OwnListeners()
        self._sockets: dict[int, socket.socket] = {}
        self._tables: dict[str, Table] = {}
        self._prepared: PreparedConfig | None = None
        self._preparation: Iterator[None] | None = None  # the slices of a prepare under way
        self._running_commit: _RunningCommit | None = None
        self._removed: list[Server] = []  # of listeners that the config in force does not have, until `close_removed`
        self._draining: Mapping[str, float] = {}  # as of the last commit
        self._retained: set[_Kept] = set()  # open connections, or sessions, without a listener

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

    def connections_by_listener(self) -> Iterator[_Kept]:
        """The connections, or sessions, of each listener, including listeners that are closed."""
        for one in self.traceable():
            if isinstance(one, _Kept):
                yield one

    def connections(self) -> Iterator[Connection | Session]:
        """All connections, and the sessions of datagrams."""
        for connections in self.connections_by_listener():
            yield from connections

    def events(self) -> set[ServiceEvents]:
        """The events of all services, including services that have ended and still have connections."""
        others = (*self._removed, *self._retained)
        return {service.events for service in self.services.values()} | {one.events for one in others}

    def retain(self, connections: _Kept) -> None:
        """Serve connections that have no server, until the last one is closed."""
        self._retained.add(connections)
        connections.release_when_empty(lambda: self._on_last_closed(connections))

    def _on_last_closed(self, connections: _Kept) -> None:
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
        self._prepared = prepared = PreparedConfig(message.bounds, bans, message.draining)
        tables = dict(self._tables)
        entries: dict[str, ServiceEntry] = {}
        left = descriptors[::-1]
        files: list[int] = []
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
                elif content == "file":
                    files.append(left.pop())
                elif content == "access":
                    access_tables = AccessTables(left.pop())
                    access_tables.close_descriptor()
                else:
                    layout = type_of(entries[name]).layout
                    tables[name] = Table(left.pop(), layout)
                    tables[name].close_descriptor()
            prepared.tables = {name: tables[name] for name in entries}
            yield from self._prepare_services(prepared, entries, access_tables, files)
        finally:
            for descriptor in (*left, *files):
                os.close(descriptor)

    def _prepare_services(
        self, prepared: PreparedConfig, entries: dict[str, ServiceEntry], rules: AccessTables, files: Sequence[int]
    ) -> Iterator[None]:
        access_at = cache(lambda offset, length: Access(rules.table(offset, length)))
        for number, entry in enumerate(entries.values()):
            yield
            if len(entries) > MANY and number % _COLLECTED == 0:
                gc.collect(0)  # the objects made since the last collection: the commit freezes all that is left
            if not self._serves(entry):
                continue
            kind = kind_of(entry, self._code_of)
            if self._number and kind.single_worker and not self.alone:
                continue  # worker 0 serves it; the supervisor replaces that worker if it ends
            try:
                access = access_at(*entry.access)
                prepared.services[entry.name] = self._prepare_service(entry, kind, prepared, access, files)
            except BaseException as error:  # the class of a service may raise anything, SystemExit too
                raise UnpreparedError(f"services.{entry.name}: {reason(error)}") from error

    def _serves(self, entry: ServiceEntry) -> bool:
        """Whether a service is among those of this worker."""
        return entry.isolated and entry.name == self.alone if self.alone else not entry.isolated

    def _prepare_service(
        self, entry: ServiceEntry, kind: ServiceType, prepared: PreparedConfig, access: Access, files: Sequence[int]
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
            context = Context(
                line_limit=policy.limits.line,
                inspect=self._inspect,
                call_soon=partial(call_soon, self._loop, events),
                names_peers=policy.proxy_protocol is not None,
                resolve=self._resolver.resolve,
            )
            if entry.program and events.programs:
                context = self._launchers.provide(context, *entry.program, events.programs)
            # One object for all endpoints of a service: its state is the same on each of them.
            service = kind.build(options, context)
            if entry.targets:
                service.targets.share(counters.targets, entry.targets, self._number)
                service.is_own = self._own_listeners.reached_by
            control = control_of(kind)
            admission = control(entry.name, policy, access, events.table, self.shared, time.time)
            if isinstance(admission, SensorControl):
                events.sensor = SensorEvents(service=entry.name)
                admission.on_exempt = events.sensor.visitor_spared
            banners = Banners(*(text.encode("latin-1") for text in entry.banners))
            made = ServiceInstance(kind, service, admission, events, access, banners)
        else:
            made = replace(current, access=access, servers={})
        made.prepare_tls(entry, files)
        before = current.servers if current and not entry.changed else {}
        sockets = {**self._sockets, **prepared.sockets}
        prepared.servers += made.make_servers(entry, before, sockets, self._loop, self._number)
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
                service.take_over(before)
            # Assigned even if the rules are equal: this releases the memory of the config before.
            service.admission.access = service.access
        if self._number == 0:  # the supervisor replaces this worker if it ends
            check_targets(self.services, prepared.services, self._loop)
        connect_targets(self.services, prepared.services)
        self.services = prepared.services
        for events in ended:  # not before: the last connection of one may have closed meanwhile
            events.log_pending(final=True)
        self._tables = prepared.tables
        self._sockets |= prepared.sockets
        self._sockets = {number: opened for number, opened in self._sockets.items() if number in wanted}
        self.shared.apply(prepared.bounds, prepared.bans)
        self._own_listeners.set(self._sockets.values())
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
            if isinstance(server, ForwardServer):
                server.close_all()  # they have had a second for answers; the address may be wanted again
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
        elif isinstance(server, ForwardServer):
            self.retain(server)

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
