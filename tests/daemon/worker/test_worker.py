"""A worker that runs in a thread of this process, and its responses to the supervisor."""

import array
import fcntl
import os
import socket
import termios
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from netd.daemon.channel import Channel, pair, wait
from netd.daemon.messages import from_worker
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    Abort,
    Attach,
    Commit,
    Drain,
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    Order,
    Report,
    Request,
    Retire,
    SetBans,
    SetDaemonLimits,
    StartTrace,
    Stop,
    StopTrace,
)
from netd.daemon.messages.from_worker import (
    Alive,
    Busy,
    ConnectionList,
    Done,
    Failed,
    Kicked,
    Offender,
    PeerList,
    TraceLines,
)
from netd.daemon.worker.worker import Worker
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.shared.daemon_limits import DaemonLimits
from netd.telemetry.sink import Sink
from tests.daemon.worker.prepare import Memory
from tests.support.descriptors import copies
from tests.support.waiting import until


class RunningWorker:
    """A worker in a thread, and the supervisor's end of its channel."""

    def __init__(self, log: Path) -> None:
        ours, theirs = pair()
        self.channel = Channel(ours, takes_descriptors=False)
        self.memory = Memory()
        self.exit_code: int | None = None
        self._theirs = theirs
        self._log = log.open("wb")
        self._last_request = 0
        self.worker = Worker(0, Channel(theirs, takes_descriptors=True), Sink(self._log.fileno()))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.exit_code = self.worker.run()

    def receive(self) -> dict[str, Any]:
        """The next message of the worker, as JSON."""
        assert wait([self.channel.fileno()], 10)
        received = self.channel.receive()
        assert received
        return received[0]

    def message(self) -> Any:
        """The next message of the worker."""
        return from_worker.decode(self.receive())[1]

    def ask(self, request: Request[Any], descriptors: Sequence[int] = ()) -> Any:
        """The response to a request. The worker gets copies of the descriptors."""
        self._last_request += 1
        self.channel.send_encoded(encode(request), descriptors, request=self._last_request)
        number, response = from_worker.decode(self.receive())
        assert number == self._last_request
        return response

    def order(self, order: Order) -> None:
        self.channel.send_encoded(encode(order))

    def serve(self, *services: str) -> None:
        """Serve services of these types, without listeners."""
        limits = DaemonLimits()
        assert self.ask(SetDaemonLimits(), [limits.descriptor]) == Done()
        limits.close_descriptor()
        message, descriptors = self.memory.prepare(*(self.memory.entry(name) for name in services))
        self._last_request += 1
        self.channel.send_encoded(encode(message), descriptors, request=self._last_request)
        for descriptor in descriptors:
            os.close(descriptor)
        assert self.message() == Busy(), "sent before the services are built"
        assert self.message() == Done()
        assert self.ask(Commit()) == Done()

    def attach(self, service: str) -> tuple[socket.socket, Any]:
        """A client that is attached to a service, and the response."""
        ours, theirs = socket.socketpair()
        with theirs:
            response = self.ask(Attach(service), [theirs.fileno()])
        ours.settimeout(10)
        return ours, response

    def close(self) -> None:
        self.channel.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.worker._reserved.release()
        self.worker._loop.close()
        self._theirs.close()
        self._log.close()
        self.memory.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningWorker]:
    made = RunningWorker(tmp_path / "log")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("message", "descriptors", "problem"),
    [
        ({"kind": "Nothing"}, 0, "unknown message kind 'Nothing'"),
        ({"kind": "Commit", "what": 1}, 0, "Commit: 'what': Unexpected keyword argument"),
        ({"kind": "Heartbeat"}, 1, "Heartbeat: 0 descriptors expected, got 1"),
        ({"kind": "Attach", "service": "echo"}, 2, "Attach: 1 descriptors expected, got 2"),
    ],
)
def test_worker_logs_an_invalid_request_once_responds_with_an_error_and_continues(
    running: RunningWorker, log: list[dict[str, Any]], message: dict[str, Any], descriptors: int, problem: str
) -> None:
    file = os.memfd_create("x")
    for request in (1, 2):
        running.channel.send({**message, "request": request}, [file] * descriptors)
        assert running.receive() == {"kind": "Failed", "request": request, "error": f"a bug in netd: {problem}"}
    assert copies(file) == 1, "the worker closes the descriptors"
    os.close(file)
    assert running.ask(Heartbeat()) == Alive(0)
    assert [(line["event"], line["error"]) for line in log] == [("request_rejected", problem)]


def unread(end: socket.socket) -> int:
    """Octets that wait in a socket."""
    number = array.array("i", [0])
    fcntl.ioctl(end, termios.FIONREAD, number)
    return number[0]


def test_preparation_is_announced_where_the_channel_was_full(running: RunningWorker) -> None:
    """Else the supervisor takes a worker to hang that builds its services for long."""
    filling = 0
    while running.worker._send(Offender("c0000207", "echo", "rate")):
        filling += 1
    message, descriptors = running.memory.prepare()
    running.channel.send_encoded(encode(message), descriptors, request=1)
    for descriptor in descriptors:
        os.close(descriptor)
    until(lambda: not unread(running._theirs))
    for _ in range(filling):
        assert isinstance(running.message(), Offender)
    assert running.message() == Busy()
    assert running.message() == Done()


def test_worker_exits_when_the_channel_is_closed(running: RunningWorker) -> None:
    running.channel.close()
    running.thread.join(10)
    assert running.exit_code == EXIT_OK


def test_worker_stops_at_once_when_it_is_ordered_to(running: RunningWorker) -> None:
    running.serve("echo")
    client, _ = running.attach("echo")
    running.order(Stop())
    running.thread.join(10)
    assert running.exit_code == EXIT_OK
    assert client.recv(1) == b""
    client.close()


def test_worker_with_a_bug_in_its_loop_logs_it_and_exits_with_code_70(
    running: RunningWorker, log: list[dict[str, Any]]
) -> None:
    running.worker._loop.call(lambda: 1 / 0)
    running.order(Abort())  # wakes the loop
    running.thread.join(10)
    assert running.exit_code == EXIT_SOFTWARE == 70
    assert [line["event"] for line in log] == ["netd_failed"]


def test_order_has_no_response(running: RunningWorker) -> None:
    running.order(Abort())
    running.order(StopTrace(1))
    assert running.ask(Heartbeat()) == Alive(0)


def test_talked_client_is_served_listed_and_kicked(running: RunningWorker) -> None:
    running.serve("echo", "upper")
    client, response = running.attach("upper")
    assert response == Done()
    client.sendall(b"hello\n")
    assert client.recv(10) == b"HELLO\n"
    listed = running.ask(ListConnections())
    assert isinstance(listed, ConnectionList)
    assert [(row.service, row.bytes_in, row.bytes_out) for row in listed.connections] == [("upper", 6, 6)]
    peers = running.ask(ListPeers())
    assert isinstance(peers, PeerList)
    assert (peers.total, [row.connections for row in peers.peers]) == (1, [1])
    assert running.ask(Kick(service="echo")) == Kicked(0)
    assert running.ask(Kick(service="upper")) == Kicked(1)
    assert client.recv(1) == b""
    client.close()


def test_client_is_not_attached_to_a_service_that_is_off_or_serves_no_streams(running: RunningWorker) -> None:
    running.serve("metrics")
    for name, error in (
        ("echo", "'echo' is switched off"),
        ("metrics", "'metrics' serves no streams that netd talk can attach to"),
    ):
        client, response = running.attach(name)
        assert response == Failed(error)
        assert client.recv(1) == b""
        client.close()


def test_bans_are_set_and_lifted(running: RunningWorker) -> None:
    running.serve("echo")
    banned = running.worker._config.shared.banned
    assert running.ask(SetBans({"c0000207": 2.0**40, "c0000208": 2.0**40})) == Done()
    assert running.ask(SetBans({"c0000208": None})) == Done()
    assert banned == {bytes.fromhex("c0000207"): 2.0**40}


def test_trace_of_a_service_sends_lines_until_it_is_stopped(running: RunningWorker) -> None:
    running.serve("echo")
    assert running.ask(StartTrace(7, "echo", "")) == Done()
    client, _ = running.attach("echo")
    client.sendall(b"x")
    ways: list[str] = []
    while "in" not in ways:
        lines = running.message()
        assert isinstance(lines, TraceLines)
        assert lines.trace == 7
        ways += [line[1] for line in lines.lines]
    assert ways[0] == "opened"
    client.close()


def test_draining_worker_exits_after_its_last_connection(running: RunningWorker) -> None:
    running.serve("echo")
    client, _ = running.attach("echo")
    running.order(Drain(leave=False))
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    assert running.exit_code is None
    client.close()
    running.thread.join(10)
    assert running.exit_code == EXIT_OK


def test_connections_of_a_retired_service_are_closed_after_its_drain(running: RunningWorker) -> None:
    running.serve("echo", "upper")
    retired, _ = running.attach("echo")
    kept, _ = running.attach("upper")
    running.order(Retire({"echo": 0.0}))
    assert retired.recv(1) == b""
    kept.sendall(b"a\n")
    assert kept.recv(9) == b"A\n"
    retired.close()
    kept.close()


def test_report_of_the_supervisor_reaches_the_thread_that_requested_it(running: RunningWorker) -> None:
    received: list[Any] = []
    thread = threading.Thread(target=lambda: received.append(running.worker._status_client.request("status")))
    thread.start()
    assert running.message() == from_worker.ReportWanted("status")
    running.order(Report("status", {"pid": 1}))
    thread.join(10)
    assert received == [{"pid": 1}]
