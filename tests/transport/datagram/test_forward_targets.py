"""Where datagrams are forwarded to: addresses and names, targets that refuse, and others in their place."""

import errno
import os
import select
import socket
from functools import partial
from pathlib import Path
from typing import Any, cast

from netd.contract import Context
from tests.support.server import Server
from tests.support.sockets import free_port
from tests.support.waiting import until
from tests.transport.datagram.forwards import dropped, drops, forward, in_loop, last, target, unix_target
from tests.transport.peers import client
from tests.transport.sample_services import BOTH


def test_unix_target_that_starts_again_gets_the_next_datagram(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "target"
    with unix_target(str(path)) as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"1")
            assert behind.recv(10) == b"1"
            behind.close()
            path.unlink()
            sock.send(b"2")
            until(lambda: events.counters.dropped == {"no_target": 1})
            with unix_target(str(path)) as (_, again):
                sock.send(b"3")
                assert again.recv(10) == b"3"


@BOTH
def test_refusal_of_the_target_is_a_drop_with_a_reason(
    server: Server, log: list[dict[str, Any]], batched: bool
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    address, events = server.add(forward(f"udp://127.0.0.1:{port}"), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        for number in range(1, 4):
            sock.send(b"x")
            until(partial(dropped, events, target_refused=number))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as behind:
            behind.bind(("127.0.0.1", port))
            behind.settimeout(20)
            sock.send(b"now")
            data, netd = behind.recvfrom(100)
            assert data == b"now"
            behind.sendto(b"yes", netd)
            assert sock.recv(100) == b"yes"
        server.settle()
    assert events.counters.accepted == 1  # no other target would take the session
    told = [event["event"] for event in log if event["event"].startswith("target_")]
    assert told == ["target_failed", "target_recovered"]
    assert drops(log)[0]["error"] == os.strerror(errno.ECONNREFUSED)


def test_target_of_a_slow_client_has_recovered_when_no_refusal_came_for_a_second(
    server: Server, log: list[dict[str, Any]]
) -> None:
    def told() -> list[str]:
        return [event["event"] for event in log if event["event"].startswith("target_")]

    port = free_port(socket.SOCK_DGRAM)
    address, events = server.add(forward(f"udp://127.0.0.1:{port}"), "udp://127.0.0.1:0")
    with client(address) as sock:
        for number in range(1, 4):
            sock.send(b"x")
            until(partial(dropped, events, target_refused=number))
            [session] = last(server)
            session.opened -= 10
        assert told() == ["target_failed"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as behind:
            behind.bind(("127.0.0.1", port))
            behind.settimeout(20)
            for _ in range(2):
                sock.send(b"now")
                behind.recv(10)
            server.settle()
            assert told() == ["target_failed"]
            assert session.silent_since
            session.silent_since -= 10
            sock.send(b"now")
            behind.recv(10)
            server.settle()
            assert told() == ["target_failed", "target_recovered"]


def test_error_that_is_no_refusal_of_the_target_is_a_drop_alone(server: Server, log: list[dict[str, Any]]) -> None:
    class Short:
        def recv(self, size: int) -> bytes:
            raise OSError(errno.ENOBUFS, "no buffers")

    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"x")
            _, netd = behind.recvfrom(10)
            [session] = last(server)
            upstream = session.upstream
            session.upstream = cast(socket.socket, Short())
            in_loop(server, lambda: last(server).answers_ready(session, select.EPOLLIN))
            session.upstream = upstream
            assert events.counters.dropped == {"receive_failed": 1}
            behind.sendto(b"y", netd)
            assert sock.recv(10) == b"y"
        assert [event["event"] for event in log if event["event"].startswith("target_")] == []


@BOTH
def test_burst_to_a_target_that_refuses_loses_nothing_without_a_count(server: Server, batched: bool) -> None:
    port = free_port(socket.SOCK_DGRAM)
    address, events = server.add(forward(f"udp://127.0.0.1:{port}"), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        for _ in range(50):
            sock.send(b"x")
    until(lambda: events.counters.datagrams_in + events.counters.dropped["kernel"] == 50)
    server.settle()
    assert 1 <= events.counters.dropped["target_refused"] <= 50


@BOTH
def test_session_goes_to_another_target_when_its_own_refuses(server: Server, batched: bool) -> None:
    refused = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with target() as (url, behind):
        address, events = server.add(forward(refused, url, balance="first"), "udp://127.0.0.1:0", batched=batched)
        with client(address) as sock:
            sock.send(b"lost")
            until(lambda: events.counters.dropped == {"target_refused": 1})
            sock.send(b"taken")
            assert behind.recv(100) == b"taken"
        server.settle()
        assert events.counters.closed == {"reset": 1}
        with client(address) as sock:  # the other one rests
            sock.send(b"x")
            assert behind.recv(100) == b"x"


def test_datagram_for_a_target_without_a_route_or_an_address_is_dropped(server: Server, tmp_path: Path) -> None:
    asked: list[Any] = []
    context = Context(resolve=lambda name, then: asked.append(then))
    address, events = server.add(forward(f"udp://target.example:{free_port()}", context=context), "udp://127.0.0.1:0")
    with client(address) as sock, target() as (_url, _behind):
        for number in range(1, 4):
            sock.send(b"x")
            until(partial(dropped, events, no_target=number))
        assert len(asked) == 1
        in_loop(server, lambda: asked.pop()((), "no such name"))
        sock.send(b"x")
        until(lambda: events.counters.dropped == {"no_target": 4})
    gone, events = server.add(forward(f"unixgram://{tmp_path}/none"), "udp://127.0.0.1:0")
    with client(gone) as sock:
        sock.send(b"x")
        until(lambda: events.counters.dropped == {"no_target": 1})


def test_name_of_a_target_is_resolved_before_the_first_datagram(server: Server) -> None:
    asked: list[Any] = []
    with target() as (_url, behind):
        port = behind.getsockname()[1]
        context = Context(resolve=lambda name, then: asked.append((name, then)))
        address, _ = server.add(forward(f"udp://target.example:{port}", context=context), "udp://127.0.0.1:0")
        [(name, then)] = asked
        assert name == "target.example"
        in_loop(server, lambda: then(("127.0.0.1",), ""))
        with client(address) as sock:
            sock.send(b"x")
            assert behind.recv(10) == b"x"


def test_forward_binds_its_local_address(server: Server) -> None:
    with target() as (url, behind):
        address, _ = server.add(forward(url, bind="127.0.0.3"), "udp://127.0.0.1:0")
        with client(address) as sock:
            sock.send(b"x")
            assert behind.recvfrom(10)[1][0] == "127.0.0.3"
