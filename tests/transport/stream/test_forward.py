"""Connections that are passed on, from the search for a target on; `test_relay.py` has the rest."""

import contextlib
import select
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Context
from netd.peer import Peer
from netd.transport.stream.connecting import Attempt
from netd.transport.stream.proxy_header import parse_header
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.near import Near, is_reset
from tests.transport.stream.peers import RESET, ended
from tests.transport.stream.targets import closed_port, forwarding, full, listener, url_of
from tests.transport.stream.toy_preambles import NAMED, PEER


def test_next_target_is_tried_and_the_one_that_failed_rests(server: Server) -> None:
    with closed_port() as dead, listener() as far:
        near = Near(server, forwarding(url_of(dead), url_of(far), balance="first"))
        for _ in range(2):
            with near.connect() as client, far.accept()[0] as target:
                client.sendall(b"hello")
                assert read_exactly(target, 5) == b"hello"
                [one] = near.connections
                assert one.target == url_of(far)
                assert near.service.targets.active() == [0, 1]
                target.sendall(b"bye")
                target.close()
                assert read_all(client) == b"bye"
            until(lambda: not near.connections)
        assert near.outcome(2) == "done"
        assert near.counted() == {"connects": 3, "failures.refused": 1}


def test_client_is_reset_where_no_target_is_left(server: Server) -> None:
    with closed_port() as dead, closed_port() as other:
        near = Near(server, forwarding(url_of(dead), url_of(other)))
        assert is_reset(near)
        assert near.outcome() == "no_target"
        assert near.counted() == {"connects": 2, "failures.refused": 2}
        assert near.events.counters.checks == 0


def test_client_gets_a_line_where_no_target_is_left(server: Server) -> None:
    with closed_port() as dead:
        near = Near(server, forwarding(url_of(dead)), policy={"refuse": {"line": "try again"}})
        with near.connect() as client:
            client.sendall(b"early")
            assert read_all(client) == b"try again\r\n"
        assert near.outcome() == "no_target"


@pytest.mark.slow  # waits for the time-out of the first target
def test_early_input_and_its_end_wait_until_a_target_is_found(server: Server) -> None:
    with full() as dead, listener() as far:
        near = Near(server, forwarding(url_of(dead), url_of(far), balance="first", connect="100ms"))
        with near.searching() as client:
            client.sendall(b"POST / HTTP/1.0\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            with far.accept()[0] as target:
                assert read_all(target) == b"POST / HTTP/1.0\r\n\r\n"
                target.sendall(b"200")
            assert read_all(client) == b"200"
        assert near.outcome() == "done"
        assert near.counted() == {"connects": 2, "failures.timeout": 1}


@pytest.mark.slow  # fills all buffers
def test_early_input_of_a_client_that_does_not_wait_is_bounded_by_the_kernel(server: Server) -> None:
    with full() as dead:
        near = Near(server, forwarding(url_of(dead)), "tcp://127.0.0.1:0?rcvbuf=16KiB")
        with near.searching() as client:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send(b"x" * 65536)
                    select.select([], [client], [], 0.05)
            assert [one.bytes_in for one in near.connections] == [0]


def test_client_that_resets_ends_the_search(server: Server) -> None:
    with full() as dead:
        near = Near(server, forwarding(url_of(dead)))
        with near.searching() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        assert near.outcome() == "reset"


def test_unix_client_that_closes_ends_the_search_unless_it_has_said_something(server: Server, tmp_path: Path) -> None:
    with full() as dead:
        near = Near(server, forwarding(url_of(dead)), f"unix://{tmp_path}/near")
        near.searching().close()
        assert near.outcome() == "done"


@pytest.mark.slow  # waits for the time-out of the first target
def test_input_of_a_unix_client_that_has_closed_is_passed_on(server: Server, tmp_path: Path) -> None:
    with full() as dead, listener(f"{tmp_path}/far") as far:
        to = url_of(dead), f"unix://{tmp_path}/far"
        near = Near(server, forwarding(*to, balance="first", connect="100ms"), f"unix://{tmp_path}/near")
        with near.searching() as client:
            client.sendall(b"and gone")
        with far.accept()[0] as target:
            assert read_all(target) == b"and gone"
        until(partial(ended, near.events, 1))


@pytest.mark.slow  # waits for the time-out
@pytest.mark.parametrize(("limits", "outcome"), [({"idle": "200ms"}, "idle"), ({"lifetime": "200ms"}, "lifetime")])
def test_time_outs_hold_during_the_search(server: Server, limits: dict[str, Any], outcome: str) -> None:
    with full() as dead:
        near = Near(server, forwarding(url_of(dead)), **limits)
        with near.searching():
            assert near.outcome() == outcome


def test_operator_ends_the_search(server: Server) -> None:
    with full() as dead:
        near = Near(server, forwarding(url_of(dead)))
        with near.searching():
            [one] = near.connections
            assert one.target == url_of(dead)
            for _ in range(2):
                server.loop.call(partial(one.close, "kicked"))
            assert near.outcome() == "kicked"


def test_target_that_rests_is_tried_where_no_other_one_is_left(server: Server) -> None:
    with closed_port() as dead:
        near = Near(server, forwarding(url_of(dead)))
        assert is_reset(near)
        dead.listen()
        with near.connect() as client, dead.accept()[0] as target:
            target.sendall(b"back")
            assert read_exactly(client, 4) == b"back"
        assert near.service.targets.usable(0.0, [0]) == [0]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_target_is_told_the_peer_before_anything_else(server: Server, version: str) -> None:
    with listener() as far:
        near = Near(server, forwarding(url_of(far), proxy_protocol=version))
        with near.connect() as client:
            client.sendall(b"hello")
            with far.accept()[0] as target:
                sender = Peer("tcp", "192.0.2.1", 1)
                data = b""
                while (found := parse_header(data, sender)) is None:
                    data += target.recv(1)
                length, named = found
                assert length == len(data)
                assert (named.host, named.port) == client.getsockname()
                assert (named.local_host, named.local_port) == client.getpeername()
                assert read_exactly(target, 5) == b"hello"
                [one] = near.connections
                until(lambda: (one.bytes_in, one.bytes_out) == (5, 0))


def test_target_is_told_the_peer_that_a_proxy_has_named(server: Server) -> None:
    with listener() as far:
        near = Near(server, forwarding(url_of(far), proxy_protocol="v1"), preambles=NAMED)
        with near.connect() as client:
            client.sendall(PEER + b"x")
            with far.accept()[0] as target:
                assert target.makefile("rb").readline().startswith(b"PROXY TCP4 192.0.2.7 ")


def test_connection_to_a_target_has_the_options_of_a_long_one(server: Server) -> None:
    with listener() as far:
        near = Near(server, forwarding(url_of(far), bind="127.0.0.5"), idle="2h")
        with near.connect(), far.accept()[0] as target:
            until(lambda: any(one.target for one in near.connections))
            server.settle()
            [one] = near.connections
            upstream = one._upstream.bare  # type: ignore[attr-defined]
            assert target.getpeername()[0] == "127.0.0.5"
            tcp = socket.IPPROTO_TCP
            assert upstream.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 7_200_000
            assert upstream.getsockopt(tcp, socket.TCP_NODELAY)
            assert upstream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert upstream.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)


def test_name_is_resolved_before_and_the_client_that_leaves_meanwhile_is_forgotten(server: Server) -> None:
    answers: list[Callable[[tuple[str, ...], str], object]] = []
    context = Context(resolve=lambda name, then: answers.append(then))
    with listener() as far:
        near = Near(server, forwarding(url_of(far).replace("127.0.0.1", "name"), context=context))
        with near.searching() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        until(lambda: not near.connections)
        with near.searching() as client:
            server.loop.call(lambda: answers.pop()(("::1", "127.0.0.1"), ""))
            with far.accept()[0] as target:
                target.sendall(b"found")
                assert read_exactly(client, 5) == b"found"


def test_lack_of_memory_ends_one_connection_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with full() as dead, listener() as far:
        near = Near(server, forwarding(url_of(dead), url_of(far), balance="first", connect="100ms"))
        with near.searching() as client:
            with monkeypatch.context() as patch:
                patch.setattr(Attempt, "begin", lambda attempt: (_ for _ in ()).throw(MemoryError))
                assert client.recv(1) == b""
        assert near.outcome() == "failed"
        with near.connect() as client, far.accept()[0] as target:
            target.sendall(b"x")
            assert client.recv(1) == b"x"
