"""A service of the type tcpmux on a server, and services that it passes connections on to."""

from typing import Any

from netd.admission.banner import NO_BANNERS, Banners
from netd.services.service_type import ServiceType
from netd.services.tcpmux import Tcpmux
from netd.shared.table import Table
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream.connections import Connections
from netd.transport.stream.passed import PassedServer
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.server import StreamServer
from tests.support.server import Server, admission_for


class Mux:
    """A service of the type tcpmux at this URL."""

    def __init__(self, server: Server, url: str, preambles: Preambles = NO_PREAMBLES, **limits: Any) -> None:
        self.address, self.events = server.add(Tcpmux(), url, preambles=preambles, **limits)
        made = server.servers[-1]
        assert isinstance(made, StreamServer)
        self._made = made
        self._server = server
        self._is_wrapped = preambles.transforming is not None

    @property
    def connections(self) -> Connections:
        return self._made.connections

    def pass_on(self, name: str, service: Any, policy: Any = None, banners: Banners = NO_BANNERS) -> PassedServer:
        """Pass connections with this name on to a service."""
        kind = ServiceType.of(type(service))
        events = ServiceEvents(name, Table(layout=kind.layout))
        policy = {"tcpmux": True, **(policy or {})}
        admission = admission_for(name, policy, events.table, self._server.shared, lambda: self._server.wall)
        preambles = Preambles(banners=banners, is_wrapped=self._is_wrapped)
        made = PassedServer(self._made.socket, kind, service, admission, events, self._server.loop, preambles)
        self._server.servers.append(made)
        made.start()
        self.connections.targets[name] = made
        return made
