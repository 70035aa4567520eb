"""The worker: a process without rights that serves what the supervisor hands it, and does as it is told.

Everything happens in one loop, in one thread: the services' sockets, their connections, and the channel to the
supervisor. So an answer on the channel shows that the loop turns. A new config comes in two messages: ``prepare``,
which may fail and changes nothing, and ``commit`` (or ``abort``), which cannot fail.
"""

import contextlib
import json
import os
import select
import socket
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
from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message
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

_RESERVE = 16  # descriptors; a config that adds more services needs that many free ones

Server = StreamServer | DatagramServer


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

    services: dict[str, _Service]
    sockets: dict[int, socket.socket]
    """The listeners that are new, by number."""
    connections: int | None
    """``daemon.connections``"""
    bans: BanRules
    log_access: AccessLog
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
        self._prepared: _Prepared | None = None
        self._retired: list[StreamServer] = []  # accept no more, and have connections
        self._inquiries = Inquiries(self._loop, lambda what: self._say({"want": what}))
        self._observers = Observers(self._loop, self._say)
        self._reserve: list[int] = []
        self._take_reserve()
        self._loop.watch(channel.fileno(), select.EPOLLIN, self._told)

    def run(self) -> int:
        """Serve; the exit code."""
        try:
            self._loop.run()
            for server in self._servers():
                server.close()
        except BaseException as error:  # the process ends for it, and says so
            DaemonEvents().netd_failed(error)
            return EXIT_SOFTWARE
        return EXIT_OK

    def _servers(self) -> Iterator[Server]:
        for service in self._services.values():
            yield from service.servers.values()
        yield from self._retired

    def _connections(self) -> Iterator[Connection]:
        for server in self._servers():
            if isinstance(server, StreamServer):
                yield from server.connections

    def _told(self, events: int) -> None:
        """The supervisor has something to say, or is gone."""
        self._give_up_reserve()
        try:
            while True:
                try:
                    received = self._channel.receive()
                except DescriptorsLostError as error:
                    self._channel.send({"question": error.message["question"], "error": str(error)})
                    continue
                if received is None:
                    break
                message, descriptors = received
                answer = self._do(message, descriptors)
                if "question" in message:
                    self._channel.send({"question": message["question"], **answer})
        except ChannelError:
            self._loop.stop()
        self._take_reserve()

    def _take_reserve(self) -> None:
        """Hold descriptors that no connection gets, so that there is room for what the supervisor hands over."""
        with contextlib.suppress(OSError):
            while len(self._reserve) < _RESERVE:
                self._reserve.append(os.dup(self._channel.fileno()))

    def _give_up_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())

    def _do(self, message: Message, descriptors: list[int]) -> Message:
        match message["do"]:
            case "beat":
                self._prune()
                for service in self._services.values():
                    service.events.summarize()
                return {"lines_lost": self._sink.lost}
            case "told":
                self._inquiries.answered(message["what"], message["answer"])
            case "prepare":
                return self._prepare(message, descriptors)
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

    def _prepare(self, message: Message, descriptors: list[int]) -> Message:
        """Make all that the config needs and this worker does not have. The answer says what is wrong, if anything."""
        sockets: dict[int, socket.socket] = {}
        tables: dict[str, Table] = {}
        for (kind, name), descriptor in zip(message["descriptors"], descriptors, strict=True):
            if kind == "listener":
                sockets[name] = socket.socket(fileno=descriptor)
            else:
                tables[name] = Table(descriptor)
                tables[name].close_descriptor()
        self._prepared = prepared = _Prepared(
            {}, sockets, message["connections"], BanRules.model_validate_json(message["bans"]), message["log_access"]
        )
        rules = cache(lambda number: Access(AccessRules.model_validate_json(message["access"][number])))
        for entry in message["services"]:
            if self._number and _has_one_worker(entry["type"]):
                continue
            try:
                prepared.services[entry["name"]] = self._prepare_service(entry, tables, prepared, rules)
            except Exception as error:  # whatever a service's class raises
                reason = error.strerror if isinstance(error, OSError) else str(error) or repr(error)
                self._abort()
                return {"error": f"services.{entry['name']}: {reason}"}
        return {}

    def _prepare_service(
        self, entry: Message, tables: dict[str, Table], prepared: _Prepared, rules: Callable[[int], Access]
    ) -> _Service:
        current = self._services.get(entry["name"])
        if current is None or entry["changed"]:
            kind = table.find(entry["type"])
            if kind is None:
                raise ValueError(f"there is no service type '{entry['type']}'")
            options = kind.options.model_validate_json(json.dumps(entry["options"]))
            policy = Policy.model_validate_json(entry["policy"])
            # One object for all endpoints of a service, so that what it knows it knows on each of them.
            service = kind.build(options, Context(line_limit=policy.limits.line, inspect=self._inquiries.ask))
            events = current.events if current else ServiceEvents(entry["name"], tables[entry["name"]], self._number)
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
        wanted = {number for service in prepared.services.values() for number in service.servers}
        for name, service in self._services.items():
            new = prepared.services.get(name)
            for number, server in service.servers.items():
                if new and new.servers.get(number) is server:
                    continue
                if number in wanted:
                    server.retire()
                else:
                    server.server_close()
                self._retire(server, drain=None if new else service.door.policy.limits.drain)
        for name, service in prepared.services.items():
            if before := self._services.get(name):
                _inherit(service.service, before.service)
        self._services = prepared.services
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
        nowhere = socket.socket(socket.AF_UNIX)  # a server has a socket, and this one does not listen
        server = StreamServer(nowhere, service.service, service.door, service.events, self._loop)
        self._observers.look_at([server])
        visitor.setblocking(False)
        if not server.take(visitor, ""):
            nowhere.close()
            return {"error": f"'{name}' refuses it: see its log"}
        nowhere.close()
        self._retired.append(server)
        return {}

    def _retire(self, server: Server, drain: float | None) -> None:
        """Its connections go on; where its service is gone, for so many seconds."""
        if not isinstance(server, StreamServer) or not server.connections:
            server.release()
            return
        self._retired.append(server)
        if drain is not None:
            self._loop.later(drain, server.close_connections)

    def _retire_services(self, drains: dict[str, float]) -> None:
        """While this worker drains, these services are switched off: their connections have so many seconds."""
        for server in self._servers():
            if isinstance(server, StreamServer) and (drain := drains.get(server.events.service)) is not None:
                self._loop.later(drain, server.close_connections)

    def _abort(self) -> None:
        """Forget what was prepared."""
        if self._prepared:
            for server in self._prepared.servers:
                server.release()
            for opened in self._prepared.sockets.values():
                opened.close()
            self._prepared = None

    def _prune(self) -> None:
        """Release retired servers whose last connection is over."""
        for server in [server for server in self._retired if not server.connections]:
            server.release()
            self._retired.remove(server)

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
