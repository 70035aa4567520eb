"""The worker: a process without rights that serves what the supervisor hands it, and does as it is told.

Everything happens in one loop, in one thread: the services' sockets, their connections, and the channel to the
supervisor. So an answer on the channel shows that the loop turns.
"""

import os
import select
import socket
import sys
from collections.abc import Mapping
from functools import partial

from netd.admission.daemon import DaemonAdmission
from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message, ProtocolError, ReservedDescriptors
from netd.daemon.messages import from_supervisor
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    Abort,
    AnyRequest,
    Attach,
    Commit,
    Drain,
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    Order,
    Prepare,
    Report,
    Retire,
    SetBans,
    SetDaemonLimits,
    SetLogFile,
    SetLogLevel,
    StartTrace,
    Stop,
    StopTrace,
)
from netd.daemon.messages.from_worker import Alive, Busy, Done, Failed, Kicked, Notice, Offender, ReportWanted, Response
from netd.daemon.worker import connections
from netd.daemon.worker.config import Serving
from netd.daemon.worker.status_client import StatusClient
from netd.daemon.worker.trace import Taps
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.reasons import Refusal
from netd.shared.daemon_limits import DaemonLimits
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections

_SWITCH = 0.0005  # seconds


def work(number: int, channel: Channel, sink: logs.Sink) -> int:
    """What a worker runs, once it is the user it is to be; its exit code."""
    return Worker(number, channel, sink).run()


class Worker:
    """Serves until the supervisor says stop, or is gone."""

    def __init__(self, number: int, channel: Channel, sink: logs.Sink) -> None:
        self._number = number
        self._channel = channel
        self._sink = sink
        self._events = DaemonEvents()
        self._loop = Loop()
        self._inquiries = StatusClient(self._loop, lambda what: self._say(ReportWanted(what)))
        self._observers = Taps(self._loop, self._say)
        self._serving = Serving(number, self._loop, self._inquiries.ask, self._observers.look_at)
        self._spare = ReservedDescriptors(channel)
        self._spare.take()
        self._loop.watch(channel.fileno(), select.EPOLLIN, self._readable)

    def run(self) -> int:
        """Serve; the exit code."""
        # Where a handler's thread computes, the loop gets its turn after this time, and not after five milliseconds.
        sys.setswitchinterval(_SWITCH)
        try:
            self._loop.run()
            self._serving.close()
            for events in self._serving.events():
                events.log_pending(final=True)
        except BaseException as error:  # the process ends for it, and says so
            self._events.netd_failed(error)
            return EXIT_SOFTWARE
        return EXIT_OK

    def _readable(self, events: int) -> None:
        """The supervisor has sent something, or has ended."""
        self._spare.give_up()
        try:
            while True:
                try:
                    received = self._channel.receive()
                except DescriptorsLostError as error:
                    self._respond(error.message.get("request"), Failed(str(error)))
                    continue
                if received is None:
                    break
                self._take(*received)
        except ChannelError:
            self._loop.stop()
        self._spare.take()

    def _take(self, message: Message, descriptors: list[int]) -> None:
        """Take a message. One that is none is a bug of the supervisor's, which gets a response."""
        try:
            request, command = from_supervisor.decode(message, descriptors)
        except ProtocolError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            self._events.request_rejected(self._number, str(error))
            number = message.get("request")
            self._respond(number if isinstance(number, int) else None, Failed(f"a bug in netd: {error}"))
            return
        response = self._do(request, command, descriptors)
        if response is not None:
            self._respond(request, response)

    def _do(self, request: int | None, command: AnyRequest | Order, descriptors: list[int]) -> Response | None:
        """Do what the supervisor says: the response, or None where that comes later."""
        if not isinstance(command, Heartbeat):
            self._serving.finish()
        served = self._serving.connections
        match command:
            case Heartbeat():
                self._events.log_pending()
                for events in self._serving.events():
                    events.log_pending()
                return Alive(self._sink.lost)
            case Prepare():
                self._say(Busy())  # what services do when they are made may take a while
                self._serving.prepare(command, descriptors, partial(self._respond, request))
                return None
            case Commit():
                self._serving.commit(partial(self._respond, request))
                return None
            case Abort():
                self._serving.abort()
            case ListConnections():
                return connections.rows(self._number, served(), command)
            case ListPeers():
                return connections.peers(self._number, served(), command)
            case Kick():
                return Kicked(connections.kick(self._number, served(), command))
            case SetLogLevel():
                logs.set_level(command.level)
            case SetLogFile():
                self._sink.replace(descriptors[0])
            case SetDaemonLimits():
                daemon_limits = DaemonLimits(descriptors[0])
                daemon_limits.close_descriptor()
                self._serving.shared = DaemonAdmission(daemon_limits, self._number, report=self._report)
            case SetBans():
                self._ban(command.bans)
            case StartTrace():
                self._observers.start(command)
                self._observers.look_at(self._serving.observed())
            case StopTrace():
                self._observers.stop(command.trace)
                self._observers.look_at(self._serving.observed())
            case Report():
                self._inquiries.answered(command.report, command.answer)
            case Attach():
                return self._attach(command.service, socket.socket(fileno=descriptors[0]))
            case Drain():
                self._drain()
            case Retire():
                self._serving.retire_services(command.drains)
            case Stop():
                self._loop.stop()
        return Done()

    def _respond(self, request: int | None, response: Response) -> None:
        """Answer a request. An order has no number, and no response."""
        if request is None:
            return
        try:
            self._channel.send_encoded(encode(response), request=request)
        except ChannelError:
            self._loop.stop()

    # Bans.

    def _report(self, source: bytes, service: str, refusal: Refusal) -> None:
        """Tell the supervisor of a source that is refused too often. If it does not listen now, it is told again."""
        self._say(Offender(source.hex(), service, refusal))

    def _say(self, notice: Notice) -> bool:
        """Tell the supervisor something, in one packet, if it listens now; whether it does."""
        try:
            self._channel.send_encoded(encode(notice), seconds=0.0)
        except ChannelError:
            return False
        return True

    def _ban(self, bans: Mapping[str, float | None]) -> None:
        """Refuse these sources until then (CLOCK_MONOTONIC); None: no more."""
        for source, until in bans.items():
            self._serving.shared.ban(bytes.fromhex(source), until)
        self._serving.forget_verdicts()

    def _attach(self, name: str, visitor: socket.socket) -> Done | Failed:
        """Serve the operator, who comes through the control socket, as a peer of this service over UNIX."""
        service = self._serving.services.get(name)
        if service is None or not service.kind.converses:
            visitor.close()
            return Failed(f"'{name}' is switched off" if service is None else f"'{name}' holds no conversations")
        visitor.setblocking(False)
        try:
            connections = Connections(service.kind, service.service, service.admission, service.events, self._loop, "")
        except OSError as error:  # no descriptor is left
            visitor.close()
            return Failed(f"'{name}': {error.strerror}")
        self._observers.look_at([connections])
        ticket = connections.admit(visitor, "")
        if ticket is not None:
            connections.serve(visitor, "", ticket)
        self._serving.keep(connections)
        return Failed(f"'{name}' refuses it: see its log") if ticket is None else Done()

    def _drain(self) -> None:
        """Accept nothing more, and end after the last connection."""
        for server in self._serving.servers():
            server.server_close()
        if (again := self._stop_when_idle()) is not None:
            self._loop.later(again, self._stop_when_idle)

    def _stop_when_idle(self) -> float | None:
        """Looks ten times a second, and only while netd stops."""
        if next(self._serving.connections(), None) is not None:
            return 0.1
        self._loop.stop()
        return None
