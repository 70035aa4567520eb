"""Who is told what netd says of itself, over a real channel: those who want it, and who listen."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netd.config.loader import load
from netd.daemon.channel import DOES_NOT_READ, Channel, ChannelError, Message, pair, wait
from netd.daemon.supervisor.kernel_drops import KernelDrops
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.status import Status
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Tasks
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.logs import Sink
from netd.transport.wheel import TICK
from tests.support import Server

TOLD = {"kind": "Report", "report": "history"}


class Worker:
    """Both ends of a channel to a worker that is none."""

    def __init__(self, number: int) -> None:
        ours, theirs = pair()
        now = time.monotonic()
        self.worker = WorkerProcess(number, 0, Channel(ours, takes_descriptors=False), -1, now, now)
        self._channel = Channel(theirs, takes_descriptors=True)

    def told(self) -> Message:
        """The next message."""
        assert wait([self._channel.fileno()], 10)
        received = self._channel.receive()
        assert received
        return {key: value for key, value in received[0].items() if key != "answer"}

    def fill(self) -> None:
        """Leave no room in its socket."""
        with pytest.raises(ChannelError, match=DOES_NOT_READ):
            while True:
                self.worker.channel.send({"kind": "Nothing"}, seconds=0.0)

    def empty(self) -> None:
        """Read all that is there."""
        while self._channel.receive() is not None:
            pass

    def close(self) -> None:
        self.worker.channel.close()
        self._channel.close()


@pytest.fixture
def workers() -> Iterator[tuple[Worker, Worker]]:
    made = Worker(0), Worker(1)
    yield made
    for worker in made:
        worker.close()


@pytest.fixture
def want(server: Server, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Have workers want the history, all at once, and wait until it was handed out."""
    file = tmp_path / "netd.yaml"
    file.write_text("services: {}\n")
    state, events, loop = State(load(file)), DaemonEvents(), server.loop
    sink = Sink(os.open(os.devnull, os.O_WRONLY))
    listeners = Listeners([], state.address_skipped, state.options_failed)

    def fork(number: int) -> WorkerProcess:
        raise AssertionError("no worker is started")

    async def install(worker: WorkerProcess) -> None:
        raise AssertionError("no worker is started")

    pool = WorkerPool(Tasks(loop), loop, events, fork, install, lambda number: 0, lambda worker, message: None)
    made = Status(state, listeners, pool, KernelDrops(state, listeners), events, sink, loop)

    def want(*workers: Worker) -> None:
        done = threading.Event()

        def all_of_them() -> None:
            for worker in workers:
                made.request_report(worker.worker, "history")
            loop.later(2 * TICK, done.set)  # a later slot of the wheel than that in which they are told

        loop.call(all_of_them)
        assert done.wait(10)

    yield want
    os.close(sink.descriptor)


def test_a_worker_that_wants_a_report_gets_it_again_and_again(
    want: Callable[..., None], workers: tuple[Worker, Worker]
) -> None:
    for _ in range(3):
        want(*workers)
        assert [worker.told() for worker in workers] == [TOLD, TOLD]


def test_a_worker_that_does_not_read_is_neither_waited_for_nor_ended(
    want: Callable[..., None], workers: tuple[Worker, Worker]
) -> None:
    deaf, other = workers
    deaf.fill()
    want(deaf, other)
    assert other.told() == TOLD
    assert not deaf.worker.disconnected
    deaf.empty()
    want(deaf)
    assert deaf.told() == TOLD, "what found no room has left no half of a message"
