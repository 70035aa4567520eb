"""The worker: serves a checked config on open sockets, wherever both came from."""

import os
import threading
from collections.abc import Iterable
from typing import Any

from netd.config.model import Config, ServiceConfig
from netd.conversation import Context
from netd.services import table
from netd.telemetry.events import ServiceEvents
from netd.transport.datagram import DatagramServer
from netd.transport.loop import Loop
from netd.transport.sockets import Listener
from netd.transport.stream import StreamServer


class Worker:
    """Runs the services' servers on a loop, in a thread of its own. Its methods are for other threads."""

    def __init__(self, config: Config, listeners: Iterable[Listener]) -> None:
        self.error: BaseException | None = None
        """The bug that ended the loop, if one did."""
        self.ended = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable once everything is closed: after `drain` or `stop`, or for an `error`."""
        self._loop = Loop()
        self._servers: list[StreamServer | DatagramServer] = []
        self._events: list[ServiceEvents] = []
        self._thread = threading.Thread(target=self._run, name="netd-loop", daemon=True)
        listeners = list(listeners)
        for service in config.enabled:
            self._add(service, [listener for listener in listeners if listener.service == service.name])

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return sum(events.counters.active for events in self._events)

    def drain(self) -> None:
        """Accept nothing more, let conversations finish, and end after the last one."""
        self._loop.call(self._drain)

    def stop(self) -> None:
        """Cut every conversation and end."""
        self._loop.call(self._loop.stop)

    def join(self, seconds: float) -> bool:
        """Wait for the end, and release what is left; False if it does not come in this time."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self._loop.close()
        os.close(self.ended)
        return True

    def _add(self, config: ServiceConfig, listeners: list[Listener]) -> None:
        kind = table.find(config.type)
        assert kind is not None, "the config was checked"
        # One object for all endpoints of a service, so that what it knows it knows on each of them.
        service: Any = kind.build(config.options, Context(line_limit=config.limits.line))
        events = ServiceEvents(config.name)
        self._events.append(events)
        for listener in listeners:
            server = StreamServer if listener.endpoint.streams else DatagramServer
            self._servers.append(server(listener.socket, service, config.limits, events, self._loop))
            events.listening(listener.url)

    def _run(self) -> None:
        try:
            self._loop.run()
            for server in self._servers:
                server.close()
            for events in self._events:
                events.service_stopped()
        except BaseException as error:  # the process is about to end for it, and says so
            self.error = error
        finally:
            os.eventfd_write(self.ended, 1)

    def _drain(self) -> None:
        for server in self._servers:
            server.server_close()
        drain = _Drain(self._loop, self._servers)
        if (again := drain.expire(self._loop.now)) is not None:
            self._loop.wheel.add(drain, again)


class _Drain:
    """Ends the loop when the last connection is over. It looks ten times a second, and only while netd stops."""

    def __init__(self, loop: Loop, servers: list[StreamServer | DatagramServer]) -> None:
        self.slot = 0
        self._loop = loop
        self._servers = servers

    def expire(self, now: float) -> float | None:
        if any(isinstance(server, StreamServer) and server.connections for server in self._servers):
            return now
        self._loop.stop()
        return None
