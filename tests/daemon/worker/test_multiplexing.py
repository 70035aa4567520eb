"""Which services tcpmux can name in a worker."""

import socket
from pathlib import Path
from typing import Any

from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.daemon import DaemonAdmission
from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.daemon.worker.instance import ServiceInstance
from netd.daemon.worker.multiplexing import connect_targets
from netd.services.echo import Echo
from netd.services.service_type import ServiceType
from netd.services.tcpmux import Tcpmux
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream.passed import PassedServer
from netd.transport.stream.server import StreamServer
from tests.daemon.fakes import ManualLoop
from tests.support.server import admission_for


def instance(service: Any, **policy: Any) -> ServiceInstance:
    events = ServiceEvents("x")
    admission = admission_for("x", policy, events.table, DaemonAdmission(), lambda: 0.0)
    return ServiceInstance(ServiceType.of(type(service)), service, admission, events, Access.of(AccessRules()))


def entry(*listeners: int, through: Any = ()) -> ServiceEntry:
    return ServiceEntry("x", "x", "{}", "{}", (0, 0), list(listeners), False, "all", through=list(through))


def test_names_lead_to_the_servers_of_the_same_listener(tmp_path: Path) -> None:
    loop = ManualLoop()
    names: Any
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(str(tmp_path / "1"))
        other.bind(str(tmp_path / "2"))
        sockets = {1: one, 2: other}
        services = {
            "mux": instance(Tcpmux()),
            "mux-2": instance(Tcpmux()),
            "Echo": instance(Echo(), tcpmux=True),
            "named": instance(Echo(), tcpmux={"name": "Day", "plain": True}),
            "unmarked": instance(Echo()),
        }
        wanted = {"mux": entry(1), "mux-2": entry(2), "Echo": entry(through=[(1, False), (2, False)])}
        wanted |= {"named": entry(2, through=[(1, False)])}
        for name, one_entry in wanted.items():
            services[name].make_servers(one_entry, {}, sockets, loop, 0)
        connect_targets({}, services)
        mux, other_mux = services["mux"].servers[1], services["mux-2"].servers[2]
        assert isinstance(mux, StreamServer)
        assert isinstance(other_mux, StreamServer)
        names = mux.connections.targets
        assert names == {"echo": services["Echo"].servers[1], "day": services["named"].servers[1]}
        names = other_mux.connections.targets
        assert names == {"echo": services["Echo"].servers[2]}
        passed = services["named"].servers[1]
        assert isinstance(passed, PassedServer)
        assert passed.is_plain

        # Connections that are open when tcpmux changes find what is named then.
        changed = {"mux": instance(Tcpmux()), "Echo": instance(Echo(), tcpmux="other")}
        changed["mux"].make_servers(wanted["mux"], {}, sockets, loop, 0)
        changed["Echo"].make_servers(wanted["Echo"], {}, sockets, loop, 0)
        connect_targets(services, changed)
        names = mux.connections.targets
        assert names == {"other": changed["Echo"].servers[1]}
        names = other_mux.connections.targets
        assert names == {}, "it has no listener any more"

        # The same again, with what is there already: nothing is made but what has become another kind of server.
        again = instance(Echo(), tcpmux=True)
        assert again.make_servers(wanted["named"], services["named"].servers, sockets, loop, 0) == []
        assert again.servers == services["named"].servers
        [new] = again.make_servers(entry(1, 2), services["named"].servers, sockets, loop, 0)
        assert type(new) is StreamServer
        assert instance(Echo()).make_servers(wanted["Echo"], {}, sockets, loop, 1) == [], "worker 0 serves tcpmux"
