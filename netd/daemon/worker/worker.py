"""The worker: an unprivileged process that serves sockets and carries out the messages of the supervisor.

One loop in one thread serves the listeners, the connections, and the channel to the supervisor. So a response on the
channel shows that the loop turns.
"""

import socket
import sys
import threading
from collections.abc import Mapping
from functools import partial

from netd.admission.daemon import DaemonAdmission
from netd.daemon.channel import Channel, ChannelError, ReservedDescriptors
from netd.daemon.messages import from_supervisor
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    Abort,
    AnyRequest,
    Attach,
    CloseRemoved,
    Commit,
    ConnectLauncher,
    CountTraffic,
    Drain,
    Heartbeat,
    Isolate,
    Kick,
    LeaveTarget,
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
    SetRunning,
    StartTrace,
    Stop,
    StopTrace,
    SyncPrograms,
)
from netd.daemon.messages.from_worker import (
    Alive,
    Busy,
    Done,
    Failed,
    Kicked,
    Notice,
    Offender,
    ReportWanted,
    Response,
)
from netd.daemon.request_server import RequestServer
from netd.daemon.resource_limits import too_few_descriptors
from netd.daemon.worker import connections
from netd.daemon.worker.code_output import CodeOutput
from netd.daemon.worker.config import WorkerConfig
from netd.daemon.worker.heap import Heap
from netd.daemon.worker.launchers import Launchers
from netd.daemon.worker.status_client import StatusClient
from netd.daemon.worker.taps import Taps
from netd.daemon.worker.visitors import WaitingVisitors
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.reasons import Refusal
from netd.scheduling import ask_for_short_slices
from netd.shared.daemon_limits import DaemonLimits
from netd.shared.running import RunningMemory
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.program_events import ProgramEvents
from netd.telemetry.sink import Sink
from netd.transport.handler_watch import SWITCH_INTERVAL
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections
from netd.transport.stream.preamble import Preambles

_BUSY_TIMEOUT = 5.0  # seconds, as for a response: without this notice, the supervisor may take the worker to hang
_CONNECTION_DESCRIPTORS = 4  # of a connection: its socket, and those that a service may open for it, such as a pipe


def work(number: int, channel: Channel, sink: Sink) -> int:
    """Run a worker, in a process that has dropped its privileges. Returns the exit code."""
    return Worker(number, channel, sink).run()


class Worker:
    """Serves until the supervisor sends `Stop` or closes the channel."""

    def __init__(self, number: int, channel: Channel, sink: Sink) -> None:
        self._number = number
        self._channel = channel
        self._sink = sink
        self._events = DaemonEvents()
        self._loop = Loop()
        sink.at_turn_end = self._loop.at_turn_end
        self._status_client = StatusClient(self._loop, lambda report: self._send(ReportWanted(report)))
        self._taps = Taps(self._loop, self._send)
        self._visitors = WaitingVisitors(self._loop, self._send)
        self._launchers = Launchers(self._loop)
        self._heap = Heap()
        self._output = CodeOutput(number, self._loop, sink)
        self._config = WorkerConfig(
            number, self._loop, self._status_client.request, self._taps.attach, self._launchers, self._output.code_of
        )
        self._launchers.events_of = self._program_events
        self._loop.on_memory_error = lambda descriptor, error: connections.fail(
            self._config.connections(), descriptor, error
        )
        self._reserved = ReservedDescriptors(channel)
        self._reserved.fill()
        self._requests = RequestServer(
            channel,
            from_supervisor.decode,
            self._carry_out,
            partial(self._events.request_rejected, number),
            self._loop.stop,
        )
        self._loop.watch_first(channel.fileno(), self._on_readable)

    def _program_events(self, service: str) -> ProgramEvents | None:
        instance = self._config.services.get(service)
        return instance.events.programs if instance else None

    def run(self) -> int:
        """Serve. Returns the exit code."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            self._loop.run()
            self._config.close()
            for events in self._config.events():
                events.log_pending(final=True)
            self._output.log_pending(final=True)
        except BaseException as error:  # logged, since the process exits
            self._events.netd_failed(error)
            return EXIT_SOFTWARE
        finally:
            self._sink.write_held()  # those of connections that have ended since the loop has
        return EXIT_OK

    def _on_readable(self, mask: int) -> None:
        self._loop.end_turn()  # messages may build services
        self._reserved.release()
        self._requests.receive()
        self._reserved.fill()

    def _carry_out(self, request: int | None, command: AnyRequest | Order, descriptors: list[int]) -> Response | None:
        """Carry out a message. Returns the response, or None where that is sent later."""
        if not isinstance(command, Heartbeat | CountTraffic):
            self._config.finish_commit()
        open_connections = self._config.connections
        match command:
            case Heartbeat():
                self._events.log_pending()
                for events in self._config.events():
                    events.log_pending()
                self._output.log_pending()
                self._heap.settle(sum(len(one) for one in self._config.connections_by_listener()))
                return Alive(self._sink.lost, connections.list_hanging(self._loop))
            case Prepare():
                self._send(Busy(), _BUSY_TIMEOUT)  # building a service may take longer than a heartbeat
                self._config.prepare(
                    command, descriptors, partial(self._on_prepared, request, not self._config.services)
                )
                return None
            case Commit():
                self._config.commit(partial(self._requests.respond, request))
                return None
            case CloseRemoved():
                self._config.close_removed()
            case Abort():
                self._config.abort()
            case ListConnections():
                return connections.list_connections(self._number, open_connections(), command)
            case ListPeers():
                return connections.list_peers(self._number, open_connections(), command)
            case Kick():
                return Kicked(connections.kick(self._number, open_connections(), command))
            case CountTraffic():
                for one in self._config.connections_by_listener():
                    one.count_traffic()
            case ConnectLauncher():
                ask_for_short_slices()
                self._launchers.connect(command.launcher, socket.socket(fileno=descriptors[0]))
            case SyncPrograms():
                self._launchers.sync(command.launcher)
            case SetLogLevel():
                logs.set_level(command.level)
                self._output.set_level()
            case SetLogFile():
                self._sink.replace(descriptors[0])
            case SetDaemonLimits():
                daemon_limits = DaemonLimits(descriptors[0])
                daemon_limits.close_descriptor()
                self._config.shared = DaemonAdmission(
                    daemon_limits, self._number, report=self._report_offender, report_visitor=self._visitors.record
                )
            case SetRunning():
                self._output.memory = RunningMemory(descriptors[0], threading.get_ident)
                self._output.memory.close_descriptor()
            case Isolate():
                self._config.alone = command.service
            case SetBans():
                self._ban(command.bans)
            case StartTrace():
                self._taps.start(command)
                self._taps.attach(self._config.traceable())
            case StopTrace():
                self._taps.stop(command.trace)
                self._taps.attach(self._config.traceable())
            case Report():
                self._status_client.on_response(command.report, command.answer)
            case Attach():
                return self._attach(command.service, socket.socket(fileno=descriptors[0]))
            case Drain():
                self._drain(leave=command.leave)
            case Retire():
                self._config.close_connections_later(command.drains)
            case LeaveTarget():
                connections.leave_target(open_connections(), command)
            case Stop():
                self._loop.stop()
        return Done()

    def _on_prepared(self, request: int | None, first: bool, response: Done | Failed) -> None:
        """Respond to `Prepare`. A worker without descriptors for a connection does not accept its ``first`` config.

        Later ones it does: then connections may have the descriptors.
        """
        if first and isinstance(response, Done) and (missing := self._reserved.missing(_CONNECTION_DESCRIPTORS)):
            self._config.abort()
            response = Failed(too_few_descriptors(missing))
        self._requests.respond(request, response)

    def _report_offender(self, source: bytes, service: str, refusal: Refusal) -> None:
        """Report a source that is refused too often. If the notice cannot be sent, a later refusal repeats it."""
        self._send(Offender(source.hex(), service, refusal))

    def _send(self, notice: Notice, seconds: float = 0.0) -> bool:
        """Send a notice. False if the socket buffer stays full for ``seconds``, or the channel is closed."""
        try:
            self._channel.send_encoded(encode(notice), seconds=seconds)
        except ChannelError:
            return False
        return True

    def _ban(self, bans: Mapping[str, float | None]) -> None:
        """Set the ends of bans (CLOCK_MONOTONIC) by source. None lifts a ban."""
        for source, until in bans.items():
            self._config.shared.ban(bytes.fromhex(source), until)
        self._config.forget_verdicts()

    def _attach(self, name: str, stream: socket.socket) -> Done | Failed:
        """Serve the client of `netd talk --service` as a peer of this service over UNIX."""
        service = self._config.services.get(name)
        if service is None or not service.kind.converses:
            stream.close()
            if service is None:
                return Failed(f"'{name}' is switched off")
            if service.kind.serving == "program":
                return Failed(f"'{name}' gives connections to programs; give netd talk the URL of one of its sockets")
            return Failed(f"'{name}' serves no streams that netd talk can attach to")
        stream.setblocking(False)
        try:
            connections = Connections(
                service.kind,
                service.service,
                service.admission,
                service.events,
                self._loop,
                "",
                preambles=Preambles(banners=service.banners),
            )
        except OSError as error:  # EMFILE
            stream.close()
            return Failed(f"'{name}': {error.strerror}")
        self._taps.attach([connections])
        ticket = connections.admit(stream, "")
        if ticket is not None:
            connections.serve(stream, "", ticket)
        self._config.retain(connections)
        return Failed(f"'{name}' refused the connection: see the log") if ticket is None else Done()

    def _drain(self, *, leave: bool) -> None:
        """Close the listeners, and stop after the last connection; ``leave``: but for those of programs."""
        for server in self._config.servers():
            server.server_close()
        for connection in list(self._config.connections()) if leave else ():
            connection.leave()
        if (delay := self._stop_when_idle()) is not None:
            self._loop.later(delay, self._stop_when_idle)

    def _stop_when_idle(self) -> float | None:
        """Stop if no connection is open. Otherwise returns the seconds until the next attempt."""
        if next(self._config.connections(), None) is not None:
            return 0.1
        self._loop.stop()
        return None
