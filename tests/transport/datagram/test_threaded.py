"""Datagrams that are answered in threads, on real sockets."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.errors import PeerError
from netd.peer import Peer
from netd.transport.datagram import threaded
from tests.support.server import Server
from tests.support.waiting import until

Log = list[dict[str, Any]]


class Slow:
    """Answers in upper case once it is let go; a datagram ``now`` at once."""

    datagram_blocks = True

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = 0

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        self.entered += 1
        if data != b"now":
            assert self.let_go.wait(20)
        return data.upper()


class Answering:
    """Answers with what a function returns."""

    datagram_blocks = True

    def __init__(self, function: Callable[[bytes], Any]) -> None:
        self._function = function

    def datagram(self, data: bytes, peer: Peer) -> Any:
        return self._function(data)


@contextlib.contextmanager
def client(address: Any) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(10)
        one.connect(address)
        yield one


def threads() -> int:
    return sum(thread.name == "netd-test" for thread in threading.enumerate())


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
def test_datagram_that_blocks_holds_up_no_other(server: Server, batched: bool) -> None:
    service = Slow()
    address, events = server.add(service, "udp://127.0.0.1:0", batched=batched)
    with client(address) as first, client(address) as second:
        first.send(b"later")
        until(lambda: service.entered == 1)
        second.send(b"now")
        assert second.recv(10) == b"NOW"
        service.let_go.set()
        assert first.recv(10) == b"LATER"
    until(lambda: events.counters.datagrams_out == 2)
    counters = events.counters
    assert (counters.datagrams_in, counters.bytes_in, counters.bytes_out) == (2, 8, 8)
    until(lambda: threads() == events.counters.threads == 0)


def test_datagrams_wait_for_a_thread_and_further_ones_are_dropped(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded, "MOST_WAITING", 3)
    service = Slow()
    address, events = server.add(service, "udp://127.0.0.1:0", threads=2)
    with client(address) as one:
        for number in range(2):
            one.send(b"a%d" % number)
            until(lambda number=number: service.entered == number + 1)  # type: ignore[misc]
        for number in range(2, 9):
            one.send(b"a%d" % number)
        until(lambda: events.counters.dropped.total() == 4)
        assert (threads(), service.entered, events.counters.threads) == (2, 2, 2)
        service.let_go.set()
        assert sorted(one.recv(10) for _ in range(5)) == [b"A%d" % number for number in range(5)]
    assert events.counters.dropped == {"threads": 4}
    assert [line["reason"] for line in log if line["event"] == "datagrams_dropped"] == ["threads"]
    until(lambda: threads() == events.counters.threads == 0)


def test_datagram_waits_for_a_thread_that_another_one_of_the_service_has(server: Server) -> None:
    service = Slow()
    address, events = server.add(service, "udp://127.0.0.1:0", threads=1)
    slots = server.servers[0].admission.threads  # type: ignore[union-attr]
    server.loop.call(slots.acquire)
    with client(address) as one:
        one.send(b"now")
        until(lambda: events.counters.datagrams_in == 1)
        assert (service.entered, threads()) == (0, 0)
        server.loop.call(slots.release)
        assert one.recv(10) == b"NOW"


@pytest.mark.parametrize("to", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_answer_leaves_from_the_address_that_was_asked(server: Server, to: str) -> None:
    address, _ = server.add(Answering(bytes.upper), "udp://*:0")
    with client((to, address[1])) as one:
        one.send(b"x")
        assert one.recv(10) == b"X", "another source would not reach a connected socket"


def test_datagram_over_a_unix_socket_is_answered(server: Server, tmp_path: Path) -> None:
    address, _ = server.add(Answering(bytes.upper), f"unixgram://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.settimeout(10)
        one.bind(f"{tmp_path}/client")
        one.sendto(b"hello", address)
        assert one.recv(10) == b"HELLO"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed:
        unnamed.sendto(b"hello", address)
    events = server.servers[0].events
    until(lambda: events.counters.dropped == {"no_address": 1})


@pytest.mark.parametrize("amplify", [[], ["127.0.0.0/8"]], ids=["guarded", "listed"])
def test_reply_guard_holds_for_an_answer_that_comes_later(server: Server, amplify: list[str]) -> None:
    service = Answering(lambda data: bytes(100) if data == b"long" else data)
    address, events = server.add(service, "udp://127.0.0.1:0", policy={"amplify": amplify})
    with client(address) as one:
        one.send(b"long")
        if amplify:
            assert one.recv(200) == bytes(100)
        else:
            until(lambda: events.counters.dropped == {"amplification": 1})
        one.send(b"x")
        assert one.recv(200) == b"x"


def test_rates_and_access_hold_before_a_thread_is_taken(server: Server) -> None:
    service = Slow()
    address, events = server.add(service, "udp://127.0.0.1:0", rate="1/h burst 2", exempt=[])
    with client(address) as one:
        for _ in range(5):
            one.send(b"now")
        assert [one.recv(10) for _ in range(2)] == [b"NOW"] * 2
    until(lambda: events.counters.dropped == {"rate": 3})
    assert service.entered == 2


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit(3)])
def test_bug_costs_one_answer_and_is_one_event(server: Server, log: Log, error: BaseException) -> None:
    def fail(data: bytes) -> bytes | str:
        if data == b"fail":
            raise error
        if data == b"refuse":
            raise PeerError("no")
        return "text" if data == b"text" else data

    address, events = server.add(Answering(fail), "udp://127.0.0.1:0")
    with client(address) as one:
        for data in (b"fail", b"text", b"refuse"):
            one.send(data)
        assert one.recv(100) == PeerError("no").answer
    until(lambda: events.counters.failed == 2)
    lines = [line for line in log if line["level"] == "error"]
    assert [line["event"] for line in lines] == ["conversation_failed"] * 2
    assert {type(line["exc_info"]) for line in lines} == {type(error), TypeError}


def test_no_thread_of_the_system_left_delays_a_datagram(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, events = server.add(Answering(bytes.upper), "udp://127.0.0.1:0")
    with monkeypatch.context() as without, client(address) as one:
        without.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("can't start")))
        one.send(b"x")
        until(lambda: [line for line in log if line["event"] == "accept_paused"])
        assert events.counters.threads == 0
        without.undo()
        assert one.recv(10) == b"X"


def test_datagrams_that_wait_are_counted_as_dropped_with_the_socket() -> None:
    service = Slow()
    with Server() as running:
        address, events = running.add(service, "udp://127.0.0.1:0", threads=1)
        with client(address) as one:
            one.send(b"first")
            until(lambda: service.entered == 1)
            one.send(b"second")
            until(lambda: events.counters.datagrams_in == 2)
    service.let_go.set()
    assert events.counters.dropped == {"threads": 1}
    until(lambda: threads() == 0)


def test_answer_for_which_the_socket_is_closed_is_counted_as_dropped(server: Server) -> None:
    service = Slow()
    address, events = server.add(service, "udp://127.0.0.1:0")
    with client(address) as one:
        one.send(b"x")
        until(lambda: service.entered == 1)
        server.loop.call(server.servers[0].server_close)
        server.settle()
        service.let_go.set()
        until(lambda: events.counters.dropped == {"unsendable": 1})
    until(lambda: threads() == events.counters.threads == 0)
    assert events.counters.failed == 0
