"""A service of a config in one worker: the objects that serve it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netd.admission.access_table import Access
from netd.admission.control import AdmissionControl
from netd.peer import Peer
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream.proxy_protocol import preambles_of
from netd.transport.stream.server import StreamServer

Server = StreamServer | DatagramServer
_NO_PEER = Peer("unix", "")


def call_soon(loop: Loop, events: ServiceEvents, function: Callable[[], None]) -> None:
    """The `call_soon` of a service's context, in which an exception of the service ends nothing else."""

    def call() -> None:
        try:
            function()
        except BaseException as error:
            events.conversation_failed(_NO_PEER, error)

    loop.call(call)


@dataclass
class ServiceInstance:
    """A service of a config, with the objects that serve it."""

    kind: ServiceType
    service: Any
    admission: AdmissionControl
    events: ServiceEvents
    access: Access  # used by ``admission`` from the commit on
    servers: dict[int, Server] = field(default_factory=dict)  # by number of the listener

    def listen(self, number: int, listener: socket.socket, loop: Loop) -> Server:
        """Make the server of a listener, which serves once it is started."""
        server: Server
        if listener.type == socket.SOCK_STREAM:
            preambles = preambles_of(self.admission.policy.proxy_protocol)
            server = StreamServer(listener, self.kind, self.service, self.admission, self.events, loop, preambles)
        else:
            server = DatagramServer(listener, self.kind, self.service, self.admission, self.events, loop)
        self.servers[number] = server
        return server
