"""The reports to workers, over a real channel."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netd.config.loader import load
from netd.daemon.channel import DOES_NOT_READ, Channel, ChannelError, Message, pair, wait
from netd.daemon.supervisor import status
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.crashes import Crashes
from netd.daemon.supervisor.kernel_drops import KernelDrops
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.status import Status
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Tasks
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.sink import Sink
from netd.transport.wheel import TICK
from tests.daemon.fakes import pool
from tests.support.server import Server

REPORT = {"kind": "Report", "report": "history"}


class Worker:
    """Both ends of a channel to a worker without a process."""

    def __init__(self, number: int) -> None:
        ours, theirs = pair()
        now = time.monotonic()
        self.worker = WorkerProcess(number, 0, Channel(ours, takes_descriptors=False), -1, now, now)
        self._channel = Channel(theirs, takes_descriptors=True)

    def next_message(self) -> Message:
        """The next message."""
        assert wait([self._channel.fileno()], 10)
        received = self._channel.receive()
        assert received
        return {key: value for key, value in received[0].items() if key != "answer"}

    def fill(self) -> None:
        """Fill its socket buffer."""
        with pytest.raises(ChannelError, match=DOES_NOT_READ):
            while True:
                self.worker.channel.send({"kind": "Nothing"}, seconds=0.0)

    def empty(self) -> None:
        """Read all messages."""
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
def request_reports(server: Server, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Request the history for these workers at once, and wait until it was sent."""
    file = tmp_path / "netd.yaml"
    file.write_text("services: {}\n")
    state, events, loop = State(load(file)), DaemonEvents(), server.loop
    sink = Sink(os.open(os.devnull, os.O_WRONLY))
    listeners = Listeners([], state.address_skipped, state.options_failed)

    def fork(number: int) -> WorkerProcess:
        raise AssertionError("no worker is started")

    async def sync(worker: WorkerProcess) -> None:
        raise AssertionError("no worker is started")

    pool = WorkerPool(
        Tasks(loop), loop, events, fork, sync, lambda number: 0, lambda worker, message: None, lambda worker, stack: {}
    )
    made = Status(state, listeners, pool, Crashes(list), KernelDrops(state, listeners), events, sink, loop)

    def request_reports(*workers: Worker) -> None:
        done = threading.Event()

        def request_all() -> None:
            for worker in workers:
                made.request_report(worker.worker, "history")
            loop.later(2 * TICK, done.set)  # a later slot of the wheel than that of the reports

        loop.call(request_all)
        assert done.wait(10)

    yield request_reports
    os.close(sink.descriptor)


@pytest.mark.slow
def test_worker_gets_a_report_for_each_request(
    request_reports: Callable[..., None], workers: tuple[Worker, Worker]
) -> None:
    for _ in range(3):
        request_reports(*workers)
        assert [worker.next_message() for worker in workers] == [REPORT, REPORT]


@pytest.mark.slow
def test_worker_that_does_not_read_reports_is_neither_waited_for_nor_aborted(
    request_reports: Callable[..., None], workers: tuple[Worker, Worker]
) -> None:
    full, other = workers
    full.fill()
    request_reports(full, other)
    assert other.next_message() == REPORT
    assert not full.worker.disconnected
    full.empty()
    request_reports(full)
    assert full.next_message() == REPORT, "the report that was not sent left no part of a message"


def test_unix_time_of_the_start_follows_the_clock_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    before = status.since_1970()
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    assert round(status.since_1970() - before) == 3600, "the clock was set an hour ahead"


def test_service_that_a_reload_removes_while_its_traffic_is_counted_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services: {echo: {listen: [tcp://127.0.0.1:0]}}\n")
    state = State(load(file))
    listeners = Listeners([], state.address_skipped, state.options_failed)
    sink = Sink(os.open(os.devnull, os.O_WRONLY))
    with pool() as made:
        made.start(1)
        drops = KernelDrops(state, listeners)
        current = Status(state, listeners, made.pool, Crashes(list), drops, DaemonEvents(), sink, made.loop).current
        known = made.tasks.start(current("echo"))
        made.loop.settle()
        assert [one["service"] for one in known.get()["services"]] == ["echo"]
        removed = made.tasks.start(current("echo"))
        assert not removed.done, "it waits for the worker"
        file.write_text("services: {}\n")
        state.apply(load(file), {})
        made.loop.settle()
        with pytest.raises(CommandError, match="there is no service 'echo'"):
            removed.get()
    os.close(sink.descriptor)
