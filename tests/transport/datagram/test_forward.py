"""Forwards of datagrams over real sockets, in batches and one by one."""

import errno
import os
import select
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from netd.contract import Context
from netd.services.echo import Echo
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.forward import ForwardServer
from netd.transport.tap import Tap
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, free_port, has_ipv6
from tests.support.waiting import until
from tests.transport.datagram.forwards import ANY, asking, forward, target, unix_target
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH


def last(server: Server) -> ForwardServer:
    found = server.servers[-1]
    assert isinstance(found, ForwardServer)
    return found


def in_loop(server: Server, function: Any) -> None:
    server.loop.call(function)
    server.settle()


def dropped(events: ServiceEvents, **expected: int) -> bool:
    return events.counters.dropped == expected


def drops(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in log if event["event"] == "datagrams_dropped"]


@BOTH
@pytest.mark.parametrize("data", [b"hello", b"", b"x" * 65_507])
def test_datagram_reaches_the_target_and_its_answer_comes_back(server: Server, data: bytes, batched: bool) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", batched=batched)
        with client(address) as sock:
            for number in (1, 2):
                sock.send(data)
                question, netd = behind.recvfrom(65536)
                assert question == data
                behind.sendto(data[::-1], netd)
                assert sock.recv(65536) == data[::-1]
                server.settle()
                counters = events.counters
                assert (counters.datagrams_in, counters.datagrams_out) == (number, number)
                assert (counters.bytes_in, counters.bytes_out) == (number * len(data), number * len(data))
                assert (counters.accepted, counters.active) == (1, 1)


@BOTH
def test_datagrams_of_a_burst_keep_their_order_in_both_directions(server: Server, batched: bool) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", batched=batched)
        sent = [b"%d " % number * (number % 7) for number in range(150)]
        with client(address) as sock:
            for data in sent:
                sock.send(data)
            found = [behind.recvfrom(65536) for _ in sent]
            assert [data for data, _ in found] == sent
            assert len({netd for _, netd in found}) == 1
            for data, netd in found:
                behind.sendto(data, netd)
            assert [sock.recv(65536) for _ in sent] == sent
        server.settle()
        assert (events.counters.datagrams_in, events.counters.datagrams_out) == (150, 150)


@BOTH
def test_clients_in_turn_each_get_their_own_answers(server: Server, batched: bool) -> None:
    echo, _ = server.add(Echo(), "udp://127.0.0.1:0")
    address, events = server.add(forward(f"udp://127.0.0.1:{echo[1]}"), "udp://127.0.0.1:0", batched=batched)
    with client(address) as one, client(address) as other, client(address) as third:
        clients = [one, other, third, third, one, other, other, other, one]
        for number, sock in enumerate(clients):
            sock.send(b"%d" % number)
        for wanted in (one, other, third):
            numbers = [b"%d" % number for number, sock in enumerate(clients) if sock is wanted]
            assert [wanted.recv(100) for _ in numbers] == numbers
    assert events.counters.active == 3


@BOTH
@pytest.mark.parametrize(
    ("listen", "behind", "host"),
    [("udp://*:0", "::1", "127.0.0.1"), ("udp://*:0", "127.0.0.1", "::1"), ("udp://[::1]:0", "127.0.0.1", "::1")],
)
def test_either_family_is_forwarded_to_either(
    server: Server, listen: str, behind: str, host: str, batched: bool
) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this host")
    with target(behind) as (url, sock):
        address, _ = server.add(forward(url), listen, batched=batched)
        with asking((host, address[1]), host) as asker:
            for _ in range(2):
                asker.send(b"x")
                data, netd = sock.recvfrom(100)
                sock.sendto(data * 2, netd)
                assert asker.recv(100) == b"xx"


@BOTH
@pytest.mark.parametrize("listen", ["udp://0.0.0.0:0", "udp://*:0"])
def test_answer_leaves_from_the_address_that_was_asked(server: Server, listen: str, batched: bool) -> None:
    with target() as (url, behind):
        address, _ = server.add(forward(url), listen, batched=batched)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            seen: dict[str, Any] = {}
            for host in ("127.0.0.2", "127.0.0.1", "127.0.0.2"):
                for _ in range(3):  # answered together
                    sock.sendto(b"x", (host, address[1]))
                found = [behind.recvfrom(100) for _ in range(3)]
                for data, netd in found:
                    behind.sendto(data, netd)
                assert [sock.recvfrom(100) for _ in range(3)] == [(b"x", (host, address[1]))] * 3
                seen.setdefault(host, found[0][1])
                assert seen[host] == found[0][1]
            assert seen["127.0.0.1"] != seen["127.0.0.2"]


@pytest.mark.parametrize("listen", ["unixgram", "abstract"])
def test_unix_datagrams_are_forwarded(server: Server, tmp_path: Path, listen: str) -> None:
    place = f"unixgram://{tmp_path}/listen" if listen == "unixgram" else f"unixgram://{ABSTRACT}-forward"
    with unix_target(str(tmp_path / "target")) as (url, behind):
        address, events = server.add(forward(url), place)
        with client(address, tmp_path) as one, client(address, tmp_path) as other:
            for data, sock in ((b"a", one), (b"", other), (b"b" * 70_000, one), (b"c" * 60_000, one)):
                sock.send(data)
            found = [behind.recvfrom(100_000) for _ in range(3)]
            assert [data for data, _ in found] == [b"a", b"", b"c" * 60_000]
            for data, netd in found:
                assert netd == (found[1][1] if data == b"" else found[0][1])
                behind.sendto(b"answer " + data, netd)
            assert [one.recv(100_000), one.recv(100_000)] == [b"answer a", b"answer " + b"c" * 60_000]
            assert other.recv(100) == b"answer "
    assert events.counters.dropped == {"too_long": 1}


def test_udp_is_forwarded_to_unix_and_back(server: Server, tmp_path: Path) -> None:
    with unix_target(str(tmp_path / "target")) as (url, behind), target() as (other, udp):
        over_udp, _ = server.add(forward(url), "udp://127.0.0.1:0")
        over_unix, _ = server.add(forward(other), f"unixgram://{tmp_path}/listen")
        with client(over_udp) as sock:
            sock.send(b"x")
            data, netd = behind.recvfrom(100)
            behind.sendto(data * 2, netd)
            assert sock.recv(100) == b"xx"
        with client(over_unix, tmp_path) as sock:
            sock.send(b"y")
            data, netd = udp.recvfrom(100)
            udp.sendto(data * 2, netd)
            assert sock.recv(100) == b"yy"


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


def test_unix_client_without_a_path_is_forwarded_and_its_answer_dropped(server: Server, tmp_path: Path) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), f"unixgram://{tmp_path}/listen")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", address)
            data, netd = behind.recvfrom(100)
            behind.sendto(data, netd)
            until(lambda: events.counters.dropped == {"no_address": 1})


@BOTH
def test_question_and_answer_above_the_limit_are_dropped(server: Server, batched: bool) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", batched=batched, policy=ANY, datagram=10)
        with client(address) as sock:
            for data in (b"x" * 11, b"x" * 10):
                sock.send(data)
            data, netd = behind.recvfrom(100)
            assert data == b"x" * 10
            for length in (1, 11, 60_000, 10, 2):
                behind.sendto(b"y" * length, netd)
            assert [len(sock.recv(100)) for _ in range(3)] == [1, 10, 2]
        server.settle()
        assert events.counters.dropped == {"too_long": 3}


# Targets that cannot be reached.


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


# Bounds.


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


# The reply guard.


@BOTH
def test_client_gets_no_more_than_its_questions_allow(server: Server, log: list[dict[str, Any]], batched: bool) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", batched=batched)
        open_address, _ = server.add(forward(url), "udp://127.0.0.1:0", batched=batched, policy=ANY)
        with client(address) as sock, client(open_address) as trusted:
            sock.send(b"x")
            _, netd = behind.recvfrom(10)
            for answer in (b"y" * 65, b"y" * 64, b"z"):
                behind.sendto(answer, netd)
            assert sock.recv(100) == b"y" * 64
            until(lambda: events.counters.dropped == {"amplification": 2})
            for length in (100, 10, 10):
                sock.send(b"x" * length)
                behind.recv(200)
            for length in (1, 229, 226, 1):
                behind.sendto(b"y" * length, netd)
            assert [len(sock.recv(300)) for _ in range(3)] == [1, 226, 1]
            trusted.send(b"x")
            _, netd = behind.recvfrom(10)
            for length in (5, 1000, 3000):
                behind.sendto(b"y" * length, netd)
            assert [len(trusted.recv(4000)) for _ in range(3)] == [5, 1000, 3000]
        assert {(drop["reason"], drop["peer"].partition(":")[0]) for drop in drops(log)} == {
            ("amplification", "127.0.0.1")
        }


def test_datagram_from_a_port_of_this_netd_is_not_forwarded(server: Server) -> None:
    with target() as (url, _behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0")
        with client(address) as sock:
            server.shared.ports = {sock.getsockname()[1]}
            sock.send(b"x")
            until(lambda: events.counters.dropped == {"source_port": 1})
        assert events.counters.accepted == 0


def test_rate_of_a_source_holds(server: Server) -> None:
    with target() as (url, behind):
        address, events = server.add(forward(url), "udp://127.0.0.1:0", exempt=[], rate="1/h burst 3", policy={})
        with client(address) as sock:
            for _ in range(5):
                sock.send(b"x")
            until(lambda: events.counters.dropped == {"rate": 2})
            assert [behind.recv(10) for _ in range(3)] == [b"x"] * 3


@pytest.mark.slow
@BOTH
def test_loop_of_a_service_behind_a_forward_with_another_one_ends(server: Server, batched: bool) -> None:
    echo, _ = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
    address, events = server.add(forward(f"udp://127.0.0.1:{echo[1]}"), "udp://127.0.0.1:0", batched=batched)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(20)
        stopped = threading.Event()

        def answer() -> None:
            while not stopped.is_set():
                data, netd = other.recvfrom(100)
                other.sendto(data, netd)

        thread = threading.Thread(target=answer)
        thread.start()
        other.sendto(b"forged", address)
        until(lambda: events.counters.dropped == {"loop": 1}, 60)
        stopped.set()
        with client(other.getsockname()) as sock:
            sock.send(b"end")
        thread.join(10)
    assert events.counters.loops == 1


# Reload, trace, stop.


def test_client_of_this_host_is_fast_once_it_is_known(server: Server) -> None:
    echo, _ = server.add(Echo(), "udp://127.0.0.1:0")
    address, _ = server.add(forward(f"udp://127.0.0.1:{echo[1]}"), "udp://127.0.0.1:0", policy=ANY)
    with client(address) as sock:
        for number in range(2000):
            sock.send(b"%d" % number)
            assert sock.recv(10) == b"%d" % number
            [session] = last(server)
            if session.entry.watched is None:
                return
    raise AssertionError("it is watched for ever")


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


def test_trace_records_both_directions(server: Server) -> None:
    with target() as (url, behind):
        address, _ = server.add(forward(url), "udp://127.0.0.1:0")
        tap = Tap("test", lambda peer: True, lambda tap: None)
        with client(address) as sock:

            def exchange(data: bytes) -> None:
                for _ in range(3):
                    sock.send(data)
                found = [behind.recvfrom(100) for _ in range(3)]
                for question, netd in found:
                    behind.sendto(question[::-1], netd)
                assert [sock.recv(10) for _ in range(3)] == [data[::-1]] * 3

            exchange(b"before")
            in_loop(server, lambda: last(server).trace([tap]))
            exchange(b"traced")
            in_loop(server, lambda: last(server).trace([]))
            exchange(b"after")
            name = f"127.0.0.1:{sock.getsockname()[1]}"
        lines, skipped = tap.take()
        seen = [(way, peer, bytes.fromhex(data)) for _, way, peer, _, data, _ in lines]
        assert sorted(seen) == [("in", name, b"traced")] * 3 + [("out", name, b"decart")] * 3
        assert not skipped


def test_name_server_behind_a_forward(server: Server) -> None:
    """A question with an ID and a name, and an answer of the same ID, as in RFC 1035."""
    with target() as (url, behind):
        address, _ = server.add(forward(url), "udp://127.0.0.1:0", policy=ANY)

        def serve() -> None:
            for _ in range(100):
                question, netd = behind.recvfrom(512)
                head = question[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0"
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, question[1]])
                behind.sendto(head + question[12:] + answer, netd)

        thread = threading.Thread(target=serve)
        thread.start()
        for number in range(100):
            question = bytes([7, number]) + b"\1\0\0\1\0\0\0\0\0\0" + b"\4netd\7example\0\0\1\0\1"
            answer = ask(address, question)
            assert (answer[:2], answer[-4:]) == (question[:2], bytes([192, 0, 2, number]))
        thread.join(20)
