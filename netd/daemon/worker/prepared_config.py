"""A config that a worker has prepared, until the commit or the abort."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonBounds
from netd.daemon.worker.instance import Server, ServiceInstance
from netd.shared.table import Table
from netd.telemetry.service_events import ConnectionLog


@dataclass
class PreparedConfig:
    """A config that is ready for the commit."""

    bounds: DaemonBounds
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
