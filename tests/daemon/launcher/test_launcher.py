"""A launcher as a process. This test is its supervisor, and a worker of it."""

import array
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from netd.daemon.channel import ChannelError
from netd.daemon.launcher.launcher import launch
from netd.daemon.messages import from_worker
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import Heartbeat, Kick, ListConnections, ListPeers, SetLogLevel
from netd.daemon.messages.from_worker import Alive, ConnectionList, Done, Failed, Kicked, ProgramsChanged, WorkerFault
from netd.daemon.messages.programs import Start
from netd.daemon.messages.to_launcher import (
    AddPrograms,
    AddWorker,
    EndAll,
    EndPrograms,
    Listen,
    Program,
    RemovePrograms,
)
from netd.daemon.supervisor.spawn import fork
from netd.privileges import RunAs
from netd.telemetry.sink import Sink
from tests.daemon.launcher.examples import program
from tests.support.leftovers import is_gone
from tests.support.waiting import until


class Supervised:
    """A launcher in a process of its own."""

    def __init__(self, log: int) -> None:
        self.process = fork(1, RunAs("alex"), Sink(log), launch)
        self.responses: dict[int | None, Any] = {}
        self.notices: list[Any] = []
        self.requests = 0
        self.worker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.ask(AddWorker(0, os.getpid()), theirs.fileno())

    def read(self) -> None:
        with suppress(ChannelError):
            while received := self.process.channel.receive():
                number, message = from_worker.decode(received[0])
                if number is None:
                    self.notices.append(message)
                else:
                    self.responses[number] = message

    def order(self, message: Any) -> None:
        self.process.channel.send_encoded(encode(message))

    def ask(self, message: Any, *descriptors: int) -> Any:
        self.requests += 1
        number = self.requests
        self.process.channel.send_encoded(encode(message), descriptors, request=number)
        until(lambda: (self.read(), number in self.responses)[1])  # type: ignore[func-returns-value]
        return self.responses[number]

    def add(self, *programs: Program, listener: socket.socket | None = None) -> None:
        numbers = [programs[0].number] if listener else []
        answer = self.ask(
            AddPrograms([one.encode() for one in programs], numbers, {}), *([listener.fileno()] if listener else [])
        )
        assert answer == Done()

    def start(self, start: int, number: int = 1) -> socket.socket:
        """Send a start. Returns the end of the peer."""
        peer, connection = socket.socketpair()
        with connection:
            rights = array.array("i", [connection.fileno()])
            self.worker.sendmsg([Start(start, number, {}).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        peer.settimeout(20)
        return peer

    def noticed(self, kind: type) -> Any:
        """The next notice of this type."""
        until(lambda: (self.read(), any(isinstance(one, kind) for one in self.notices))[1])  # type: ignore[func-returns-value]
        [found, *_] = [one for one in self.notices if isinstance(one, kind)]
        self.notices.remove(found)
        return found

    @property
    def has_ended(self) -> bool:
        return is_gone(self.process.pid)


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    log = os.open(os.devnull, os.O_WRONLY)
    made = Supervised(log)
    yield made
    made.worker.close()
    with suppress(ChannelError):
        made.order(EndAll(wait=False, leave=False))
    until(lambda: made.has_ended)
    made.process.poll()
    made.process.close()
    os.close(log)


def echoed(peer: socket.socket) -> bool:
    peer.sendall(b"x")
    return peer.recv(1) == b"x"


def test_launcher_answers_heartbeats_and_starts_what_it_knows(supervised: Supervised) -> None:
    assert isinstance(supervised.ask(Heartbeat()), Alive)
    assert supervised.ask(SetLogLevel("debug")) == Done()
    supervised.add(program("/bin/cat"))
    with supervised.start(1) as peer:
        assert echoed(peer)
        assert supervised.ask(ListConnections()) == ConnectionList(0, []), "the worker lists it"


def test_invalid_message_of_the_supervisor_is_answered_with_an_error(supervised: Supervised) -> None:
    failed = supervised.ask(AddPrograms([], [1], {}))
    assert isinstance(failed, Failed)
    assert failed.error.startswith("a bug in netd: AddPrograms: 1 descriptors expected")
    assert isinstance(supervised.ask(Heartbeat()), Alive)


def test_programs_of_a_worker_that_has_gone_are_told_listed_and_kicked(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    with supervised.start(1) as first, supervised.start(2) as second:
        assert echoed(first)
        assert echoed(second)
        supervised.worker.close()
        assert supervised.noticed(ProgramsChanged) == ProgramsChanged("test", 2)
        listed = supervised.ask(ListConnections(service="test"))
        assert listed.total == 2
        assert supervised.ask(ListConnections(service="other")).total == 0
        assert supervised.ask(ListPeers()).total == 2
        assert supervised.ask(Kick(id=listed.connections[0].id)) == Kicked(1)
        ended = supervised.noticed(ProgramsChanged)
        assert (ended.running, ended.ended) == (1, "signal")


def test_fault_of_a_worker_is_told(supervised: Supervised) -> None:
    supervised.worker.send(b"?")
    fault = supervised.noticed(WorkerFault)
    assert fault.worker == 0


def test_program_that_was_removed_is_started_for_what_was_under_way(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    supervised.order(RemovePrograms([1]))
    with supervised.start(1) as peer:
        assert echoed(peer)


def test_programs_are_ended_after_the_time_that_is_said(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"), program("/bin/cat", number=2))
    with supervised.start(1) as first, supervised.start(2, number=2) as second:
        assert echoed(first)
        assert echoed(second)
        supervised.order(EndPrograms([1], 0.1))
        assert first.recv(1) == b""
        assert echoed(second)
        supervised.order(EndPrograms(None, 0.0))
        assert second.recv(1) == b""


@pytest.mark.slow
def test_launcher_exits_when_its_last_program_has_ended(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    with supervised.start(1) as peer:
        assert echoed(peer)
        supervised.order(EndAll(wait=True, leave=False))
        assert echoed(peer)
        assert not supervised.has_ended
        peer.shutdown(socket.SHUT_WR)
        until(lambda: supervised.has_ended)


def test_launcher_starts_the_programs_asked_for_in_the_channel_before_it_exits(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    os.kill(supervised.process.pid, signal.SIGSTOP)
    with supervised.start(1) as peer:
        supervised.order(EndAll(wait=True, leave=False))
        os.kill(supervised.process.pid, signal.SIGCONT)
        assert echoed(peer)


def test_programs_go_on_without_the_launcher_where_they_are_left(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    with supervised.start(1) as peer:
        assert echoed(peer)
        supervised.order(EndAll(wait=False, leave=True))
        until(lambda: supervised.has_ended)
        assert echoed(peer)


def test_launcher_exits_with_the_channel_and_its_programs_go_on(supervised: Supervised) -> None:
    supervised.add(program("/bin/cat"))
    with supervised.start(1) as peer:
        assert echoed(peer)
        supervised.process.channel.close()
        until(lambda: supervised.has_ended)
        assert echoed(peer)


def test_program_with_a_listener_is_started_once_it_is_in_force(supervised: Supervised) -> None:
    code = "exec dd bs=100 count=1 of=/dev/null 2>/dev/null"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.sendto(b"x", listener.getsockname())
        supervised.add(replace(program("/bin/sh", "-c", code), gives="listener"), listener=listener)
        supervised.ask(Heartbeat())
        assert supervised.notices == []
        supervised.order(Listen([1]))
        started = supervised.noticed(ProgramsChanged)
        assert (started.running, started.started) == (1, 1)
        ended = supervised.noticed(ProgramsChanged)
        assert (ended.running, ended.ended) == (0, "success")
