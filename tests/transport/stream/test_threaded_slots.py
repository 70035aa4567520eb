"""The threads of request handlers: how many there are, when one is taken, and that each is released once."""

import contextlib
import errno
import os
import select
import socket
import struct
import threading
from dataclasses import replace
from typing import Any

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.admission.threads import ThreadSlots
from netd.shared.table import Table
from netd.transport.stream import connection as connection_module
from netd.transport.stream import threaded
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.sample_services import DENY, Finger, Quiet
from tests.transport.stream.peers import connect, ended, failed
from tests.transport.stream.threads import MOST_THREADS, Function, outcomes, threads


def test_threads_are_bounded_and_released(server: Server, log: list[dict[str, Any]]) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0")
    waiting = [connect(address) for _ in range(MOST_THREADS)]
    until(lambda: events.counters.active == MOST_THREADS)
    assert threads() == MOST_THREADS
    with connect(address) as one_too_many:
        assert one_too_many.recv(1) == b""
    assert events.counters.refused == {"threads": 1}
    assert [line["reason"] for line in log if line["event"] == "connection_refused"] == ["threads"]
    for connection in waiting:
        connection.close()
    until(lambda: events.counters.active == 0)
    with connect(address) as connection:
        connection.sendall(b"again\n")
        assert read_all(connection) == b"AGAIN\n"


def test_connection_that_is_refused_for_lack_of_a_thread_takes_no_token(server: Server) -> None:
    rate = f"1/h burst {MOST_THREADS + 2}"
    address, events = server.add(Finger(), "tcp://127.0.0.1:0", per_source="off", rate=rate, total_rate=rate, exempt=[])
    waiting = [connect(address) for _ in range(MOST_THREADS)]
    until(lambda: events.counters.active == MOST_THREADS)
    for _ in range(5):
        with connect(address) as one_too_many:
            assert one_too_many.recv(1) == b""
    assert events.counters.refused == {"threads": 5}
    for connection in waiting:
        connection.close()
    until(lambda: events.counters.active == 0)
    for _ in range(2):
        with connect(address) as connection:
            connection.sendall(b"again\n")
            assert read_all(connection) == b"AGAIN\n"


def test_connection_that_epoll_rejects_releases_its_ticket_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded, "FIRST_BYTE_TIMEOUT", 0.2)
    address, events = server.add(Quiet(), "tcp://127.0.0.1:0")

    class FullEpoll:
        """At fs.epoll.max_user_watches (epoll(7)), which is a limit of the whole host."""

        def __init__(self, inner: select.epoll) -> None:
            self._inner = inner

        def register(self, descriptor: int, mask: int) -> None:
            raise OSError(errno.ENOSPC, "no room for another watch")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    with monkeypatch.context() as full:
        full.setattr(server.loop, "_epoll", FullEpoll(server.loop._epoll))
        with connect(address) as connection:
            assert connection.recv(1) == b""
    until(lambda: failed(events, 1))
    until(lambda: not server.servers[0].connections)  # type: ignore[union-attr]
    server.settle()
    assert (events.counters.active, sum(server.shared.daemon_limits.active)) == (0, 0)


def test_connection_is_admitted_before_it_gets_a_thread(server: Server) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0", policy=DENY)
    with connect(address) as connection:
        assert connection.recv(1) == b""
    assert events.counters.refused == {"access": 1}
    assert events.counters.accepted == 0


def test_client_that_speaks_first_gets_a_thread_at_its_first_octet(server: Server) -> None:
    address, events = server.add(Quiet(), "tcp://127.0.0.1:0")
    silent = [connect(address) for _ in range(2 * MOST_THREADS)]
    until(lambda: events.counters.active == 2 * MOST_THREADS)
    assert threads() == 0
    with connect(address) as connection:
        connection.sendall(b"hello\n")
        assert read_all(connection) == b"HELLO\n"
    silent[0].sendall(b"now\n")
    assert read_all(silent[0]) == b"NOW\n"
    for connection in silent:
        connection.close()
    until(lambda: events.counters.active == 0)
    assert events.counters.refused == {}
    assert outcomes(events) == {"done": 2 * MOST_THREADS + 1}


def test_client_that_speaks_first_and_closes_instead_gets_no_thread(server: Server) -> None:
    address, events = server.add(Quiet(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        until(lambda: events.counters.active == 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"reset": 1}


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
def test_client_that_speaks_while_all_threads_are_taken_is_refused(
    server: Server, log: list[dict[str, Any]], tmp_path: Any, url: str
) -> None:
    address, events = server.add(Quiet(), url.format(tmp=tmp_path))
    connections = [connect(address) for _ in range(MOST_THREADS + 1)]
    until(lambda: events.counters.active == MOST_THREADS + 1)
    late, *early = connections
    for connection in early:
        connection.sendall(b"x")
    until(lambda: threads() == MOST_THREADS)
    late.sendall(b"x")
    with contextlib.suppress(ConnectionResetError):  # its input is not read
        assert late.recv(1) == b""
    until(lambda: ended(events, 1))
    assert events.counters.refused == {"threads": 1}
    assert outcomes(events) == {"done": 1}
    [line] = [line for line in log if line["event"] == "connection_refused"]
    assert line["source"] == ("127.0.0.1" if "tcp" in url else f"uid={os.geteuid()}")
    for connection in early:
        connection.sendall(b"\n")
        assert read_all(connection) == b"X\n"
    for connection in connections:
        connection.close()
    until(lambda: events.counters.active == 0)


@pytest.mark.slow  # waits for a time-out
def test_client_that_speaks_first_and_is_silent_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threaded, "FIRST_BYTE_TIMEOUT", 0.2)
    address, events = server.add(Quiet(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert (outcomes(events), events.counters.checks) == ({"lifetime": 1}, 1)
    with connect(address) as connection:
        connection.sendall(b"x")
        assert not select.select([connection], [], [], 0.5)[0], "after the first octet limits.lifetime applies"
        connection.sendall(b"\n")
        assert read_all(connection) == b"X\n"


@pytest.mark.parametrize("service", [Finger, Quiet])
@pytest.mark.parametrize(("limit", "outcome"), [("idle", "idle"), ("lifetime", "lifetime")])
def test_thread_of_a_silent_peer_is_released(server: Server, service: type, limit: str, outcome: str) -> None:
    address, events = server.add(service(), "tcp://127.0.0.1:0", policy={"limits": {limit: "200ms"}})
    with connect(address) as connection:
        assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert outcomes(events) == {outcome: 1}


def test_thread_of_a_peer_that_sends_slowly_is_released(server: Server) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0", lifetime="300ms", idle="10s")
    with connect(address) as connection, pytest.raises(ConnectionError):
        while True:
            connection.sendall(b"x")
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"lifetime": 1}


@pytest.mark.slow  # fills all buffers
def test_thread_of_a_peer_that_does_not_read_is_released(server: Server) -> None:
    address, events = server.add(
        Function(lambda request: request.sendall(bytes(2**26))), "tcp://127.0.0.1:0", idle="1s"
    )
    with connect(address):
        until(lambda: ended(events, 1))
    assert outcomes(events) == {"idle": 1}
    assert 0 < events.counters.bytes_out < 2**26


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_connection_for_which_no_thread_starts_is_closed_and_released(
    server: Server, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0")

    def refuse(thread: threading.Thread) -> None:
        raise error("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", refuse)
        with connect(address) as connection:
            assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"failed": 1}
    assert [line["error"] for line in log if line["event"] == "accept_paused"] == ["can't start new thread"]
    with connect(address) as connection:
        connection.sendall(b"again\n")
        assert read_all(connection) == b"AGAIN\n"


class CountedSlots(ThreadSlots):
    """Slots that count their acquisitions and releases."""

    def __init__(self) -> None:
        super().__init__(MOST_THREADS, Table(), DaemonAdmission())
        self._table.workers = 1
        self.given = self.given_back = 0

    def acquire(self) -> bool:
        is_taken = super().acquire()
        self.given += is_taken
        return is_taken

    def release(self) -> None:
        super().release()
        self.given_back += 1


@pytest.mark.parametrize("service", [Finger, Quiet])
@pytest.mark.parametrize(
    "end",
    [
        "answered",
        "reset",
        "kicked",
        "kicked twice",
        "idle",
        "closed by its handler",
        "lent",
        "abandoned",
        "server closed",
    ],
)
def test_thread_slot_is_released_once_however_a_connection_ends(
    monkeypatch: pytest.MonkeyPatch, service: type[Any], end: str
) -> None:
    monkeypatch.setattr(connection_module, "_LINGER", 0.2)
    lent: list[socket.socket] = []

    class Strange(service):  # type: ignore[misc]
        """Its handler reads an octet, and then does something to the socket instead of answering."""

        def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
            request.recv(1)
            if end == "lent":
                lent.append(request)
            else:
                request.close()
            return None

    with Server() as running:
        kind = Strange if end in ("closed by its handler", "lent") else service
        address, events = running.add(kind(), "tcp://127.0.0.1:0", idle="300ms" if end == "idle" else "1m")
        [one] = running.servers
        assert isinstance(one, StreamServer)
        assert one.connections.threads
        slots = CountedSlots()
        one.connections.threads = replace(one.connections.threads, slots=slots)
        with connect(address) as client:
            client.sendall(b"x")
            until(lambda: slots.given)
            if end == "answered":
                client.sendall(b"\n")
                assert read_all(client) == b"X\n"
            elif end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif "kicked" in end:
                [connection] = one.connections
                for _ in range(end.count(" ") + 1):
                    running.loop.call(lambda: connection.close("kicked"))
            elif end == "lent":
                until(lambda: lent)
                lent[0].close()
            elif end == "abandoned":
                running.loop.call(one.close)
            elif end == "server closed":
                running.loop.call(running.loop.stop)
                until(lambda: not running._thread.is_alive())
                one.close()
        until(lambda: ended(events, 1))
        until(lambda: threads() == 0)
        if end != "server closed":
            running.settle()
    assert (slots.given, slots.given_back, slots.taken) == (1, 1, 0)


def test_client_sees_the_end_when_its_thread_is_free_for_the_next_one(server: Server) -> None:
    reached, returns, goes_on = threading.Event(), threading.Event(), threading.Event()

    def handle(request: socket.socket) -> None:
        while request.recv(10):
            pass
        reached.set()
        assert returns.wait(20)

    address, events = server.add(Function(handle), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert reached.wait(20)
        server.loop.call(lambda: goes_on.wait(20))  # nothing frees the slot meanwhile
        returns.set()
        until(lambda: threads() == 0)
        assert not select.select([connection], [], [], 0)[0]
        goes_on.set()
        assert connection.recv(1) == b""
        assert events.counters.threads == 0


def test_thread_serves_the_next_connection(server: Server) -> None:
    served: list[threading.Thread] = []
    address, events = server.add(
        Function(lambda request: served.append(threading.current_thread())), "tcp://127.0.0.1:0"
    )
    for number in range(1, 4):
        with connect(address) as connection:
            assert connection.recv(1) == b""
        until(lambda number=number: ended(events, number))  # type: ignore[misc]
        until(lambda: threads() == 0)
    assert len(set(served)) == 1
