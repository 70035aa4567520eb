"""Connections that a program serves through this process. The launcher is this test."""

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from netd.contract import Context, End
from netd.peer import Peer
from netd.services.exec import Exec
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, connect, ended


class Launcher:
    """Starts no programs: it keeps their ends of the socket pairs, and what is to be told of them."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.observers: list[Any] = []
        self.stopped = 0

    def start(self, peer: Peer, facts: Any, descriptors: Sequence[int], observer: Any) -> "Launcher":
        self.facts = facts
        self.ends.append(socket.socket(fileno=os.dup(descriptors[0])))
        self.ends[-1].settimeout(20)
        self.observers.append(observer)
        observer.sent()
        return self

    def stop(self) -> None:
        self.stopped += 1


class Relayed:
    """A service with programs behind a relay, on a server."""

    def __init__(self, server: Server, **options: object) -> None:
        self.server = server
        self.launcher = Launcher()
        given = Exec.Options.model_validate({"command": ["/bin/cat"], "relay": True, "stderr": "null", **options})
        service = Exec(given, Context(start=self.launcher.start))
        self.address, self.events = server.add(service, "tcp://127.0.0.1:0")

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the end of its program, which runs."""
        client = connect(self.address)
        until(lambda: self.launcher.ends)
        self.call(lambda: self.launcher.observers[0].started(4711))
        return client, self.launcher.ends[0]

    def call(self, function: Any) -> None:
        """Call a function in the loop."""
        self.server.loop.call(function)
        self.server.settle()

    def end(self, code: int | None = 0) -> None:
        """The program has ended."""
        self.launcher.ends[0].close()
        self.call(lambda: self.launcher.observers[0].ended(End(code, 1.0, 0.0, 0.0, 0, timed_out=False)))


@pytest.fixture
def relayed(server: Server) -> Iterator[Relayed]:
    made = Relayed(server)
    yield made
    for end in made.launcher.ends:
        end.close()


def test_octets_pass_both_ways_and_the_program_is_told_its_peer(relayed: Relayed) -> None:
    client, program = relayed.connect()
    with client:
        client.sendall(b"question")
        assert read_exactly(program, 8) == b"question"
        program.sendall(b"answer")
        assert read_exactly(client, 6) == b"answer"
        assert relayed.launcher.facts["TCPREMOTEPORT"] == str(client.getsockname()[1])
        client.shutdown(socket.SHUT_WR)
        assert read_all(program) == b""
        program.sendall(b"last")
        relayed.end()
        assert read_all(client) == b"last"
    until(lambda: ended(relayed.events, 1))
    assert relayed.events.counters.closed == {"done": 1}
    assert (relayed.events.counters.bytes_in, relayed.events.counters.bytes_out) == (8, 10)
    assert not relayed.launcher.stopped


def test_connection_has_its_place_until_the_program_has_ended(relayed: Relayed) -> None:
    client, program = relayed.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    until(lambda: relayed.launcher.stopped)
    assert read_all(program) == b""
    relayed.server.settle()
    assert relayed.events.counters.active == 1
    relayed.end(-15)
    until(lambda: ended(relayed.events, 1))
    assert relayed.events.counters.closed == {"reset": 1}
    assert not relayed.events.counters.active


def test_program_that_has_ended_leaves_its_socket_to_no_other_one(relayed: Relayed) -> None:
    client, program = relayed.connect()
    with client, program.dup():
        program.sendall(b"all")
        relayed.end()
        assert read_all(client) == b"all"
    until(lambda: ended(relayed.events, 1))


def test_program_that_was_not_started_ends_the_connection(relayed: Relayed) -> None:
    with connect(relayed.address) as client:
        until(lambda: relayed.launcher.observers)
        relayed.launcher.ends[0].close()
        relayed.call(lambda: relayed.launcher.observers[0].not_started("failed", "no such file"))
        assert read_all(client) == b""
    until(lambda: ended(relayed.events, 1))
    assert relayed.events.counters.closed == {"not_started": 1}


def test_program_waits_for_the_first_octet(server: Server) -> None:
    relayed = Relayed(server, wait_for_data="60s")
    connect(relayed.address).close()
    until(lambda: ended(relayed.events, 1))
    assert not relayed.launcher.ends, "a client that leaves without an octet costs no program"
    with connect(relayed.address) as client:
        client.sendall(b"x")
        until(lambda: relayed.launcher.ends)
        assert read_exactly(relayed.launcher.ends[0], 1) == b"x"
        relayed.end()
