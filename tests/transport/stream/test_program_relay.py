"""Connections that a program serves through this process. The launcher is this test."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, connect, ended
from tests.transport.stream.programs import Relayed


@pytest.fixture
def relayed(server: Server) -> Iterator[Relayed]:
    made = Relayed(server)
    yield made
    made.close()


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
