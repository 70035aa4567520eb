"""The launchers, as a worker sees them: it asks them to start programs, and gets told how they end.

A launcher may be killed, and another one takes its place. Then the programs go on: this worker has their pidfds. What
was not started yet is asked of the next one. The memory that a launcher shares with this worker has the number of the
start that it was at, which may have happened, so that nothing is started twice.
"""

import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from select import EPOLLIN, EPOLLOUT
from time import monotonic

from netd.contract import Context, End, ProgramObserver, RunningProgram, Why
from netd.daemon.channel import ChannelError, ClosedError, Message
from netd.daemon.messages import programs as messages
from netd.daemon.messages.coding import Fields
from netd.daemon.messages.programs import Adopt, Ended, NotStarted, Start, Started, Stop
from netd.daemon.packets import PacketChannel, close_all
from netd.peer import Peer
from netd.shared.memory import SharedMemory
from netd.transport.loop import Loop

_BATCH = 32  # messages that are handled before other events
_LONGEST_GAP = 30.0  # seconds until a start fails for want of a launcher


@dataclass(eq=False, slots=True)
class _Run:
    """A program that was asked for, and has not ended."""

    number: int
    program: int
    peer: str
    facts: Mapping[str, str]
    descriptors: Sequence[int]
    """Those of the caller, which are open until the observer is told."""
    observer: ProgramObserver
    launcher: "LauncherClient"
    asked: bool = False
    pid: int = 0
    pidfd: int = -1
    started: float = 0.0
    stopped: bool = False

    def stop(self) -> None:
        """End it."""
        if not self.stopped:
            self.stopped = True
            self.launcher.stop(self)


class LauncherClient:
    """The launcher of one identity. ``channel`` and ``spawning`` change when another process takes its place."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._channel: PacketChannel | None = None
        self._cell = memoryview(bytearray(8)).cast("q")
        self._runs: dict[int, _Run] = {}  # by number, in their order
        self._last = 0
        self._unsent: deque[tuple[Fields, Sequence[int]]] = deque()

    def connect(self, end: socket.socket, memory: int) -> None:
        """Use this channel from now on, with the memory that belongs to it."""
        self.disconnect()
        spawning = SharedMemory("netd-spawning", 8, memory)
        spawning.close_descriptor()
        self._cell = spawning.octets.cast("q")
        self._channel = channel = PacketChannel(end)
        self._loop.watch(channel.fileno(), EPOLLIN, self._on_readable)
        for run in list(self._runs.values()):
            if not run.pid:
                self._ask(run)
            elif run.pidfd >= 0:
                self._send(Adopt(run.number, run.program, run.peer, monotonic() - run.started), [run.pidfd])
                if run.stopped:
                    self._send(Stop(run.number))

    def start(
        self, program: int, peer: str, facts: Mapping[str, str], descriptors: Sequence[int], observer: ProgramObserver
    ) -> _Run:
        """Ask for the start of a program. The observer is told later, never before this has returned."""
        self._last += 1
        run = self._runs[self._last] = _Run(self._last, program, peer, facts, descriptors, observer, self)
        if self._channel:
            self._ask(run)
        else:
            self._give_up_later([run])
        return run

    def _ask(self, run: _Run) -> None:
        run.asked = True
        self._send(Start(run.number, run.program, run.peer, run.facts), run.descriptors)

    def stop(self, run: _Run) -> None:
        """End a program, or do not start it."""
        if run.asked:
            self._send(Stop(run.number))
        else:
            self._loop.call(lambda: self._forget(run, "failed", "it was stopped"))

    def _send(self, message: Fields, descriptors: Sequence[int] = ()) -> None:
        """Send a message, at once or when there is room. Without a launcher it is dropped."""
        if self._channel:
            self._unsent.append((message, descriptors))
            if len(self._unsent) == 1:
                self._send_rest()

    def _send_rest(self, mask: int = 0) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            while self._unsent:
                try:
                    is_sent = channel.send(*self._unsent[0])
                except OSError:  # no memory, or too many descriptors are under way
                    is_sent = False
                if not is_sent:
                    return self._loop.change(channel.fileno(), EPOLLIN | EPOLLOUT, self._on_event)
                self._unsent.popleft()
        except ClosedError:
            return self._loop.call(lambda: self._on_readable(EPOLLIN))  # there may be answers to read
        if mask:
            self._loop.change(channel.fileno(), EPOLLIN, self._on_readable)

    def _on_event(self, mask: int) -> None:
        if mask & ~EPOLLOUT:
            self._on_readable(mask)
        if mask & EPOLLOUT:
            self._send_rest(mask)

    def _on_readable(self, mask: int) -> None:
        try:
            for _ in range(_BATCH):
                if self._channel is None or (received := self._channel.receive()) is None:
                    return
                self._handle(*received)
        except ChannelError:
            self.disconnect()

    def _handle(self, received: Message, descriptors: list[int]) -> None:
        message = messages.of_launcher(received)
        run = self._runs.get(message.start)
        match message:
            case Started() if run and not run.pid:
                run.pid, run.started, run.descriptors = message.pid, monotonic(), ()
                if descriptors:
                    run.pidfd = descriptors.pop()
                run.observer.started(run.pid)
            case NotStarted() if run and not run.pid:
                self._forget(run, message.why, message.error)
            case Ended() if run and run.pid:
                seconds = monotonic() - run.started
                used = message.user, message.system, message.memory
                self._end(run, End(message.code, seconds, *used, message.timed_out))
        close_all(descriptors)

    def _forget(self, run: _Run, why: Why, error: str) -> None:
        if self._runs.pop(run.number, None):
            run.observer.not_started(why, error)

    def _end(self, run: _Run, end: End) -> None:
        if self._runs.pop(run.number, None):
            if run.pidfd >= 0:
                self._loop.unwatch(run.pidfd)
                close_all([run.pidfd])
            run.observer.ended(end)

    def disconnect(self) -> None:
        """The launcher has ended. Its programs go on; what it has not started waits for the next one."""
        if self._channel is None:
            return
        self._loop.unwatch(self._channel.fileno())
        self._channel.close()
        self._channel = None
        self._unsent.clear()
        for run in list(self._runs.values()):
            if run.pid:
                self._watch(run)
            elif run.asked and run.number == self._cell[0]:
                # It was at this one, so the program may run. To start it again could be once too often.
                self._end(run, End(None, 0.0, 0.0, 0.0, 0, timed_out=False))
            else:
                run.asked = False
        self._give_up_later([run for run in self._runs.values() if not run.pid])

    def _watch(self, run: _Run) -> None:
        if run.pidfd < 0:
            return self._end(run, _unknown_end(run))
        self._loop.watch(run.pidfd, EPOLLIN, lambda mask: self._end(run, _unknown_end(run)))

    def _give_up_later(self, waiting: list[_Run]) -> None:
        """Have these starts fail if no launcher comes."""
        if waiting:
            self._loop.later(_LONGEST_GAP, lambda: self._give_up(waiting))

    def _give_up(self, waiting: list[_Run]) -> None:
        for run in waiting:
            if not run.asked:
                self._forget(run, "failed", "the launcher, which starts programs, does not run")


def _unknown_end(run: _Run) -> End:
    return End(None, monotonic() - run.started, 0.0, 0.0, 0, timed_out=False)


class Launchers:
    """The launchers that this worker can ask, by number."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._clients: dict[int, LauncherClient] = {}

    def connect(self, number: int, end: socket.socket, memory: int) -> None:
        """Use this channel for a launcher, with the memory that belongs to it."""
        self._client(number).connect(end, memory)

    def provide(self, context: Context, launcher: int, program: int) -> Context:
        """The context of a service that has this program started by this launcher."""
        client = self._client(launcher)

        def start(
            peer: Peer, facts: Mapping[str, str], descriptors: Sequence[int], observer: ProgramObserver
        ) -> RunningProgram:
            return client.start(program, peer.remote, facts, descriptors, observer)

        return replace(context, start=start)

    def _client(self, number: int) -> LauncherClient:
        if number not in self._clients:
            self._clients[number] = LauncherClient(self._loop)
        return self._clients[number]
