"""Fakes: a loop with a manual clock, and workers without a process, which the same loop serves."""

import os
import select
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from netd.daemon.channel import DOES_NOT_READ, Channel, ChannelError, pair
from netd.daemon.messages import from_supervisor
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import AnyRequest, Heartbeat, Order, Stop
from netd.daemon.messages.from_worker import Alive, Done, Notice, Response
from netd.daemon.supervisor import requests, workers
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Tasks
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Ready, Timer
from netd.transport.wheel import TICK, Wheel

Behaviour = Callable[[AnyRequest], Response | None]
"""Returns a worker's response to a request; None: no response."""


class ManualLoop(Loop):
    """A loop that runs when a test calls `settle` or `wait`. It also replaces the module `time`."""

    def __init__(self) -> None:
        self.wheel = Wheel()
        self.now = 1000.0
        self._watched: dict[int, Ready] = {}
        self._calls: deque[Callable[[], object]] = deque()

    def monotonic(self) -> float:
        return self.now

    def watch(self, descriptor: int, mask: int, ready: Ready) -> None:
        self._watched[descriptor] = ready

    def unwatch(self, descriptor: int) -> None:
        self._watched.pop(descriptor, None)

    def unwatch_closing(self, descriptor: int) -> None:
        self.unwatch(descriptor)

    def call(self, function: Callable[[], object]) -> None:
        self._calls.append(function)

    def later(self, seconds: float, function: Callable[[], float | None]) -> Timer:
        timer = Timer(function)
        self.wheel.add(timer, self.now + seconds)
        return timer

    def settle(self) -> None:
        """Run until no event and no call is left."""
        while True:
            poll = select.poll()
            for descriptor in self._watched:
                poll.register(descriptor, select.POLLIN)
            found, calls = poll.poll(0), len(self._calls)
            for descriptor, event in found:
                if ready := self._watched.get(descriptor):
                    ready(event)
            for _ in range(calls):
                self._calls.popleft()()
            if not found and not calls:
                return

    def wait(self, seconds: float) -> None:
        """Advance the clock by so many seconds, and run what is due."""
        until = self.now + seconds
        self.settle()
        while self.now < until:
            self.now = min(until, self.now + TICK)
            self.wheel.advance(self.now)
            self.settle()


def succeed(request: AnyRequest) -> Response | None:
    """Answers every request with success."""
    return Alive(0) if isinstance(request, Heartbeat) else Done()


async def sync_nothing(worker: WorkerProcess) -> None:
    """Sends a new worker nothing."""


def silent(request: AnyRequest) -> Response | None:
    """Answers no request."""
    return None


def answering(response: Response) -> Behaviour:
    """Answers every request with this response."""
    return lambda request: response


def logged(log: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    """The log lines of this event."""
    return [line for line in log if line["event"] == event]


class Worker(WorkerProcess):
    """A worker without a process: the loop serves the other end of its channel, and signals are recorded."""

    decode: Callable[..., tuple[int | None, Any]] = staticmethod(from_supervisor.decode)
    """Decodes what it receives."""

    def __init__(self, number: int, pid: int, loop: ManualLoop, behaviour: Behaviour) -> None:
        ours, theirs = pair()
        stack = os.memfd_create("netd-stack")
        super().__init__(number, pid, Channel(ours, takes_descriptors=False), stack, loop.now, loop.now)
        self.behaviour = behaviour
        self.received: list[Any] = []
        self.signals: list[signal.Signals] = []
        self.fatal = {signal.SIGKILL, signal.SIGABRT}
        """The signals that end it."""
        self.exited: Callable[[], object] = lambda: None
        """Called when it has exited, in place of SIGCHLD."""
        self._loop = loop
        self._raw = theirs
        self._end = Channel(theirs, takes_descriptors=True)
        self._code: int | None = None
        loop.watch(theirs.fileno(), select.EPOLLIN, self._serve)

    def _serve(self, mask: int) -> None:
        try:
            while self._code is None and (received := self._end.receive()):
                message, descriptors = received
                request, command = self.decode(message, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                self.received.append(command)
                if isinstance(command, Stop):
                    self.exit(0)
                elif request is not None:
                    assert not isinstance(command, Order)
                    if response := self.behaviour(command):
                        self.respond(request, response)
        except ChannelError:
            self.exit(0)

    def respond(self, request: int, response: Response) -> None:
        if self._code is None:
            self._end.send_encoded(encode(response), request=request)

    def report(self, notice: Notice) -> None:
        self._end.send_encoded(encode(notice))

    def send(self, packet: bytes) -> None:
        """Send a packet, which may be no valid message."""
        self._raw.send(packet)

    def fork(self) -> Channel:
        """The end of the channel of a child, which the exit of the worker does not close."""
        return Channel(self._raw.dup(), takes_descriptors=True)

    def fill(self) -> None:
        """Stop reading, and fill its socket buffer."""
        self._loop.unwatch(self._end.fileno())
        with pytest.raises(ChannelError, match=DOES_NOT_READ):
            while True:
                self.channel.send({}, seconds=0.0)

    def exit(self, code: int) -> None:
        """Exit with a code, or the negative number of a signal."""
        if self._code is None:
            self._code = code
            self._loop.unwatch(self._end.fileno())
            self._end.close()
            self._loop.call(self.exited)

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number in self.fatal:
            self.exit(-number)

    def has_exited(self) -> bool:
        return self._code is not None

    def poll(self) -> int | None:
        return self._code

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


class Pool:
    """A `WorkerPool` of fake workers. The next one that is forked has this ``behaviour``."""

    def __init__(self, loop: ManualLoop) -> None:
        self.loop = loop
        self.tasks = Tasks(loop)
        self.behaviour: Behaviour = succeed
        self.forked: list[Worker] = []
        self.notices: list[Notice] = []
        self.unforkable = 0
        """The number of the next forks that fail."""
        self.fork_error: Exception = WorkerError("no process")
        self.sync: Callable[[WorkerProcess], Coroutine[Any, None, None]] = sync_nothing
        """Sends a new worker the config in force."""
        self.pool = WorkerPool(
            self.tasks,
            loop,
            DaemonEvents(),
            self._fork,
            self._sync,
            lambda running: 0,
            lambda worker, notice: self.notices.append(notice),
            lambda worker, stack: {},
        )

    async def _sync(self, worker: WorkerProcess) -> None:
        await self.sync(worker)

    def _fork(self, number: int) -> WorkerProcess:
        if self.unforkable:
            self.unforkable -= 1
            raise self.fork_error
        worker = Worker(number, 4711 + len(self.forked), self.loop, self.behaviour)
        worker.exited = self.pool.reap
        self.forked.append(worker)
        return worker

    def start(self, size: int) -> None:
        """Start the first workers."""
        self.tasks.start(self.pool.start(size))
        self.loop.settle()

    @property
    def workers(self) -> list[Worker]:
        """The workers that serve, by number."""
        found = [self.pool.workers[number] for number in sorted(self.pool.workers)]
        assert all(isinstance(one, Worker) for one in found)
        return found  # type: ignore[return-value]


@contextmanager
def pool() -> Iterator[Pool]:
    """A pool without workers, with its own loop."""
    loop = ManualLoop()
    with patch.object(workers, "time", loop), patch.object(requests, "time", loop):
        made = Pool(loop)
        try:
            yield made
        finally:
            made.tasks.close()
            made.pool.kill()
