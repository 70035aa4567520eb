"""The launchers, as a worker sees them: it asks them to start programs, and gets told how they end.

A launcher may be killed, and another one takes its place. Then the programs go on, what was not started yet is still in
the channel, and the new launcher says which of the others run (`Sync`).
"""

import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from select import EPOLLIN, EPOLLOUT
from time import monotonic

from netd.contract import Context, End, ProgramObserver, RunningProgram
from netd.daemon.channel import ChannelError
from netd.daemon.messages import programs as messages
from netd.daemon.messages.programs import (
    Ended,
    ErrorPipe,
    Lost,
    NotStarted,
    Start,
    Started,
    Stop,
    Sync,
    Synced,
)
from netd.daemon.packets import PacketChannel, ShortageError, close_all
from netd.daemon.worker.program_run import runner
from netd.peer import Peer
from netd.telemetry.program_events import ProgramEvents
from netd.transport.loop import Loop
from netd.transport.stream.program import ErrorLines

_PAUSE = 0.1  # seconds without sending, when the system lacks memory or descriptors


@dataclass(eq=False, slots=True)
class _Run:
    """A program that was asked for, and has not ended."""

    start: Start
    peer: Peer
    descriptors: Sequence[int]
    """Those of the caller, which are open until the observer is told that they were sent."""
    observer: ProgramObserver
    launcher: "LauncherClient"
    pid: int = 0
    began: float = 0.0
    is_sent: bool = False
    is_stopped: bool = False

    def stop(self) -> None:
        """End it."""
        if not self.is_stopped:
            self.is_stopped = True
            self.launcher.stop(self)


class LauncherClient:
    """The launcher of one identity.

    ``on_error_pipe`` is called with the pipe of a program that this worker has not started, which the callee closes;
    ``on_closed`` when the launcher has exited for good.
    """

    def __init__(
        self,
        loop: Loop,
        channel: PacketChannel,
        on_error_pipe: Callable[[ErrorPipe, int], object],
        on_closed: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._on_error_pipe = on_error_pipe
        self._on_closed = on_closed
        self._channel = channel
        self._runs: dict[int, _Run] = {}  # by the number of the start, in their order
        self._last = 0
        self._unsent: deque[Start | Stop | Sync] = deque()
        self._unconfirmed: set[int] = set()  # starts of which a new launcher has not said whether they run
        loop.watch(channel.fileno(), EPOLLIN, self._on_readable)

    def start(
        self,
        program: int,
        peer: Peer,
        facts: Mapping[str, str],
        descriptors: Sequence[int],
        observer: ProgramObserver,
    ) -> RunningProgram:
        """Ask for the start of a program."""
        self._last += 1
        start = Start(self._last, program, facts)
        run = self._runs[self._last] = _Run(start, peer, descriptors, observer, self)
        self._send(start)
        if self._channel.fileno() < 0:
            self._loop.call(lambda: self._fail(run))
        return run

    def stop(self, run: _Run) -> None:
        """End a program."""
        self._send(Stop(run.start.start))

    def _send(self, message: Start | Stop | Sync) -> None:
        """Send a message, at once or when there is room."""
        if self._channel.fileno() < 0:
            return
        self._unsent.append(message)
        if len(self._unsent) == 1:
            self._send_rest()

    def _send_rest(self, mask: int = 0) -> None:
        while self._unsent:
            message = self._unsent[0]
            run = self._runs.get(message.start) if type(message) is Start else None
            try:
                is_sent = self._channel.send(message.encode(), run.descriptors if run else ())
            except ShortageError:  # the channel has room all the same, so epoll(7) would report that at once
                if mask:
                    self._loop.change(self._channel.fileno(), EPOLLIN, self._on_readable)
                self._loop.later(_PAUSE, self._send_rest_later)
                return None
            except ChannelError:
                return self._loop.call(self._close)
            if not is_sent:
                return self._loop.change(self._channel.fileno(), EPOLLIN | EPOLLOUT, self._on_event)
            self._unsent.popleft()
            if run:
                run.is_sent, run.descriptors, run.began = True, (), monotonic()
                run.observer.sent()
        if mask:
            self._loop.change(self._channel.fileno(), EPOLLIN, self._on_readable)

    def _send_rest_later(self) -> None:
        if self._channel.fileno() >= 0:
            self._send_rest()

    def _on_event(self, mask: int) -> None:
        if mask & ~EPOLLOUT:
            self._on_readable(mask)
        if mask & EPOLLOUT:
            self._send_rest(mask)

    def _on_readable(self, mask: int) -> None:
        try:
            self._receive()
        except ChannelError:
            self._close()

    def _receive(self) -> bool:
        """Receive a packet. False: there is none. Raises `ChannelError`."""
        if (received := self._channel.receive()) is None:
            return False
        data, descriptors = received
        try:
            for message in messages.of_launcher(data):
                if not isinstance(message, ErrorPipe):
                    self._handle(message)
                elif descriptors:
                    self._on_error_pipe(message, descriptors.pop())
        finally:
            close_all(descriptors)
        return True

    def _handle(self, message: Started | Ended | Lost | Synced | NotStarted) -> None:
        if type(message) is Synced:
            return self._on_synced(message.start)
        run = self._runs.get(message.start)
        if run is None:
            return None
        match message:
            case Started():
                self._on_started(run, message.pid)
            case NotStarted() if not run.pid:
                del self._runs[run.start.start]
                run.observer.not_started(message.why, message.error)
            case Ended() if run.pid:
                used = message.user, message.system, message.memory
                self._on_end(run, End(message.code, monotonic() - run.began, *used, message.timed_out))
            case Lost():
                self._on_lost(run)
        return None

    def _on_started(self, run: _Run, pid: int) -> None:
        if run.start.start in self._unconfirmed:
            self._unconfirmed.discard(run.start.start)
            if run.is_stopped:
                self.stop(run)
        if not run.pid:
            run.pid = pid
            run.observer.started(pid)

    def _on_end(self, run: _Run, end: End) -> None:
        if self._runs.pop(run.start.start, None):
            run.observer.ended(end)

    def sync(self) -> None:
        """Another launcher has taken the place of one that was killed: ask what runs."""
        try:
            while self._receive():
                pass  # what the one before has sent
        except ChannelError:
            return self._close()
        self._unconfirmed = {number for number, run in self._runs.items() if run.is_sent}
        if self._unconfirmed:
            self._send(Sync(max(self._unconfirmed)))

    def _on_synced(self, last: int) -> None:
        """The launcher has told all that run of the starts up to this one."""
        for number in sorted(self._unconfirmed):
            if number <= last and (run := self._runs.get(number)):
                self._on_lost(run)
        self._unconfirmed = {number for number in self._unconfirmed if number > last}

    def _close(self) -> None:
        """The launcher has exited for good, or has sent nonsense. Programs of it may go on."""
        if self._channel.fileno() < 0:
            return
        self._loop.unwatch(self._channel.fileno())
        self._channel.close()
        self._unsent.clear()
        self._on_closed()
        for run in list(self._runs.values()):
            self._on_lost(run)

    def _on_lost(self, run: _Run) -> None:
        """The launcher has exited, and it is not known how the program has ended, or whether it was started at all.

        It is not asked for again: nothing is started twice. Counted as started is only what was told to be.
        """
        if run.pid:
            self._on_end(run, _unknown_end(run))
        else:
            self._fail(run)

    def _fail(self, run: _Run) -> None:
        if self._runs.pop(run.start.start, None):
            run.observer.not_started("failed", "the launcher, which starts programs, has exited")


def _unknown_end(run: _Run) -> End:
    return End(None, monotonic() - run.began, 0.0, 0.0, 0, timed_out=False)


class Launchers:
    """The launchers that this worker can ask, by number."""

    def __init__(self, loop: Loop) -> None:
        self.events_of: Callable[[str], ProgramEvents | None] = lambda service: None
        """Returns the events of the programs of a service that this worker has."""
        self._loop = loop
        self._clients: dict[int, LauncherClient] = {}

    def connect(self, number: int, end: socket.socket) -> None:
        """Use this channel to a launcher."""
        self._clients[number] = LauncherClient(
            self._loop, PacketChannel(end), self._on_error_pipe, lambda: self._clients.pop(number, None)
        )

    def _on_error_pipe(self, message: ErrorPipe, reader: int) -> None:
        if stat.S_ISFIFO(os.fstat(reader).st_mode):
            events = self.events_of(message.service) or ProgramEvents(message.service)
            ErrorLines(self._loop, events, message.peer, reader).start(message.pid)
        else:
            os.close(reader)

    def sync(self, number: int) -> None:
        """Another launcher has taken the place of this one."""
        if number in self._clients:
            self._clients[number].sync()

    def provide(self, context: Context, launcher: int, program: int, events: ProgramEvents) -> Context:
        """The context of a service that has this program started by this launcher."""
        client = self._clients[launcher]

        def start(
            peer: Peer, facts: Mapping[str, str], descriptors: Sequence[int], observer: ProgramObserver
        ) -> RunningProgram:
            return client.start(program, peer, facts, descriptors, observer)

        return replace(context, start=start, run=runner(self._loop, events, start))
