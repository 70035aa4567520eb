"""The worker: a process without rights that serves what the supervisor hands it, and does as it is told.

Everything happens in one loop, in one thread: the services' sockets, their connections, and the channel to the
supervisor. So an answer on the channel shows that the loop turns. A new config comes in two messages: ``prepare``,
which may fail and changes nothing, and ``commit`` (or ``abort``), which cannot fail.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from netd.admission.access import Access, AccessRules
from netd.admission.bans import BanRules
from netd.admission.door import Door
from netd.admission.ledger import House, Ledger
from netd.admission.policy import Policy
from netd.conversation import Context
from netd.daemon import listing
from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message, Spare
from netd.daemon.inquiry import Inquiries
from netd.daemon.observers import Observers
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.services import table
from netd.telemetry import logs
from netd.telemetry.counters import Refusal, Table
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.events import AccessLog, ServiceEvents
from netd.transport.connection import Connection
from netd.transport.datagram import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream import StreamServer

_SWITCH = 0.0005  # seconds

_SLICE = 0.01  # seconds of work on a new config at once

Server = StreamServer | DatagramServer


class _UnpreparedError(Exception):
    """This worker cannot serve a config, for this reason."""


@dataclass
class _Service:
    """A service as it is served now, or will be."""

    service: Any
    door: Door
    events: ServiceEvents
    servers: dict[int, Server] = field(default_factory=dict)
    """By the number of the listener."""


@dataclass
class _Prepared:
    """A config that is ready to be served."""

    connections: int | None
    """``daemon.connections``"""
    bans: BanRules
    log_access: AccessLog
    listeners: set[int]
    """The numbers of all listeners, also of services that another worker serves."""
    services: dict[str, _Service] = field(default_factory=dict)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    """The listeners that are new, by number."""
    tables: dict[str, Table] = field(default_factory=dict)
    """The counters of all services by name, likewise."""
    servers: list[Server] = field(default_factory=list)
    """What is to be started."""


class Worker:
    """Serves until the supervisor says stop, or is gone."""

    def __init__(self, number: int, channel: Channel, sink: logs.Sink) -> None:
        self._number = number
        self._channel = channel
        self._sink = sink
        self._loop = Loop()
        self._house: House  # the first thing the supervisor sends
        self._services: dict[str, _Service] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._tables: dict[str, Table] = {}
        self._prepared: _Prepared | None = None
        self._preparing: Iterator[None] | None = None  # the work on it, piece by piece
        self._retired: set[StreamServer] = set()  # accept no more, and have connections
        self._inquiries = Inquiries(self._loop, lambda what: self._say({"want": what}))
        self._observers = Observers(self._loop, self._say)
        self._spare = Spare(channel)
        self._spare.take()
        self._loop.watch(channel.fileno(), select.EPOLLIN, self._told)

    def run(self) -> int:
        """Serve; the exit code."""
        # Where a handler's thread computes, the loop gets its turn after this time, and not after five milliseconds.
        sys.setswitchinterval(_SWITCH)
        try:
            self._loop.run()
            for server in self._servers():
                server.close()
            for service in self._services.values():
                service.events.summarize(final=True)
        except BaseException as error:  # the process ends for it, and says so
            DaemonEvents().netd_failed(error)
            return EXIT_SOFTWARE
        return EXIT_OK

    def _servers(self) -> Iterator[Server]:
        for service in self._services.values():
            yield from service.servers.values()
        yield from list(self._retired)  # the end of a connection may release one

    def _connections(self) -> Iterator[Connection]:
        for server in self._servers():
            if isinstance(server, StreamServer):
                yield from server.connections

    def _told(self, events: int) -> None:
        """The supervisor has something to say, or is gone."""
        self._spare.give_up()
        try:
            while True:
                try:
                    received = self._channel.receive()
                except DescriptorsLostError as error:
                    self._channel.send({"question": error.message.get("question"), "error": str(error)})
                    continue
                if received is None:
                    break
                message, descriptors = received
                answer = self._do(message, descriptors)
                if answer is not None and "question" in message:
                    self._channel.send({"question": message["question"], **answer})
        except ChannelError:
            self._loop.stop()
        self._spare.take()

    def _do(self, message: Message, descriptors: list[int]) -> Message | None:
        """Do what the supervisor says: the answer, or None where that comes later."""
        match message["do"]:
            case "beat":
                for service in self._services.values():
                    service.events.summarize()
                return {"lines_lost": self._sink.lost}
            case "told":
                self._inquiries.answered(message["what"], message["answer"])
            case "prepare":
                self._say({"busy": True})  # what services do when they are made may take a while
                self._preparing = self._prepare(message, descriptors)
                self._go_on_preparing(message["question"])
                return None
            case "commit":
                self._commit()
            case "abort":
                self._abort()
            case "connections":
                return listing.rows(self._number, self._connections(), message)
            case "peers":
                return listing.peers(self._number, self._connections(), message)
            case "kick":
                return {"number": listing.kick(self._number, self._connections(), message)}
            case "log_level":
                logs.set_level(message["level"])
            case "log_file":
                self._sink.replace(descriptors[0])
            case "ledger":
                ledger = Ledger(descriptors[0])
                ledger.close_descriptor()
                self._house = House(ledger, self._number, report=self._report)
            case "ban":
                self._ban(message["bans"])
            case "trace":
                self._observers.start(message)
                self._observers.look_at(self._servers())
            case "untrace":
                self._observers.stop(message["trace"])
                self._observers.look_at(self._servers())
            case "visit":
                return self._visit(message["service"], socket.socket(fileno=descriptors[0]))
            case "drain":
                self._drain()
            case "retire":
                self._retire_services(message["services"])
            case "stop":
                self._loop.stop()
        return {}

    # A new config.

    def _go_on_preparing(self, question: int) -> None:
        """Do a slice of the work on a new config, and answer once all is done, or something is wrong.

        So the peers of the services there are wait no longer than for a slice, however large the config is.
        """
        work = self._preparing
        if work is None:
            return  # it was aborted
        until = time.monotonic() + _SLICE
        answer: Message = {}
        try:
            for _ in work:
                if time.monotonic() >= until:
                    self._loop.call(lambda: self._go_on_preparing(question))
                    return
        except Exception as error:
            answer = {"error": _reason(error)}
            self._abort()
        self._preparing = None
        try:
            self._channel.send({"question": question, **answer})
        except ChannelError:
            self._loop.stop()

    def _prepare(self, message: Message, descriptors: list[int]) -> Iterator[None]:
        """Make all that the config needs and this worker does not have. Whatever it raises says what is wrong."""
        entries = message["services"]
        self._prepared = prepared = _Prepared(
            message["connections"],
            BanRules.model_validate_json(message["bans"]),
            message["log_access"],
            {number for entry in entries for number in entry["listeners"]},
        )
        tables = dict(self._tables)
        left = list(descriptors)
        try:
            for kind, name in message["descriptors"]:
                descriptor = left.pop(0)
                if kind == "listener":
                    prepared.sockets[name] = socket.socket(fileno=descriptor)
                else:
                    tables[name] = Table(descriptor)
                    tables[name].close_descriptor()
        finally:
            for descriptor in left:
                os.close(descriptor)
        prepared.tables = {entry["name"]: tables[entry["name"]] for entry in entries}
        rules = cache(lambda number: Access(AccessRules.model_validate_json(message["access"][number])))
        for entry in entries:
            yield
            if self._number and _has_one_worker(entry["type"]):
                continue
            try:
                prepared.services[entry["name"]] = self._prepare_service(entry, prepared, rules)
            except Exception as error:  # whatever a service's class raises
                raise _UnpreparedError(f"services.{entry['name']}: {_reason(error)}") from error

    def _prepare_service(self, entry: Message, prepared: _Prepared, rules: Callable[[int], Access]) -> _Service:
        current = self._services.get(entry["name"])
        if current is None or entry["changed"]:
            kind = table.find(entry["type"])
            if kind is None:
                raise ValueError(f"there is no service type '{entry['type']}'")
            options = kind.options.model_validate_json(json.dumps(entry["options"]))
            policy = Policy.model_validate_json(entry["policy"])
            # One object for all endpoints of a service, so that what it knows it knows on each of them.
            service = kind.build(options, Context(line_limit=policy.limits.line, inspect=self._inquiries.ask))
            events = (
                current.events
                if current
                else ServiceEvents(entry["name"], prepared.tables[entry["name"]], self._number)
            )
            access = rules(entry["access"])
            door = Door(entry["name"], policy, events.table, self._house, time.time, access)
            made = _Service(service, door, events)
        else:
            made = _Service(current.service, current.door, current.events)
        for number in entry["listeners"]:
            if current and not entry["changed"] and number in current.servers:
                made.servers[number] = current.servers[number]
                continue
            listener = prepared.sockets.get(number) or self._sockets[number]
            server_class = StreamServer if listener.type == socket.SOCK_STREAM else DatagramServer
            made.servers[number] = server_class(listener, made.service, made.door, made.events, self._loop)
            prepared.servers.append(made.servers[number])
        return made

    def _commit(self) -> None:
        """Serve what was prepared. A server that is in both configs is not touched."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        wanted = prepared.listeners
        gone = {
            name: service.door.policy.limits.drain
            for name, service in self._services.items()
            if name not in prepared.tables
        }
        for name, service in self._services.items():
            new = prepared.services.get(name)
            for number, server in service.servers.items():
                if new and new.servers.get(number) is server:
                    continue
                if number in wanted:
                    server.retire()
                else:
                    server.server_close()
                self._retire(server)
            if new is None:
                service.events.summarize(final=True)
        self._retire_services(gone)
        for name, service in prepared.services.items():
            if before := self._services.get(name):
                _inherit(service.service, before.service)
        self._services = prepared.services
        self._tables = prepared.tables
        self._sockets |= prepared.sockets
        self._sockets = {number: opened for number, opened in self._sockets.items() if number in wanted}
        self._house.adopt(prepared.connections, prepared.bans)
        self._house.ports = frozenset(
            opened.getsockname()[1]
            for opened in self._sockets.values()
            if opened.type == socket.SOCK_DGRAM and opened.family != socket.AF_UNIX
        )
        self._forget_verdicts()
        for service in self._services.values():
            service.events.tell_connections(prepared.log_access)
        if self._observers:
            self._observers.look_at(prepared.servers)
        for server in prepared.servers:
            server.start()

    def _forget_verdicts(self) -> None:
        for server in self._servers():
            if isinstance(server, DatagramServer):
                server.forget_verdicts()

    # Bans.

    def _report(self, source: bytes, service: str, refusal: Refusal) -> None:
        """Tell the supervisor of a source that is refused too often. If it does not listen now, it is told again."""
        self._say({"offender": source.hex(), "service": service, "refusal": refusal})

    def _say(self, message: Message) -> bool:
        """Tell the supervisor something, in one packet, if it listens now; whether it does."""
        try:
            self._channel.send(message, seconds=0.0)
        except ChannelError:
            return False
        return True

    def _ban(self, bans: dict[str, float | None]) -> None:
        """Refuse these sources until then (CLOCK_MONOTONIC); None: no more."""
        for source, until in bans.items():
            self._house.ban(bytes.fromhex(source), until)
        self._forget_verdicts()

    def _visit(self, name: str, visitor: socket.socket) -> Message:
        """Serve the operator, who comes through the control socket, as a peer of this service over UNIX."""
        service = self._services.get(name)
        if service is None or not hasattr(service.service, "stream"):
            visitor.close()
            return {"error": f"'{name}' is switched off" if service is None else f"'{name}' holds no conversations"}
        visitor.setblocking(False)
        try:
            with socket.socket(socket.AF_UNIX) as nowhere:  # a server has a socket, and this one does not listen
                server = StreamServer(nowhere, service.service, service.door, service.events, self._loop)
                self._observers.look_at([server])
                taken = server.take(visitor, "")
        except OSError as error:  # no descriptor is left
            visitor.close()
            return {"error": f"'{name}': {error.strerror}"}
        self._retire(server)
        return {} if taken else {"error": f"'{name}' refuses it: see its log"}

    def _retire(self, server: Server) -> None:
        """It takes nothing more; its connections go on."""
        if isinstance(server, StreamServer) and server.connections:
            self._retired.add(server)
            server.release_at_end(lambda: self._retired.discard(server))
        else:
            server.release()

    def _retire_services(self, drains: dict[str, float]) -> None:
        """These services are switched off: their connections have so many seconds."""
        for server in self._servers():
            if not isinstance(server, StreamServer) or not server.connections:
                continue
            if (drain := drains.get(server.events.service)) is not None:
                self._loop.later(drain, server.close_connections)

    def _abort(self) -> None:
        """Forget what was prepared."""
        self._preparing = None
        if self._prepared:
            for server in self._prepared.servers:
                server.release()
            for opened in self._prepared.sockets.values():
                opened.close()
            self._prepared = None

    def _drain(self) -> None:
        """Accept nothing more, and end after the last connection."""
        for server in self._servers():
            server.server_close()
        if (again := self._stop_when_idle()) is not None:
            self._loop.later(again, self._stop_when_idle)

    def _stop_when_idle(self) -> float | None:
        """Looks ten times a second, and only while netd stops."""
        if next(self._connections(), None) is not None:
            return 0.1
        self._loop.stop()
        return None


def _reason(error: Exception) -> str:
    """What the operator reads of an exception."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


def _has_one_worker(kind: str) -> bool:
    """Whether services of this type are served by the first worker alone. There always is one, or will be soon."""
    found = table.find(kind)
    return found is not None and getattr(found.service, "one_worker", False)


def _inherit(service: Any, before: Any) -> None:
    """Let a service that was changed have what the one before knew."""
    if service is not before and type(service) is type(before) and hasattr(service, "inherit"):
        try:
            service.inherit(before)
        except Exception as error:  # what is decided is put in force, whatever a service makes of it
            DaemonEvents().command_failed("inherit", error)
