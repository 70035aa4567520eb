"""Which services the connections of tcpmux can name: those of the config in force, over each listener of tcpmux."""

from collections.abc import Mapping

from netd.daemon.worker.instance import ServiceInstance
from netd.transport.stream.passed import PassedServer
from netd.transport.stream.server import StreamServer
from netd.transport.stream.tcpmux import Target


def connect_targets(before: Mapping[str, ServiceInstance], now: Mapping[str, ServiceInstance]) -> None:
    """Have the connections of services of the type `tcpmux` find the services that are ``now`` named.

    Those that are open from ``before`` find the same: they share one mapping for each listener.
    """
    targets: dict[int, dict[str, Target]] = {}
    for name, one in now.items():
        if mark := one.admission.policy.tcpmux:
            for number, server in one.servers.items():
                if isinstance(server, PassedServer):
                    targets.setdefault(number, {})[(mark.name or name).lower()] = server
    old, new = _listening(before), _listening(now)
    for number, server in old.items():
        if number in new:
            new[number].connections.targets = server.connections.targets
        server.connections.targets.clear()
    for number, server in new.items():
        server.connections.targets.clear()
        server.connections.targets.update(targets.get(number, {}))


def _listening(services: Mapping[str, ServiceInstance]) -> dict[int, StreamServer]:
    """The servers of services of the type `tcpmux`, by the number of the listener."""
    return {
        number: server
        for one in services.values()
        if one.kind.multiplexes
        for number, server in one.servers.items()
        if isinstance(server, StreamServer)
    }
