"""Blocking handlers behind a wrapped stream."""

import contextlib
import socket
from functools import partial
from typing import Any

import pytest

from netd.admission.limits import Limits
from netd.transport.stream import threaded_relay
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended, failed
from tests.transport.stream.toy_preambles import TRANSFORMED, xor


class Upper:
    """Answers one segment in upper case."""

    client_speaks_first = False

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        self.seen = client_address
        request.sendall(request.recv(100).upper())


class Late(Upper):
    """As `Upper`, with a thread only once input has come."""

    client_speaks_first = True


class Into(Upper):
    """As `Upper`, into a buffer, with the parameters named as those of a plain socket."""

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        self.seen = client_address
        buffer = bytearray(100)
        request.sendall(buffer[: request.recv_into(buffer, nbytes=100, flags=0)].upper())


class Failing:
    """Sends a word, and fails."""

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"before")
        raise ZeroDivisionError("oops")


def handshake(address: Any) -> socket.socket:
    client = connect(address)
    client.sendall(b"XOR\n")
    assert read_exactly(client, 3) == b"OK\n"
    return client


@pytest.mark.parametrize("kind", [Upper, Late, Into])
def test_handler_has_a_socket_and_the_address_of_its_client(server: Server, kind: type[Upper]) -> None:
    service = kind()
    address, events = server.add(service, "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    with handshake(address) as client:
        own = client.getsockname()
        client.sendall(xor(b"hello"))
        assert read_all(client) == xor(b"HELLO")
    until(partial(ended, events, 1))
    assert service.seen == own
    assert dict(events.counters.closed) == {"done": 1}


def test_thread_starts_with_the_first_octet_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded_relay, "FIRST_BYTE_TIMEOUT", 0.2)
    address, events = server.add(Late(), "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    threads = server.servers[0].connections.threads  # type: ignore[union-attr]
    assert threads
    with handshake(address) as silent:
        assert not threads.slots.taken
        assert silent.recv(1) == b""
    with handshake(address) as leaving:
        leaving.shutdown(socket.SHUT_WR)
        assert leaving.recv(1) == b""
    until(partial(ended, events, 2))
    assert dict(events.counters.closed) == {"lifetime": 1, "done": 1}


def test_handler_that_fails_is_a_bug_and_what_it_sent_arrives(server: Server) -> None:
    address, events = server.add(Failing(), "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    with handshake(address) as client:
        assert read_all(client) == xor(b"before")
    until(partial(failed, events, 1))
    until(partial(ended, events, 1))
    assert dict(events.counters.closed) == {"failed": 1}


def test_threads_are_bounded_and_released(server: Server) -> None:
    address, events = server.add(Late(), "tcp://127.0.0.1:0", preambles=TRANSFORMED)
    threads = server.servers[0].connections.threads  # type: ignore[union-attr]
    assert threads
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(handshake(address)) for _ in range(2)]
        slots = threads.slots
        server.loop.call(lambda: [slots.acquire() for _ in range(Limits().threads)])
        clients[0].sendall(xor(b"hello"))
        with contextlib.suppress(ConnectionError):
            assert clients[0].recv(1) == b""
        until(lambda: events.counters.refused == {"threads": 1})
        server.loop.call(lambda: [slots.release() for _ in range(Limits().threads)])
        clients[1].sendall(xor(b"hello"))
        assert read_all(clients[1]) == xor(b"HELLO")
    until(partial(ended, events, 2))
    until(lambda: not threads.slots.taken)
