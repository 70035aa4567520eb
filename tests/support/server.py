"""Services on sockets of this process."""

import json
import threading
from collections.abc import Callable
from typing import Any

from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.endpoints import Endpoint
from netd.services.service_type import ServiceType
from netd.shared.table import Table
from netd.telemetry.service_events import ServiceEvents
from netd.testing import NOW
from netd.transport.datagram.forward import server_class
from netd.transport.datagram.server import DatagramServer
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener
from netd.transport.loop import Loop
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.server import StreamServer


def admission_for(
    name: str, given: dict[str, object], table: Table, shared: DaemonAdmission, wall: Callable[[], float]
) -> AdmissionControl:
    """The admission control of a service with these access rules and this policy, as in a config."""
    rules = AccessRules.model_validate(given.get("access", {}))
    policy = Policy.model_validate_json(json.dumps({key: value for key, value in given.items() if key != "access"}))
    return AdmissionControl(name, policy, Access.of(rules), table, shared, wall)


class Server:
    """Services on sockets of this process, with their loop in a thread."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.error: BaseException | None = None
        self.shared = DaemonAdmission()
        self.wall = NOW
        self.servers: list[StreamServer | DatagramServer] = []
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._run)

    def add(
        self,
        service: Any,
        url: str,
        *,
        batched: bool | None = True,
        policy: dict[str, object] | None = None,
        preambles: Preambles = NO_PREAMBLES,
        **limits: object,
    ) -> tuple[Any, ServiceEvents]:
        """Serve on this URL; ``policy`` is as in a config. Returns the bound address and the service's events."""
        [listener] = open_listeners([("test", Endpoint.parse(url))], lambda *skipped: None)
        policy = {"limits": limits, **(policy or {})}
        events = self.serve(service, listener, batched=batched, policy=policy, preambles=preambles)
        return listener.socket.getsockname(), events

    def serve(
        self,
        service: Any,
        listener: Listener,
        *,
        kind: ServiceType | None = None,
        batched: bool | None = True,
        policy: dict[str, object] | None = None,
        preambles: Preambles = NO_PREAMBLES,
    ) -> ServiceEvents:
        """Serve on an open socket, which this server closes. Returns the service's events.

        Without a ``kind`` the service is served as its class declares. Datagrams are received in batches, one by one
        (``batched=False``), or as they come: one by one until many wait (None).
        """
        self._listeners.append(listener)
        kind = kind or ServiceType.of(type(service))
        events = ServiceEvents("test", Table(layout=kind.layout))
        admission = admission_for("test", policy or {}, events.table, self.shared, lambda: self.wall)
        server: StreamServer | DatagramServer
        if listener.streams:
            server = StreamServer(listener.socket, kind, service, admission, events, self.loop, preambles)
        else:
            server = server_class(kind)(
                listener.socket, kind, service, admission, events, self.loop, batched=batched is not False
            )
            if batched:
                server.singles = 0
        self.servers.append(server)
        if self._thread.is_alive():
            self.loop.call(server.start)
            self.settle()
        else:
            server.start()
        return events

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.loop.call(self.loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the loop does not stop"
        for server in self.servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self.loop.close()
        if self.error:
            raise self.error

    def settle(self) -> None:
        """Wait until the loop has handled all pending events."""
        for _ in range(2):
            done = threading.Event()
            self.loop.call(done.set)
            assert done.wait(10)
