"""A service of a config in one worker: the objects that serve it."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from netd.admission.access_table import Access
from netd.admission.banner import NO_BANNERS, Banners
from netd.admission.control import AdmissionControl
from netd.admission.sensor import SensorControl
from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.peer import Peer
from netd.services.forward import Forward
from netd.services.sensor import SensorOptions
from netd.services.service_type import ServiceType
from netd.telemetry.service_events import ServiceEvents
from netd.tls.options import TlsOptions
from netd.tls.sealed_files import descriptor_path
from netd.transport.datagram.forward import server_class
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream.passed import PassedServer
from netd.transport.stream.preamble import Preambles, Transforming
from netd.transport.stream.proxy_protocol import preambles_of
from netd.transport.stream.server import StreamServer
from netd.transport.target_check import TargetChecks

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


def control_of(kind: ServiceType) -> type[AdmissionControl]:
    """The class of the admission of a service."""
    return SensorControl if issubclass(kind.options, SensorOptions) else AdmissionControl


def has_tls(server: Server) -> bool:
    """Whether the connections of a server have TLS."""
    return isinstance(server, StreamServer) and server.connections.wraps


def handshake_of(entry: ServiceEntry, options: TlsOptions, files: Sequence[int], events: ServiceEvents) -> Transforming:
    """The TLS handshake of a service, from the descriptors of files that were sent with its config.

    Raises ValueError with the reason why this process cannot use them.
    """
    from netd.tls.contexts import Contexts, server_context  # only here: other services need no OpenSSL
    from netd.transport.stream.tls_handshake import TlsHandshake

    trust = None if entry.trust is None else descriptor_path(files[entry.trust])
    try:
        contexts = [
            (server_context(options, descriptor_path(files[number]), trust), names)
            for number, names in entry.certificates
        ]
    except OSError as error:
        raise ValueError(f"tls: {_unreadable(error)}") from None
    return TlsHandshake(Contexts(contexts), events)


def _unreadable(error: OSError) -> str:
    """Why this process cannot read the descriptor of a file."""
    if not os.path.isdir(descriptor_path(0).rpartition("/")[0]):
        return "the root directory of the workers (daemon.chroot) has no /proc"
    return error.strerror or ""


def secure_targets(entry: ServiceEntry, service: Forward, files: Sequence[int]) -> None:
    """Give a service that forwards what it needs for targets with TLS, as `handshake_of` does for clients.

    Raises ValueError with the reason why this process cannot.
    """
    targets, options = [one for one in service.options.to if one.transport == "tls"], service.options.to_tls
    if not targets:
        return
    import ssl  # only here: other services need no OpenSSL

    from netd.tls.client import ClientTls, client_context
    from netd.transport.stream.tls_connecting import TlsAttempt

    trust, certificate = (
        None if number is None else descriptor_path(files[number]) for number in (entry.to_trust, entry.to_certificate)
    )
    try:
        minimum = ssl.TLSVersion.TLSv1_3 if options.minimum == "TLSv1.3" else ssl.TLSVersion.TLSv1_2
        context = client_context(trust, certificate, minimum=minimum, insecure=not options.verify)
    except OSError as error:
        raise ValueError(f"to_tls: {_unreadable(error)}") from None
    service.tls = {one: partial(TlsAttempt, ClientTls(context, options.name or one.certified_host)) for one in targets}


@dataclass
class ServiceInstance:
    """A service of a config, with the objects that serve it."""

    kind: ServiceType
    service: Any
    admission: AdmissionControl
    events: ServiceEvents
    access: Access  # used by ``admission`` from the commit on
    banners: Banners = NO_BANNERS
    handshake: Transforming | None = None
    """The TLS handshake of the listeners that have one."""
    servers: dict[int, Server] = field(default_factory=dict)  # by number of the listener
    checks: TargetChecks | None = None
    """Those of its targets, where this worker checks them."""

    def prepare_tls(self, entry: ServiceEntry, files: Sequence[int]) -> None:
        """Make what it lacks for TLS: the handshake of its listeners (`handshake_of`), and that with targets."""
        if entry.tls_listeners and not self.handshake:
            self.handshake = handshake_of(entry, self.admission.policy.tls, files, self.events)
        if isinstance(self.service, Forward) and not self.service.tls:
            secure_targets(entry, self.service, files)

    def make_servers(
        self,
        entry: ServiceEntry,
        before: Mapping[int, Server],
        sockets: Mapping[int, socket.socket],
        loop: Loop,
        worker: int,
    ) -> list[Server]:
        """Make the servers of its listeners, which serve once they are started, or take those of ``before``.

        Returns those that were made. ``sockets`` has those of the listeners, by number.
        """
        made = []
        wanted = [(number, number in entry.tls_listeners, False) for number in entry.listeners]
        if not worker:  # worker 0 serves tcpmux
            wanted += [(number, tls, True) for number, tls in entry.through]
        for number, tls, is_passed in wanted:
            if (old := before.get(number)) and (has_tls(old), isinstance(old, PassedServer)) == (tls, is_passed):
                self.servers[number] = old
                continue
            if worker and self.kind.datagrams == "forward" and sockets[number].type == socket.SOCK_DGRAM:
                continue  # worker 0 serves it: with a session in each worker a target would see one client as several
            made.append(self.listen(number, sockets[number], loop, tls=tls, is_passed=is_passed))
        return made

    def listen(
        self, number: int, listener: socket.socket, loop: Loop, *, tls: bool = False, is_passed: bool = False
    ) -> Server:
        """Make the server of a listener, which serves once it is started; ``tls``: its connections have TLS.

        ``is_passed``: another service accepts them, and passes on those that name this one.
        """
        server: Server
        if is_passed:
            preambles = Preambles(banners=self.banners, is_wrapped=tls)
            server = PassedServer(listener, self.kind, self.service, self.admission, self.events, loop, preambles)
        elif listener.type == socket.SOCK_STREAM:
            preambles = replace(preambles_of(self.admission.policy.proxy_protocol), banners=self.banners)
            if tls:
                preambles = replace(preambles, transforming=self.handshake)
            server = StreamServer(listener, self.kind, self.service, self.admission, self.events, loop, preambles)
        else:
            server = server_class(self.kind)(listener, self.kind, self.service, self.admission, self.events, loop)
        self.servers[number] = server
        return server

    def take_over(self, before: "ServiceInstance") -> None:
        """Give the service the state of its predecessor, where its type has ``take_over``."""
        if self.kind.takes_over and self.service is not before.service and type(self.service) is type(before.service):
            try:
                self.service.take_over(before.service)
            except BaseException as error:  # a commit cannot fail, whatever a service raises, SystemExit too
                self.events.inherit_failed(error)


def check_targets(before: Mapping[str, ServiceInstance], now: Mapping[str, ServiceInstance], loop: Loop) -> None:
    """Check the targets of the services that are ``now`` in force, and no others."""
    for name, one in now.items():
        if (old := before.get(name)) and old.service is one.service:
            one.checks = old.checks
        elif one.events.forward and (check := one.service.options.check):
            one.checks = TargetChecks(loop, one.service, check, one.events.forward)
    for name, old in before.items():
        if old.checks and (name not in now or now[name].checks is not old.checks):
            old.checks.close()
    for name, one in now.items():
        if one.checks and (name not in before or before[name].checks is not one.checks):
            one.checks.start()
