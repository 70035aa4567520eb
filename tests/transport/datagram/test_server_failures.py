"""Failures of datagram servers over real sockets: bugs of services, and answers that cannot be sent."""

import contextlib
import socket
from typing import Any

import pytest

from netd.errors import PeerError
from netd.peer import Peer
from netd.services.echo import Echo
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH

AMPLIFY: dict[str, object] = {"amplify": ["any"]}


@BOTH
@pytest.mark.parametrize("length", [65_508, 70_000])
def test_answer_longer_than_a_datagram_is_dropped(server: Server, batched: bool, length: int) -> None:
    class Endless:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return data if data == b"short" else b"x" * length

    address, events = server.add(Endless(), "udp://127.0.0.1:0", batched=batched, policy=AMPLIFY)
    with client(address) as sock:
        for data in (b"short", b"long", b"short"):
            sock.send(data)
        assert [sock.recv(65536), sock.recv(65536)] == [b"short", b"short"]
    server.settle()
    assert events.counters.dropped == {"unsendable": 1}


def test_datagram_that_comes_alone_and_cannot_be_sent_back_is_counted_and_dropped(server: Server) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0", batched=None)
    [only] = server.servers
    with client(address) as sock:
        for number in range(3):  # from the third one on without checks
            sock.send(b"%d" % number)
            assert sock.recv(10) == b"%d" % number

        def send_and_leave() -> None:
            sock.send(b"3")
            only.socket.setsockopt(socket.SOL_SOCKET, 62, 2**31 - 1)  # SO_BINDTOIFINDEX: no interface has this number

        # In the thread of the loop, so that this comes before the server receives.
        server.loop.call(send_and_leave)
        until(lambda: events.counters.dropped == {"unsendable": 1})
    counts = events.counters
    assert (counts.datagrams_in, counts.datagrams_out, counts.bytes_in, counts.bytes_out) == (4, 3, 4, 3)


def test_unix_peer_that_closed_or_is_full_loses_its_answer_alone(server: Server, tmp_path: Any) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with client(address, tmp_path) as deaf:
        sent = 0
        deaf.setblocking(False)
        while not events.counters.dropped["no_room"]:
            with contextlib.suppress(BlockingIOError):
                sent += deaf.send(b"x")
            assert sent < 100_000
            server.settle()
    with client(address, tmp_path) as gone:

        def send_and_go() -> None:
            gone.send(b"x")
            gone.close()

        # In the thread of the loop, so that it is closed before the server receives.
        server.loop.call(send_and_go)
        server.settle()
    until(lambda: events.counters.dropped["unsendable"] == 1)
    assert ask(address, b"y", tmp_path) == b"y"


@BOTH
def test_bug_in_a_service_costs_one_answer_and_is_one_event(
    server: Server, log: list[dict[str, Any]], batched: bool
) -> None:
    class UnprintableError(PeerError):
        def __str__(self) -> str:
            raise ZeroDivisionError("oops again")

    class Buggy:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            if data == b"raise":
                raise ZeroDivisionError("oops")
            if data == b"unprintable":
                raise UnprintableError
            return "text" if data == b"text" else data  # type: ignore[return-value]

    address, events = server.add(Buggy(), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        for data in (b"a", b"raise", b"text", b"unprintable", b"b"):
            sock.send(data)
        assert [sock.recv(100), sock.recv(100)] == [b"a", b"b"]
    server.settle()
    assert events.counters.failed == 3
    assert [(event["level"], event["number"]) for event in log] == [("error", 1)] * 3


@BOTH
def test_bug_in_each_datagram_is_logged_once_a_minute(server: Server, log: list[dict[str, Any]], batched: bool) -> None:
    class Buggy:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            if data == b"end":
                return data
            raise SystemExit(data)

    address, events = server.add(Buggy(), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        for number in range(100):
            sock.send(b"%d" % number)
        sock.send(b"end")
        assert sock.recv(100) == b"end"
    server.settle()
    assert events.counters.failed == 100
    assert len(log) == 1


@BOTH
def test_answer_that_cannot_be_sent_delays_no_other(server: Server, batched: bool) -> None:
    class Rude:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return b"x" * 65_520 if data == b"0" else data

    address, events = server.add(Rude(), "udp://127.0.0.1:0", batched=batched, policy=AMPLIFY)
    pattern = [b"0", b"1", b"0", b"0", b"2", b"3", b"0"]
    with client(address) as sock:
        for data in pattern:
            sock.send(data)
        assert [sock.recv(65536) for _ in range(3)] == [b"1", b"2", b"3"]
    server.settle()
    assert events.counters.dropped == {"unsendable": 4}


@BOTH
def test_answer_that_cannot_be_sent_names_its_own_peer(
    server: Server, log: list[dict[str, Any]], batched: bool
) -> None:
    class Rude:
        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return b"x" * 65_520 if data == b"0" else data

    address, events = server.add(Rude(), "udp://127.0.0.1:0", batched=batched, policy=AMPLIFY)
    with client(address) as one, client(address) as other:

        def send() -> None:  # in the loop's own thread, so that all of them come in one batch
            for sock, data in ((one, b"1"), (one, b"2"), (other, b"0"), (one, b"3")):
                sock.send(data)

        server.loop.call(send)
        assert [one.recv(10) for _ in range(3)] == [b"1", b"2", b"3"]
        server.settle()
        assert events.counters.dropped == {"unsendable": 1}
        peer = f"127.0.0.1:{other.getsockname()[1]}"
        [event] = log
        assert (event["reason"], event["peer"], event["error"]) == ("unsendable", peer, "Message too long")
        assert event["endpoint"] == f"udp://127.0.0.1:{address[1]}"
