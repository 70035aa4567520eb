"""What a worker sends that it may not: it is told as a fault of that worker, and starts nothing."""

import os
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netd.daemon.messages.programs import (
    Lost,
    Start,
    Started,
    Stop,
)
from netd.daemon.packets import LONGEST
from tests.daemon.launcher.examples import program
from tests.daemon.launcher.launched import Launched, Worker, opened


def descriptor_of(kind: str, made: list[Any]) -> int:
    """A descriptor that is no connection; ``made`` keeps it open."""
    match kind:
        case "file":
            made.append(open(__file__, "rb"))  # noqa: SIM115
        case "directory":
            return os.open("/", os.O_RDONLY)
        case "pipe":
            reading, writing = os.pipe()
            made.append(os.fdopen(reading))
            return writing
        case "memory":
            return os.memfd_create("x")
        case "pidfd":
            return os.pidfd_open(os.getpid())
        case "udp":
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        case "seqpacket":
            made += socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        case "listener":
            made.append(socket.create_server(("127.0.0.1", 0)))
        case "unix listener":
            made.append(socket.socket(socket.AF_UNIX))
            made[-1].bind("")
            made[-1].listen()
        case "netlink":
            made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    return os.dup(made[-1].fileno())


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["file", "directory", "pipe", "memory", "pidfd", "udp", "seqpacket", "listener", "unix listener", "netlink"]
)
def test_descriptor_that_is_no_connection_is_a_fault_of_the_worker(
    launched: Launched, worker: Worker, kind: str
) -> None:
    launched.add(program("/bin/cat"))
    made: list[Any] = []
    descriptor = descriptor_of(kind, made)
    worker.send(Start(1, 1, {}), descriptor)
    before = opened()
    reason = worker.fault()
    assert reason.startswith("Start: a ")
    assert len(before - opened()) == 1, "its channel is closed"
    assert opened() <= before
    os.close(descriptor)
    assert len(launched.programs) == 0
    for one in made:
        one.close()


@pytest.mark.parametrize(("errors", "number"), [("null", 0), ("null", 2), ("log", 0), ("log", 1)])
def test_wrong_number_of_descriptors_is_a_fault_of_the_worker(
    launched: Launched, worker: Worker, errors: Any, number: int
) -> None:
    launched.add(program("/bin/cat", errors=errors))
    before = opened()
    with socket.socket() as one:
        worker.send(Start(1, 1, {}), *[one.fileno()] * number)
    assert worker.fault() == f"Start: {1 + (errors == 'log')} descriptors expected, got {number}"
    assert opened() < before


@pytest.mark.parametrize("gives", ["connection", "output"])
def test_standard_error_that_is_no_pipe_is_a_fault_of_the_worker(
    launched: Launched, worker: Worker, gives: Any
) -> None:
    launched.add(program("/bin/cat", errors="log", gives=gives))
    with socket.socket() as one, open(__file__) as file:
        worker.send(Start(1, 1, {}), one.fileno(), file.fileno())
    assert worker.fault() == "Start: a descriptor is no pipe"


@pytest.mark.parametrize(
    "packet",
    [b"?", b"{}", b"\0" * 100, Start(0, 1, {}).encode(), Started(1, 1).encode(), b"x" * LONGEST, b"x" * (LONGEST + 1)],
)
def test_garbage_is_a_fault_of_the_worker_alone(launched: Launched, worker: Worker, packet: bytes) -> None:
    launched.add(program("/bin/cat"))
    other = launched.workers[1]
    with other.start(1) as peer:
        worker.send(packet)
        assert len(worker.fault()) < 200
        assert isinstance(other.answer(), Started)
        peer.sendall(b"on")
        assert peer.recv(2) == b"on"


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(packets=st.lists(st.binary(min_size=1, max_size=60), max_size=5))
def test_any_packets_start_nothing_that_is_not_known(packets: list[bytes]) -> None:
    made = Launched()
    made.add(program("/bin/false", number=2**62))
    [worker, other] = made.workers
    for packet in packets:
        worker.send(packet)
    made.loop.turn()
    made.turn_until(lambda: made.lost or not packets)
    with other.start(1, number=2**62):
        assert isinstance(other.answer(), Started)
    made.close()


def test_number_of_a_start_that_runs_is_a_fault_of_the_worker(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    with worker.start(1), worker.start(1):
        assert worker.fault() == "start 1, which is not a new one"
        assert len(launched.programs) == 1, "it goes on"


def test_worker_that_was_a_fault_can_start_nothing_any_more(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    worker.send(b"?")
    with worker.start(1):
        assert worker.fault()
        launched.loop.turn()
        assert len(launched.programs) == 0


@pytest.mark.slow
def test_worker_that_does_not_read_has_no_more_started_and_no_more_kept_for_it(
    launched: Launched, worker: Worker
) -> None:
    launched.add(program("/no/such"))
    worker.client._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sent = 0
    with socket.socket() as one, pytest.raises(BlockingIOError):
        for sent in range(100_000):
            worker.send(Start(sent + 1, 1, {}), one.fileno())
            launched.loop.turn()
    assert sent < 2000
    assert len(worker.client._unsent) <= 1
    launched.turn_until(lambda: len(worker.read()) == sent)
    assert [one.start for one in worker.answers] == list(range(1, sent + 1))


LONG = Lost(7).encode() * 200
"""A packet that a channel with the least SO_SNDBUF refuses though it has room, as for lack of memory."""


def test_launcher_rests_while_there_is_no_memory_for_a_packet(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    ours = worker.client._channel._socket
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    number = 0
    while not worker.client._unsent:
        number += 1
        worker.client._send(Lost(number).encode())
    worker.client._send(LONG)
    launched.turn_until(lambda: len(worker.read()) == number and len(worker.client._unsent) == 1)
    worker.start(number).close()
    launched.loop.turn()
    assert not len(launched.programs), "nothing is read from a worker before it has been answered"
    ready = {descriptor for descriptor, _ in launched.loop._epoll.poll(0)}
    assert ours.fileno() not in ready, "the loop would turn without a pause"
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    launched.turn_until(lambda: len(worker.read()) == number + 202)
    assert isinstance(worker.answers[-2], Started)


def test_worker_that_exits_while_there_is_no_memory_for_a_packet_is_gone(launched: Launched, worker: Worker) -> None:
    worker.client._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    worker.client._send(LONG)
    worker.channel.close()
    launched.turn_until(lambda: launched.lost)
    assert launched.lost == [(0, "")]


def test_another_worker_is_served_beside_a_worker_that_sends_without_a_pause(
    launched: Launched, worker: Worker
) -> None:
    launched.add(program("/bin/cat"))
    other = launched.workers[1]
    with pytest.raises(BlockingIOError):
        while True:
            worker.send(Stop(7))
    with other.start(1) as peer:
        assert isinstance(other.answer(), Started)
        peer.sendall(b"on")
        assert peer.recv(2) == b"on"


def test_order_with_a_descriptor_is_a_fault_of_the_worker(launched: Launched, worker: Worker) -> None:
    before = opened()
    worker.send(Stop(1), 0)
    assert worker.fault() == "Stop with a descriptor"
    assert opened() < before
