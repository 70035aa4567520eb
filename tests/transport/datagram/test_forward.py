"""Forwards of datagrams over real sockets, in batches and one by one."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from netd.services.echo import Echo
from netd.transport.tap import Tap
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, has_ipv6
from tests.support.waiting import until
from tests.transport.datagram.forwards import ANY, asking, drops, forward, in_loop, last, target, unix_target
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH


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


# Bounds.


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


def until_it_is_fast(server: Server, sock: socket.socket) -> None:
    """Ask an echo behind a forward until the forward checks nothing of the client any more."""
    for number in range(2000):
        sock.send(b"%d" % number)
        assert sock.recv(10) == b"%d" % number
        [session] = last(server)
        if session.entry.watched is None:
            return
    raise AssertionError("it is watched for ever")


def test_client_of_this_host_is_fast_once_it_is_known(server: Server) -> None:
    echo, _ = server.add(Echo(), "udp://127.0.0.1:0")
    address, _ = server.add(forward(f"udp://127.0.0.1:{echo[1]}"), "udp://127.0.0.1:0", policy=ANY)
    with client(address) as sock:
        until_it_is_fast(server, sock)


def test_trace_records_a_client_that_is_fast(server: Server) -> None:
    echo, _ = server.add(Echo(), "udp://127.0.0.1:0")
    address, _ = server.add(forward(f"udp://127.0.0.1:{echo[1]}"), "udp://127.0.0.1:0", policy=ANY)
    tap = Tap("test", lambda peer: True, lambda tap: None)
    with client(address) as sock:
        until_it_is_fast(server, sock)
        in_loop(server, lambda: last(server).trace([tap]))
        sock.send(b"traced")
        assert sock.recv(10) == b"traced"
    lines, skipped = tap.take()
    assert [(way, bytes.fromhex(data)) for _, way, _, _, data, _ in lines] == [("in", b"traced"), ("out", b"traced")]
    assert not skipped


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
