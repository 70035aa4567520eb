"""The launcher: starts programs as one user, and carries out the messages of the supervisor.

One loop in one thread, so a response on the channel shows that it turns.
"""

import fcntl
import os
import select
import signal
import socket
from collections import Counter
from functools import cached_property
from time import monotonic

from netd.addresses import parse_address, split_port
from netd.contract import End
from netd.daemon.channel import Channel, ChannelError
from netd.daemon.launcher.error_pipes import ErrorPipes
from netd.daemon.launcher.listeners import ProgramListener
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.spawn import UMASK
from netd.daemon.launcher.workers import WorkerClient
from netd.daemon.messages import to_launcher
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    CountTraffic,
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    Selection,
    SetLogFile,
    SetLogLevel,
)
from netd.daemon.messages.from_worker import (
    Alive,
    ConnectionList,
    ConnectionRow,
    Done,
    Kicked,
    ListenerHeld,
    Notice,
    PeerList,
    ProgramsChanged,
    Response,
    WorkerFault,
)
from netd.daemon.messages.to_launcher import (
    AddPrograms,
    AddWorker,
    AnyRequest,
    EndAll,
    EndPrograms,
    Listen,
    Order,
    Program,
    RemovePrograms,
    TakeOver,
)
from netd.daemon.packets import PacketChannel
from netd.daemon.request_server import RequestServer
from netd.daemon.resource_limits import restore_descriptor_limit
from netd.daemon.running_table import RunningTable
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.peer import Peer
from netd.peer_filter import PeerFilter
from netd.scheduling import wake_without_preempting
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.program_events import NOT_STARTED, ProgramEvents, fault_of, how_ended
from netd.telemetry.sink import Sink
from netd.transport.loop import Loop

_ROWS = 1000  # in a list
_GRACE = 5.0  # seconds in which a program that was removed can still be started


def launch(number: int, channel: Channel, sink: Sink) -> int:
    """Run a launcher, in a process that has become the user of its programs. Returns the exit code."""
    return Launcher(channel, sink).run()


class Launcher:
    """Starts programs until the supervisor ends it, or closes the channel: then its programs go on."""

    def __init__(self, channel: Channel, sink: Sink) -> None:
        self._channel = channel
        self._sink = sink
        self._loop = Loop()
        self._programs = Programs(self._loop, self._exit_if_done)
        self._workers: dict[int, WorkerClient] = {}
        self._errors = ErrorPipes(self._workers)
        # What the launcher before has started, by the process id of the worker and the number of the start.
        self._taken_over: dict[int, dict[int, Running | None]] = {}
        self._listeners: dict[int, ProgramListener] = {}  # by the number of the program
        self._service_events: dict[str, ProgramEvents] = {}
        self._is_forgetful = False  # it starts nothing any more, and exits after its last program
        self._null = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)  # it may have a root directory without /dev/null

    @cached_property
    def _events(self) -> DaemonEvents:
        """Made at first use, which is a bug of netd: a logger writes to 0.1 MiB that is shared else."""
        return DaemonEvents()

    def run(self) -> int:
        """Carry out messages. Returns the exit code."""
        restore_descriptor_limit()
        wake_without_preempting()
        os.chdir("/")
        os.umask(UMASK)
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._loop.watch(reader.fileno(), select.EPOLLIN, lambda mask: self._on_child(reader))
        requests = RequestServer(self._channel, to_launcher.decode, self._carry_out, self._on_rejected, self._loop.stop)
        self._loop.watch_first(self._channel.fileno(), lambda mask: requests.receive())
        try:
            self._loop.run()
            self._tell_workers()
        except BaseException as error:  # logged, since the process exits
            self._events.netd_failed(error)
            return EXIT_SOFTWARE
        return EXIT_OK

    def _on_rejected(self, reason: str) -> None:
        self._events.request_rejected(0, reason)

    def _on_child(self, reader: socket.socket) -> None:
        reader.recv(4096)
        self._programs.reap()
        self._tell_workers()

    def _tell_workers(self) -> None:
        for worker in self._workers.values():
            worker.tell()

    def _carry_out(self, request: int | None, command: AnyRequest | Order, descriptors: list[int]) -> Response:
        match command:
            case Heartbeat():
                if "_events" in vars(self):
                    self._events.log_pending()
                for events in self._service_events.values():
                    events.log_pending()
                return Alive(self._sink.lost)
            case CountTraffic():
                pass
            case SetLogLevel():
                logs.set_level(command.level)
            case SetLogFile():
                self._sink.replace(descriptors[0])
            case AddPrograms():
                self._add_programs(command, descriptors)
            case AddWorker():
                self._add_worker(command, descriptors[0])
            case TakeOver():
                self._take_over(descriptors[0])
            case Listen():
                for number in command.programs:
                    self._listeners[number].start()
            case RemovePrograms():
                self._remove_programs(command.programs)
            case ListConnections():
                rows = [_row(running) for running in self._selected(command)]
                return ConnectionList(len(rows), rows[:_ROWS])
            case ListPeers():
                sums = Counter(_peer(running.peer).source for running in self._selected(command))
                return PeerList.of(sums.total(), {peer: [number, 0, 0] for peer, number in sums.items()})
            case Kick():
                kicked = self._selected(command)
                for running in kicked:
                    self._programs.end(running)
                return Kicked(len(kicked))
            case EndPrograms():
                self._loop.later(command.seconds, lambda: self._end(command.programs))
            case EndAll():
                self._end_all(command)
        return Done()

    def _notify(self, notice: Notice) -> None:
        try:
            self._channel.send_encoded(encode(notice))
        except ChannelError:
            self._loop.stop()

    # Programs.

    def _add_programs(self, command: AddPrograms, descriptors: list[int]) -> None:
        listeners = dict(zip(command.listeners, descriptors, strict=True))
        for text in command.programs:
            program = Program.decode(text)
            self._programs.known[program.number] = program
            if program.number in listeners:
                self._listeners[program.number] = ProgramListener(
                    socket.socket(fileno=listeners[program.number]),
                    program,
                    self._programs,
                    self._loop,
                    self._null,
                    self._on_unowned_start,
                    self._on_unowned_end,
                    self._on_listener_failed,
                    self._on_held,
                    self._errors.give,
                )
        for number, (pid, seconds) in command.held.items():
            if (listener := self._listeners.get(int(number))) and (running := listener.adopt(pid, seconds)):
                service = running.program.service
                self._notify(ProgramsChanged(service, self._unowned(service)))

    def _remove_programs(self, numbers: list[int]) -> None:
        """Forget programs. What a worker has asked for before it was told may still be under way."""
        for number in numbers:
            if listener := self._listeners.pop(number, None):
                listener.close()
        self._loop.later(_GRACE, lambda: self._forget(numbers))

    def _forget(self, numbers: list[int]) -> None:
        for number in numbers:
            self._programs.known.pop(number, None)

    def _end(self, programs: list[int] | None = None) -> None:
        for running in self._programs:
            if programs is None or running.program.number in programs:
                self._programs.end(running)

    def _end_all(self, command: EndAll) -> None:
        if command.leave:
            for worker in list(self._workers.values()):
                worker.receive_rest()
            return self._loop.stop()
        self._remove_programs(list(self._listeners))
        if command.wait and self._workers:
            # What they have asked for before they were told is still to be started.
            self._loop.later(_GRACE, self._forget_all)
            return None
        if not command.wait:
            self._end()
        return self._forget_all()

    def _forget_all(self) -> None:
        self._is_forgetful = True
        self._programs.known.clear()
        self._exit_if_done()

    def _exit_if_done(self) -> None:
        if self._is_forgetful and not len(self._programs):
            self._loop.stop()

    # Workers.

    def _take_over(self, descriptor: int) -> None:
        """Keep the programs of the launcher before this one."""
        table = RunningTable(descriptor)
        table.close_descriptor()
        for row, running in self._programs.take_over(table, self._on_unowned_end):
            self._taken_over.setdefault(row.worker, {})[row.start] = running
        for service in {running.program.service for running in self._programs}:
            self._notify(ProgramsChanged(service, self._unowned(service)))

    def _add_worker(self, command: AddWorker, descriptor: int) -> None:
        number = command.worker
        channel = PacketChannel(socket.socket(fileno=descriptor))
        if before := self._workers.get(number):
            before.close()
        self._workers[number] = WorkerClient(
            number,
            command.pid,
            channel,
            self._programs,
            self._loop,
            self._null,
            self._on_worker_lost,
            self._on_unowned_end,
        )
        self._errors.give_waiting()
        claimed = self._taken_over.pop(command.pid, {})
        self._workers[number].claim({start: one for start, one in claimed.items() if not one or one in self._programs})
        for service in {one.program.service for one in claimed.values() if one}:
            self._notify(ProgramsChanged(service, self._unowned(service)))

    def _on_worker_lost(self, worker: WorkerClient, reason: str) -> None:
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]
        for running in self._programs:
            if running.errors_read_by == worker.number:
                self._errors.recover(running)
        for service in {running.program.service for running in worker.running.values()}:
            self._notify(ProgramsChanged(service, self._unowned(service)))
        if reason:
            self._notify(WorkerFault(worker.number, reason))

    # Programs that no worker waits for.

    def _unowned(self, service: str) -> int:
        return sum(running.program.service == service and not running.is_owned for running in self._programs)

    def _selected(self, selection: Selection) -> list[Running]:
        matches = PeerFilter(selection.peer).matches if selection.peer else None
        return [
            running
            for running in self._programs
            if not running.is_owned
            and selection.id in ("", _identifier(running))
            and selection.service in ("", running.program.service)
            and (matches is None or matches(_peer(running.peer)))
        ]

    def _on_unowned_start(self, running: Running) -> None:
        service = running.program.service
        self._events_of(service).program_started(running.peer, running.pid)
        self._notify(ProgramsChanged(service, self._unowned(service), 1))

    def _on_unowned_end(self, running: Running, end: End) -> None:
        service = running.program.service
        self._events_of(service).program_ended(running.peer, running.pid, end, expected=running.is_ending)
        fault = fault_of(end, expected=running.is_ending)
        used = round(end.user + end.system, 6), round(end.seconds, 6)
        self._notify(ProgramsChanged(service, self._unowned(service), 0, how_ended(end), fault, *used))

    def _on_listener_failed(self, program: Program, error: str) -> None:
        self._events_of(program.service).program_not_started("", error)
        self._notify(ProgramsChanged(program.service, self._unowned(program.service), fault=NOT_STARTED))

    def _on_held(self, program: Program, pid: int) -> None:
        self._notify(ListenerHeld(program.number, pid))

    def _events_of(self, service: str) -> ProgramEvents:
        return self._service_events.setdefault(service, ProgramEvents(service))


def _identifier(running: Running) -> str:
    return f"p{running.pid}"


def _peer(text: str) -> Peer:
    """The peer of a program, from its text."""
    try:
        host, port = split_port(text)
        parse_address(host)
    except ValueError:
        return Peer("unix", text)
    return Peer("tcp", host, port or 0)


def _row(running: Running) -> ConnectionRow:
    seconds = monotonic() - running.started
    return ConnectionRow(
        id=_identifier(running),
        service=running.program.service,
        transport=_peer(running.peer).transport,
        peer=running.peer,
        local="",
        seconds=round(seconds, 3),
        idle=0.0,
        bytes_in=0,
        bytes_out=0,
        unanswered="",
        pid=running.pid,
        handed_over=True,
    )
