"""Blocking request handlers on real sockets: threads are few, and each ends in limited time."""

import contextlib
import errno
import http.server
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.admission.limits import Limits
from netd.admission.threads import ThreadSlots
from netd.services.echo import Echo
from netd.shared.table import Table
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream import connection as connection_module
from netd.transport.stream import threaded
from netd.transport.stream.server import StreamServer
from tests.support.namespaces import in_namespace
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.sample_services import DENY, Finger, Quiet
from tests.transport.stream.peers import connect, ended, failed

MOST_THREADS = Limits().threads


class Function:
    """A service with a method as its handler."""

    def __init__(self, run: Callable[[socket.socket], object]) -> None:
        self._run = run

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
        return self._run(request)


def outcomes(events: ServiceEvents) -> dict[str, int]:
    return dict(events.counters.closed)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://*:0", "unix://{tmp}/s"])
def test_handler_of_the_standard_library_serves(
    server: Server, log: list[dict[str, Any]], tmp_path: Any, url: str
) -> None:
    address, events = server.add(Finger(), url.format(tmp=tmp_path))
    if url == "tcp://*:0":
        address = ("127.0.0.1", address[1])
    with connect(address) as connection:
        connection.sendall(b"hello\nand more that nobody reads\n")
        assert read_all(connection) == b"HELLO\n", "no reset took it away"
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"done": 1}
    assert events.counters.active == 0
    [line] = [line for line in log if line["event"] == "connection_closed"]
    assert line["bytes_out"] == 6
    assert line["bytes_in"] >= 6


class Web:
    """A service with a handler of http.server, which logs the host of its client."""

    def __init__(self) -> None:
        self.clients = clients = list[Any]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_error(404)

            def log_message(self, *arguments: object) -> None:
                clients.append((self.address_string(), self.client_address))

        self._handler = Handler

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> object:
        return self._handler(request, client_address, server)


@pytest.mark.parametrize("has_path", [False, True])
def test_handler_gets_the_peer_of_a_unix_connection_as_host_and_port(
    server: Server, tmp_path: Any, has_path: bool
) -> None:
    web = Web()
    address, events = server.add(web, f"unix://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as connection:
        if has_path:
            connection.bind(f"{tmp_path}/client")
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.0 404 ")
    until(lambda: ended(events, 1))
    assert events.counters.failed == 0
    host = f"{tmp_path}/client" if has_path else f"pid={os.getpid()},uid={os.getuid()},gid={os.getgid()}"
    assert set(web.clients) == {(host, (host, 0))}


def test_many_clients_at_once_are_all_served(server: Server) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0")
    connections = [connect(address) for _ in range(MOST_THREADS)]
    for number, connection in reversed(list(enumerate(connections))):
        connection.sendall(b"from %d\n" % number)
        assert read_all(connection) == b"FROM %d\n" % number
        connection.close()
    until(lambda: ended(events, MOST_THREADS))
    assert events.counters.accepted == MOST_THREADS


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


def threads() -> int:
    return sum(thread.name == "netd-test" for thread in threading.enumerate())


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


def test_octets_are_bounded(server: Server) -> None:
    address, events = server.add(
        Function(lambda request: [request.recv(100) for _ in range(100)]), "tcp://127.0.0.1:0", bytes=1000
    )
    with connect(address) as connection:
        connection.sendall(bytes(5000))
        until(lambda: ended(events, 1))
    assert outcomes(events) == {"bytes": 1}
    assert events.counters.bytes_in == 1100


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit(3), FileNotFoundError("no file")])
def test_bug_in_a_handler_costs_one_connection_and_is_one_event(
    server: Server, log: list[dict[str, Any]], error: BaseException
) -> None:
    def fail(request: socket.socket) -> None:
        if request.recv(10) == b"fail":
            raise error

    address, events = server.add(Function(fail), "tcp://127.0.0.1:0")
    for words in (b"fail", b"fail", b"well"):
        with connect(address) as connection:
            connection.sendall(words)
            assert connection.recv(1) == b""
    until(lambda: ended(events, 3))
    assert outcomes(events) == {"failed": 2, "done": 1}
    assert events.counters.failed == 2
    assert [line["event"] for line in log if line["level"] == "error"] == ["conversation_failed"]


def test_peer_that_resets_the_connection_is_no_failure(server: Server, log: list[dict[str, Any]]) -> None:
    def talk(request: socket.socket) -> None:
        while True:
            request.sendall(b"x" * 1000)

    address, events = server.add(Function(talk), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.recv(1)
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"reset": 1}
    assert not [line for line in log if line["level"] == "error"]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNREFUSED])
def test_handler_that_cannot_reach_another_server_has_failed(
    server: Server, log: list[dict[str, Any]], tmp_path: Any, url: str, number: int
) -> None:
    def fail(request: socket.socket) -> None:
        request.recv(10)
        raise OSError(number, os.strerror(number))

    address, events = server.add(Function(fail), url.format(tmp=tmp_path))
    with connect(address) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"failed": 1}
    assert [line["event"] for line in log if line["level"] == "error"] == ["conversation_failed"]


def test_client_that_vanishes_under_a_handler_is_no_failure(log: list[dict[str, Any]]) -> None:
    failures: list[OSError] = []

    def talk(request: socket.socket) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        try:
            while True:
                request.sendall(b"x" * 1000)
        except OSError as error:
            failures.append(error)
            raise

    def run() -> None:
        with Server() as server:
            address, events = server.add(Function(talk), "tcp://127.0.0.1:0", idle="off", lifetime="off", bytes="off")
            with connect(address) as connection:
                connection.recv(1)
                subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
                until(lambda: ended(events, 1))
            assert [error.errno for error in failures] == [errno.ETIMEDOUT]
            assert outcomes(events) == {"idle": 1}
            assert events.counters.failed == 0

    in_namespace(run)


def test_handler_may_close_the_socket_itself(server: Server) -> None:
    address, events = server.add(Function(lambda request: request.close()), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert connection.recv(1) == b""
    until(lambda: ended(events, 1))
    assert events.counters.active == 0
    server.settle()


def test_socket_that_another_thread_closes_affects_no_other_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_LINGER", 0.2)
    lent: list[socket.socket] = []
    address, events = server.add(Function(lent.append), "tcp://127.0.0.1:0")
    elsewhere, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    with connect(address) as connection, connect(elsewhere) as other:
        assert connection.recv(1) == b""  # the handler has returned, and its peer may close
        lent[0].close()
        until(lambda: ended(events, 1))
        other.sendall(b"x")
        assert other.recv(1) == b"x"


@pytest.mark.parametrize("service", [Finger, Quiet])
def test_connections_are_closed_with_the_server(service: type) -> None:
    with Server() as running:
        address, events = running.add(service(), "tcp://127.0.0.1:0")
        connection = connect(address)
        until(lambda: events.counters.active == 1)
    with connection:
        assert connection.recv(1) == b"", "the server is gone, and did not wait"


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


@pytest.mark.slow  # waits for time-outs
def test_handler_that_is_busy_while_the_loop_waits_is_not_idle(server: Server) -> None:
    address, events = server.add(
        Function(lambda request: [request.recv(1) for _ in range(8)]), "tcp://127.0.0.1:0", idle="1s"
    )
    with connect(address) as connection:
        for _ in range(8):
            connection.sendall(b"x")
            select.select([connection], [], [], 0.25)  # no output: this is the time that the handler takes
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"done": 1}


def test_close_of_the_server_does_not_wait_for_a_handler(log: list[dict[str, Any]]) -> None:
    with Server() as running:
        address, events = running.add(Finger(), "tcp://127.0.0.1:0")
        connection = connect(address)
        until(lambda: events.counters.active == 1)
    connection.close()
    assert outcomes(events) == {"stopped": 1}
    assert events.counters.active == 0
    assert [line["outcome"] for line in log if line["event"] == "connection_closed"] == ["stopped"]


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


def test_closed_connection_is_not_watched_while_the_handler_keeps_a_file_of_its_socket(server: Server) -> None:
    files: list[Any] = []

    class Keeper:
        def handler(self, request: Any, client_address: Any, server: Any) -> None:
            files.append(request.makefile("rb"))
            files[-1].readline()
            request.sendall(b"x")

    address, events = server.add(Keeper(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(1) == b"x"
    until(lambda: ended(events, 1))
    server.settle()
    with pytest.raises(FileNotFoundError):  # else epoll_wait would return at once, again and again
        server.loop._epoll.modify(files[0].fileno(), 0)
    files[0].close()


def test_client_that_has_finished_sees_the_end_while_the_handler_keeps_a_file_of_its_socket(server: Server) -> None:
    files: list[Any] = []

    def keep(request: socket.socket) -> None:
        files.append(request.makefile("rb"))
        request.sendall(files[-1].read())

    address, events = server.add(Function(keep), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"hello"
    until(lambda: ended(events, 1))
    assert outcomes(events) == {"done": 1}
    files[0].close()


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


def test_peeked_octets_are_not_counted(server: Server) -> None:
    class Peeker:
        def handler(self, request: Any, client_address: Any, server: Any) -> None:
            for flags in (socket.MSG_PEEK, socket.MSG_PEEK, 0):
                assert request.recv(10, flags) == b"hello"
            request.sendall(b"x")

    address, events = server.add(Peeker(), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.sendall(b"hello")
        assert connection.recv(1) == b"x"
    until(lambda: ended(events, 1))
    assert (events.counters.bytes_in, events.counters.bytes_out, events.counters.failed) == (5, 1, 0)
