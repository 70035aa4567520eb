"""Checks over sockets: peers that are slow, silent, hostile or gone, and what they get."""

import contextlib
import socket
import ssl

import pytest

from netd.services.check import Check, http
from netd.telemetry.service_events import ServiceEvents
from netd.testing import build
from tests.services.check.program import Program
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, read_all
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, ask, connect, ended

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def end(server: Server, program: Program, code: int | None = 0, output: bytes = b"") -> None:
    """The run ends, in the thread of the loop, once it has begun."""
    until(lambda: program.starts)
    server.settle()
    server.loop.call(lambda: program.end(code, output))


def assert_good(events: ServiceEvents, connections: int) -> None:
    """All of these connections were served to their end."""
    until(lambda: ended(events, connections))
    assert (events.counters.closed["done"], events.counters.failed) == (connections, 0)


def test_fifty_peers_cost_one_run(server: Server) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0")
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(address)) for _ in range(50)]
        for peer in peers:
            peer.sendall(GET)
        until(lambda: events.counters.accepted == 50)
        end(server, program, output=b"OK\n")
        answers = {read_all(peer) for peer in peers}
    assert len(answers) == len(program.starts) == 1
    assert answers.pop().endswith(b"\r\n\r\nOK\n")
    assert_good(events, 50)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}"])
@pytest.mark.parametrize("answer", ["http", "agent", "text"])
def test_answer_is_whole_where_input_is_left_unread(server: Server, url: str, answer: str) -> None:
    program = Program()
    address, events = server.add(program.check(answer=answer), url)
    with connect(address) as peer:
        peer.sendall(GET + GET * 1000)  # pipelined requests, or a body; the agent asks nothing of its peer
        end(server, program, 2, b"CRITICAL\n" * 7000)
        answered = read_all(peer)
        peer.sendall(b"more")  # it may: the other direction is open
    if answer == "http":
        head, body = answered.split(b"\r\n\r\n", 1)
        assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
        assert len(body) == 63000
    else:
        assert answered == {"agent": b"down #CRITICAL\n", "text": b"CRITICAL\r\n"}[answer]
    assert_good(events, 1)


@pytest.mark.parametrize(("answer", "expected"), [("agent", b"up\n"), ("text", b"OK\r\n")])
def test_peer_that_sends_nothing_gets_its_line(server: Server, answer: str, expected: bytes) -> None:
    program = Program()
    address, events = server.add(program.check(answer=answer), "tcp://127.0.0.1:0")
    with connect(address) as peer:
        end(server, program, output=b"OK\n")
        assert read_all(peer) == expected
    assert ask(address, b"") == ask(address, b"web1\n") == expected
    assert_good(events, 3)


def test_request_in_single_octets(server: Server) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0")
    with connect(address) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in GET:
            peer.sendall(bytes([octet]))
        end(server, program, output=b"OK\n")
        assert read_all(peer).endswith(b"\r\n\r\nOK\n")
    assert_good(events, 1)


@pytest.mark.slow
def test_peer_that_reads_slowly_gets_all(server: Server) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0?sndbuf=4096")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.settimeout(20)
        peer.connect(address)
        peer.sendall(GET + b"x" * 10000)
        end(server, program, output=b"x" * 65535 + b"\n")
        answer = b""
        while piece := peer.recv(16):
            answer += piece
        until(lambda: ended(events, 1))  # it never closes, so netd does
    assert len(answer.partition(b"\r\n\r\n")[2]) == 65536


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"\r\n"])
def test_peer_that_sends_no_request_is_told_so(server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http, "_HEAD_TIMEOUT", 0.1)
    program = Program()
    address, _ = server.add(program.check(), "tcp://127.0.0.1:0")
    with connect(address) as peer:
        peer.sendall(sent)
        assert read_all(peer).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not program.starts


def test_client_of_tls_is_refused_at_once(server: Server) -> None:
    address, _ = server.add(Program().check(), "tcp://127.0.0.1:0")
    with connect(address) as peer, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(peer, server_hostname="localhost")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"ping 1\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET /" + b"x" * 20000, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (b"POST / HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000, b"HTTP/1.1 405 Method Not Allowed\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 HTTP Version Not Supported\r\n"),
    ],
)
def test_refusal_is_whole_where_input_is_left_unread(server: Server, sent: bytes, answer: bytes) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0")
    with connect(address) as peer:
        peer.sendall(sent)
        assert read_all(peer).startswith(answer)
    assert_good(events, 1)
    assert not program.starts


def test_peer_that_has_finished_sending_waits_for_its_answer(server: Server) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0")
    with connect(address) as peer:
        peer.sendall(GET)
        peer.shutdown(socket.SHUT_WR)
        end(server, program, output=b"OK\n")
        assert read_all(peer).endswith(b"\r\n\r\nOK\n")
    assert_good(events, 1)


@pytest.mark.parametrize("answer", ["http", "agent"])
def test_peers_that_hang_up_leave_nothing_behind_and_their_run_serves_others(server: Server, answer: str) -> None:
    program = Program()
    check = program.check(answer=answer)
    address, events = server.add(check, "tcp://127.0.0.1:0")
    for number in range(20):
        with connect(address) as peer:
            peer.sendall(GET)
            until(lambda: check._runs._waits)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        until(lambda number=number: ended(events, number + 1))  # type: ignore[misc]
        assert not check._runs._waits
    with connect(address) as peer:
        peer.sendall(GET)
        end(server, program, output=b"OK\n")
        assert read_all(peer).endswith(b"OK\n" if answer == "http" else b"up\n")
    assert len(program.starts) == 1
    until(lambda: ended(events, 21))
    assert (events.counters.closed["reset"], events.counters.failed) == (20, 0)


def test_peers_that_only_connect_cost_no_run(server: Server) -> None:
    program = Program()
    address, events = server.add(program.check(), "tcp://127.0.0.1:0")
    for _ in range(5):
        connect(address).close()
    assert_good(events, 5)
    assert not program.starts


def test_program_that_cannot_be_run_fails_one_conversation_each(server: Server) -> None:
    address, events = server.add(build(Check, command=["/bin/true"], answer="text"), "tcp://127.0.0.1:0")
    for number in (1, 2):
        assert ask(address, b"") == b""
        until(lambda number=number: events.counters.failed == number)  # type: ignore[misc]
