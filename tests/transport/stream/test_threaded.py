"""Blocking request handlers on real sockets: threads are few, and each ends in limited time."""

import errno
import http.server
import os
import select
import socket
import subprocess
from typing import Any

import pytest

from netd.services.echo import Echo
from netd.transport.stream import connection as connection_module
from tests.support.namespaces import in_namespace
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.sample_services import Finger, Quiet
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.threads import MOST_THREADS, Function, outcomes


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


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
def test_handler_has_the_name_and_the_port_of_its_server_as_with_http_server(
    server: Server, tmp_path: Any, url: str
) -> None:
    class Tells:
        def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
            request.sendall(f"{server.server_name} {server.server_port}".encode())

    address, _ = server.add(Tells(), url.format(tmp=tmp_path))
    unix = isinstance(address, str)
    with connect(address) as client:
        told = f"{socket.gethostname()} 0" if unix else f"{socket.getfqdn('127.0.0.1')} {address[1]}"
        assert read_all(client).decode() == told


def test_handler_that_would_stop_its_server_fails_and_holds_no_thread(
    server: Server, log: list[dict[str, Any]]
) -> None:
    class Stops:
        def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
            server.shutdown()

    address, events = server.add(Stops(), "tcp://127.0.0.1:0")
    with connect(address) as client:
        assert read_all(client) == b""
    until(lambda: ended(events, 1))
    [line] = [line for line in log if line["level"] == "error"]
    assert line["event"] == "conversation_failed"
    assert str(line["exc_info"]) == "netd is the server of this handler, and goes on: `netd stop` ends it"
