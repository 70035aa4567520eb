"""The taps of a worker: what is sent to the supervisor of a traced service."""

import socket
from collections.abc import Callable

import pytest

from netd.daemon.messages.from_supervisor import StartTrace
from netd.daemon.messages.from_worker import Notice, TraceLines
from netd.daemon.worker import taps
from netd.daemon.worker.taps import Taps
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_exactly
from tests.support.waiting import until


class Traced:
    """An echo service with taps, and the lines that are sent. ``accept`` returns false to refuse a notice."""

    def __init__(self, server: Server, accept: Callable[[], bool] = lambda: True) -> None:
        self.sent: list[TraceLines] = []
        self._server = server
        self._accept = accept
        self.taps = Taps(server.loop, self._send)
        self.address, _ = server.add(service("echo"), "tcp://127.0.0.1:0")

    def _send(self, notice: Notice) -> bool:
        assert isinstance(notice, TraceLines)
        accepted = self._accept()
        if accepted:
            self.sent.append(notice)
        return accepted

    def start(self, number: int, name: str = "test", peer: str = "") -> None:
        self.taps.start(StartTrace(number, name, peer))
        self.attach()

    def attach(self) -> None:
        found = [one.connections for one in self._server.servers if isinstance(one, StreamServer)]
        self._server.loop.call(lambda: self.taps.attach(found))
        self._server.settle()

    def talk(self, data: bytes = b"x") -> None:
        with socket.create_connection(self.address, 10) as client:
            client.sendall(data)
            assert read_exactly(client, len(data)) == data

    def ways(self, number: int) -> list[str]:
        return [line[1] for notice in self.sent if notice.trace == number for line in notice.lines]


def test_trace_has_the_lines_of_a_service_and_its_number(server: Server) -> None:
    traced = Traced(server)
    traced.start(7)
    traced.talk()
    until(lambda: "closed" in traced.ways(7))
    assert traced.ways(7) == ["opened", "in", "out", "end", "closed"]
    assert {notice.skipped for notice in traced.sent} == {0}


def test_trace_has_no_lines_of_other_services_and_peers(server: Server) -> None:
    traced = Traced(server)
    traced.start(1, "other")
    traced.start(2, peer="192.0.2.7")
    traced.start(3, peer="127.0.0.0/8")
    traced.talk()
    until(lambda: "closed" in traced.ways(3))
    assert traced.ways(1) == traced.ways(2) == []


def test_lines_that_cannot_be_sent_are_counted_as_skipped(server: Server) -> None:
    refusals = iter([False, False])
    traced = Traced(server, lambda: next(refusals, True))
    traced.start(1)
    traced.talk()
    until(lambda: traced.sent)
    assert sum(notice.skipped for notice in traced.sent) + len(traced.ways(1)) >= 5, "opened, in, out, end, closed"
    assert traced.sent[0].skipped > 0


def test_stopped_trace_sends_no_more_lines(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "_INTERVAL", 0.01)
    traced = Traced(server)
    traced.start(1)
    traced.start(2)
    traced.talk()
    until(lambda: "closed" in traced.ways(1) and "closed" in traced.ways(2))
    before = traced.ways(1)
    traced.taps.stop(1)
    traced.attach()
    traced.talk()
    until(lambda: traced.ways(2).count("closed") == 2)
    assert traced.ways(1) == before
