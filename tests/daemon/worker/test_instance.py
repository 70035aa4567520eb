"""The servers of a service in a worker, by the kind of the listener."""

import socket
from pathlib import Path

import pytest

from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.daemon import DaemonAdmission
from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.daemon.worker.instance import ServiceInstance, call_soon, handshake_of
from netd.services.echo import Echo
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.tls.options import TlsOptions
from netd.tls.sealed_files import SealedFiles
from netd.transport.datagram.server import DatagramServer
from netd.transport.stream.server import StreamServer
from tests.daemon.fakes import ManualLoop
from tests.support.certificates import Authority
from tests.support.server import admission_for


@pytest.mark.parametrize(
    ("kind", "policy", "server_class"),
    [
        (socket.SOCK_STREAM, {}, StreamServer),
        (socket.SOCK_STREAM, {"proxy_protocol": {"from": ["local"]}}, StreamServer),
        (socket.SOCK_DGRAM, {}, DatagramServer),
    ],
)
def test_listener_gets_a_server_of_its_kind_with_the_preambles_of_the_policy(
    tmp_path: Path, kind: int, policy: dict[str, object], server_class: type
) -> None:
    events = ServiceEvents("echo")
    admission = admission_for("echo", policy, events.table, DaemonAdmission(), lambda: 0.0)
    made = ServiceInstance(ServiceType.of(Echo), Echo(), admission, events, Access.of(AccessRules()))
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(tmp_path / "s"))
        server = made.listen(3, listener, ManualLoop())
        assert made.servers == {3: server}
        assert type(server) is server_class
        if isinstance(server, StreamServer):
            assert (server.connections._preambles is not None) == bool(policy)
        server.close()


def test_server_has_the_handshake_of_its_service_or_a_reason(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("server")
    files = SealedFiles.copy([str(issued.certificate), str(issued.key)])
    entry = ServiceEntry("echo", "echo", "{}", "{}", (0, 0), [3], True, "all", certificates=[(0, ["localhost"])])
    assert callable(handshake_of(entry, TlsOptions(), [files.descriptor], ServiceEvents("echo")))
    only_certificate = SealedFiles.copy([str(issued.certificate)])
    with pytest.raises(ValueError, match="no key"):
        handshake_of(entry, TlsOptions(), [only_certificate.descriptor], ServiceEvents("echo"))
    with pytest.raises(ValueError, match="^tls: No such file"):
        handshake_of(entry, TlsOptions(), [-1], ServiceEvents("echo"))


def test_call_of_a_service_that_fails_is_counted_and_ends_nothing_else() -> None:
    loop, events = ManualLoop(), ServiceEvents("echo")
    called: list[int] = []

    def fail() -> None:
        raise SystemExit(1)

    call_soon(loop, events, fail)
    call_soon(loop, events, lambda: called.append(1))
    assert (called, events.counters.failed) == ([], 0)
    loop.settle()
    assert (called, events.counters.failed) == ([1], 1)
