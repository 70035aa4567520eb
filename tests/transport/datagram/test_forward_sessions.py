"""The sessions of a forward of datagrams: which make room, and when they end."""

import errno
import socket
import threading
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.sockets import free_port
from tests.support.waiting import until
from tests.transport.datagram.forwards import asking, forward, in_loop, last, target
from tests.transport.peers import client
from tests.transport.sample_services import BOTH


@BOTH
def test_session_that_sent_once_makes_room_for_another_one(server: Server, batched: bool) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", batched=batched, connections=6)
        ports = []
        with client(address) as talks:
            for _ in range(2):
                talks.send(b"x")
                behind.recv(10)
            for _ in range(10):
                with client(address) as sock:
                    sock.send(b"y")
                    ports.append(behind.recvfrom(10)[1])
            talks.send(b"z")
            assert behind.recvfrom(10)[1] not in ports
        server.settle()
        assert events.counters.closed == {"evicted": 8}
        assert (events.counters.active, events.counters.accepted) == (3, 11)  # half of the connections


def test_source_at_its_bound_makes_room_among_its_own_sessions(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", per_source=2, exempt=[], rate="off")
        with asking(address, "127.0.0.9") as other:
            other.send(b"x")
            first = behind.recvfrom(10)[1]
            for _ in range(5):
                with client(address) as sock:
                    sock.send(b"y")
                    behind.recv(10)
            other.send(b"x")
            assert behind.recvfrom(10)[1] == first
        server.settle()
        assert (events.counters.active, events.counters.closed) == (3, {"evicted": 3})


def test_no_place_for_a_session_is_a_drop(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        server.shared.connections = 0
        with client(address) as sock:
            sock.send(b"x")
            until(lambda: events.counters.dropped == {"no_session": 1})
            assert not last(server)
            server.shared.connections = 1
            sock.send(b"y")
            assert behind.recv(10) == b"y"
        with client(address) as sock:
            sock.send(b"z")  # the other session makes room
            assert behind.recv(10) == b"z"
        assert (events.counters.active, events.counters.closed) == (1, {"evicted": 1})


def test_oldest_session_gives_its_descriptor_where_there_is_no_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as one, client(address) as other:
            one.send(b"1")
            behind.recv(10)
            upstreams = last(server)._upstreams
            connect, failures = upstreams.connect, [OSError(errno.EMFILE, "too many")]

            def fails_once(source: str) -> Any:
                if failures:
                    raise failures.pop()
                return connect(source)

            monkeypatch.setattr(upstreams, "connect", fails_once)
            other.send(b"2")
            assert behind.recv(10) == b"2"
            assert (events.counters.active, events.counters.closed) == (1, {"evicted": 1})
            failures += [OSError(errno.EMFILE, "too many")] * 2
            one.send(b"3")
            until(lambda: events.counters.dropped == {"no_session": 1})


def test_session_that_cannot_be_watched_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as sock:

            def fails(*arguments: object) -> None:
                raise OSError(errno.ENOSPC, "too many")

            with monkeypatch.context() as patch:
                patch.setattr(server.loop, "watch", fails)
                sock.send(b"x")
                until(lambda: events.counters.dropped == {"no_session": 1})
            service: Any = last(server).service
            assert (len(last(server)), service.targets.active()) == (0, [0])
            server.shared.connections = 1
            sock.send(b"y")
            assert behind.recv(10) == b"y"
        server.settle()
        assert (events.counters.accepted, service.targets.active()) == (1, [1])


def test_session_ends_when_nothing_moves(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url, session="60s"), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"x")
            behind.recv(10)
            [session] = last(server)
            assert session.expire(session.active + 59.9) == session.active + 60
            in_loop(server, lambda: session.expire(session.active + 60.1))
            assert events.counters.closed == {"idle": 1}
            assert session.upstream.fileno() == -1
            assert events.counters.active == 0
            sock.send(b"y")
            assert behind.recv(10) == b"y"


def test_session_expires_by_itself(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url, session="100ms"), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"x")
            behind.recv(10)
            until(lambda: events.counters.closed == {"idle": 1})


def test_session_ends_with_its_lifetime_and_after_its_octets(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", lifetime="100ms", bytes=100)
        with client(address) as sock:
            sock.send(b"x")
            behind.recv(10)
            until(lambda: events.counters.closed == {"lifetime": 1})
            sock.send(b"y" * 101)
            behind.recv(200)
            until(lambda: events.counters.closed == {"lifetime": 1, "bytes": 1})


def test_session_is_kicked_as_a_connection_is(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"x")
            behind.recv(10)
            [session] = last(server)
            assert (session.peer.remote, session.target) == (f"127.0.0.1:{sock.getsockname()[1]}", url)
            in_loop(server, lambda: session.close("kicked"))
            in_loop(server, lambda: session.close("kicked"))
            assert events.counters.closed == {"kicked": 1}
            sock.send(b"x")
            behind.recv(10)
            [session] = last(server)
            in_loop(server, lambda: session.fail(MemoryError()))
            assert events.counters.closed == {"kicked": 1, "failed": 1}


def test_retired_server_answers_what_is_under_way_and_leaves_the_socket(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        old, opened = last(server), last(server).socket
        ended = threading.Event()
        with client(address) as sock:
            sock.send(b"x")
            _data, netd = behind.recvfrom(10)

            def replace() -> None:
                old.retire()
                old.release()
                old.release_when_empty(ended.set)

            in_loop(server, replace)
            behind.sendto(b"answer", netd)
            assert sock.recv(10) == b"answer"
            [session] = old
            assert session.expire(session.active + 1.9) == session.active + 2
            assert not ended.is_set()
            in_loop(server, lambda: session.expire(session.active + 2.1))
            assert ended.is_set()
        assert events.counters.closed == {"idle": 1}
        assert opened.fileno() >= 0


def test_closed_server_forwards_its_queue_and_closes_the_socket_after_the_answers(server: Server) -> None:
    with target() as (url, behind):
        address, _ = server.add(forward(url), "udp://127.0.0.1:0")
        closing, ended = last(server), threading.Event()
        with client(address) as sock:

            def close() -> None:
                for number in range(150):
                    sock.send(b"%d" % number)
                closing.server_close()
                closing.release_when_empty(ended.set)

            in_loop(server, close)
            found = [behind.recvfrom(10) for _ in range(150)]
            assert [data for data, _ in found] == [b"%d" % number for number in range(150)]
            behind.sendto(b"x", found[0][1])
            assert sock.recv(10) == b"x"
            assert closing.socket.fileno() >= 0
            in_loop(server, closing.close_all)
            assert ended.is_set()
            assert closing.socket.fileno() == -1


def test_closed_server_without_sessions_closes_the_socket_at_once(server: Server) -> None:
    server.add(forward(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"), "udp://127.0.0.1:0")
    in_loop(server, last(server).server_close)
    assert last(server).socket.fileno() == -1
