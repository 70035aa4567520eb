"""Relays that begin with the first octet: programs with `wait_for_data`, bare and behind a wrapped stream."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, connect, ended
from tests.transport.stream.programs import Relayed
from tests.transport.stream.toy_preambles import TRANSFORMED, xor

BOTH_WAYS = pytest.mark.parametrize("preambles", [NO_PREAMBLES, TRANSFORMED], ids=["bare", "wrapped"])


@contextlib.contextmanager
def waiting(server: Server, preambles: Preambles, seconds: str) -> Iterator[Relayed]:
    relayed = Relayed(server, preambles, wait_for_data=seconds)
    yield relayed
    relayed.close()


def client_of(relayed: Relayed, preambles: Preambles, first: bytes = b"") -> socket.socket:
    """A client that sends this, behind a handshake together with it."""
    client = connect(relayed.address)
    client.sendall(b"XOR\n" + xor(first) if preambles.transforming else first)
    assert not preambles.transforming or read_exactly(client, 3) == b"OK\n"
    return client


@BOTH_WAYS
def test_program_begins_with_the_first_octet(server: Server, preambles: Preambles) -> None:
    code = xor if preambles.transforming else bytes
    with waiting(server, preambles, "60s") as relayed, client_of(relayed, preambles) as client:
        server.settle()
        assert not relayed.launcher.ends
        client.sendall(code(b"x"))
        until(lambda: relayed.launcher.ends)
        assert read_exactly(relayed.launcher.ends[0], 1) == b"x"
        relayed.launcher.ends[0].sendall(b"answer")
        relayed.end()
        assert read_all(client) == code(b"answer")
    until(lambda: ended(relayed.events, 1))
    until(lambda: server.loop.wheel.due == float("inf"))


def test_octet_that_comes_with_the_handshake_is_the_first(server: Server) -> None:
    with waiting(server, TRANSFORMED, "60s") as relayed, client_of(relayed, TRANSFORMED, b"x"):
        until(lambda: relayed.launcher.ends)
        assert read_exactly(relayed.launcher.ends[0], 1) == b"x"
        relayed.end()
    until(lambda: ended(relayed.events, 1))


@BOTH_WAYS
@pytest.mark.parametrize("leaves", ["done", "reset"])
def test_client_that_leaves_without_an_octet_costs_nothing(server: Server, preambles: Preambles, leaves: str) -> None:
    with waiting(server, preambles, "60s") as relayed:
        client = client_of(relayed, preambles)
        if leaves == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        until(lambda: ended(relayed.events, 1))
        assert relayed.events.counters.closed == {leaves: 1}
        assert not relayed.launcher.ends


@BOTH_WAYS
def test_silent_client_is_waited_for_as_long_as_the_service_says(server: Server, preambles: Preambles) -> None:
    with waiting(server, preambles, "50ms") as relayed, client_of(relayed, preambles):
        until(lambda: relayed.launcher.ends)
        relayed.end()
    until(lambda: ended(relayed.events, 1))
