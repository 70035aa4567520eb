"""Listening sockets and the programs that get them: when one is started, and after which pause the next one."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from netd.contract import End
from netd.daemon.launcher import listeners
from netd.daemon.launcher.listeners import ProgramListener
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.messages.to_launcher import Program
from tests.daemon.launcher.examples import program, shell
from tests.daemon.launcher.turned_loop import TurnedLoop
from tests.support.leftovers import is_gone


class Listening:
    """A listener with a program, and what it has told."""

    def __init__(self) -> None:
        self.loop = TurnedLoop()
        self.programs = Programs(self.loop, lambda: None)
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.pids: list[int] = []
        self.ends: list[End] = []
        self.errors: list[str] = []
        self.held: list[int] = []
        self.pipes: list[int] = []
        self.made: list[ProgramListener] = []

    def add(self, started: Program) -> ProgramListener:
        one = ProgramListener(
            self.socket.dup(),
            started,
            self.programs,
            self.loop,
            self.null,
            lambda running: self.pids.append(running.pid),
            self._on_end,
            lambda known, error: self.errors.append(error),
            lambda known, pid: self.held.append(pid),
            lambda running, reader: self.pipes.append(reader),
        )
        self.made.append(one)
        return one

    def _on_end(self, running: Running, end: End) -> None:
        self.ends.append(end)

    def wake(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", self.socket.getsockname())

    def turn_until(self, condition: Any) -> None:
        def reaped() -> object:
            self.programs.reap()
            return condition()

        self.loop.turn_until(reaped)

    def close(self) -> None:
        for one in self.made:
            if one._listener.fileno() >= 0:
                one.close()
        for running in self.programs:
            os.killpg(running.pid, signal.SIGKILL)
        self.turn_until(lambda: not len(self.programs))
        self.socket.close()
        self.loop.close()
        os.close(self.null)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr(listeners, "_DELAYS", (0.0, 0.2, 100.0))
    made = Listening()
    yield made
    made.close()


def listener(*command: object, **changed: Any) -> Program:
    return program(*command, gives="listener", **changed)


READ = ("/bin/sh", "-c", "exec dd bs=100 count=1 of=/dev/null 2>/dev/null")


def test_program_is_started_once_it_listens_and_something_comes(listening: Listening) -> None:
    one = listening.add(listener(*READ))
    listening.wake()
    listening.loop.turn()
    assert listening.pids == []
    one.start()
    one.start()
    listening.turn_until(lambda: listening.ends)
    assert (len(listening.pids), listening.ends[0].code) == (1, 0)
    assert listening.held == [*listening.pids, 0], "noted before it is told, until it has ended"
    listening.loop.turn()
    assert len(listening.pids) == 1, "nothing waits any more"
    listening.wake()
    listening.turn_until(lambda: len(listening.ends) == 2)


def test_program_runs_alone_with_a_blocking_socket_and_without_a_worker(listening: Listening) -> None:
    listening.add(listener("/bin/sleep", 100)).start()
    listening.wake()
    listening.turn_until(lambda: listening.pids)
    listening.wake()
    listening.loop.turn()
    [running] = listening.programs
    assert not running.is_owned
    assert listening.socket.gettimeout() == 0.0
    assert os.get_blocking(listening.socket.fileno())


def test_standard_error_is_a_pipe_where_it_is_logged(listening: Listening) -> None:
    script = "dd bs=100 count=1 of=/dev/null 2>/dev/null; echo complaint >&2"
    for errors in ("log", "null"):
        listening.add(listener("/bin/sh", "-c", script, errors=errors)).start()
        listening.wake()
        listening.turn_until(lambda: listening.ends)
        listening.made.pop().close()
        listening.ends.clear()
    [reader] = listening.pipes
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"complaint\n"


def test_program_that_keeps_failing_is_started_after_growing_pauses(listening: Listening) -> None:
    listening.add(listener("/bin/false")).start()
    listening.wake()
    listening.turn_until(lambda: len(listening.ends) == 3)
    due = listening.loop.wheel.due - listening.loop.now
    assert 50 < due <= 100.2
    listening.loop.turn()
    assert len(listening.pids) == 3


def test_program_that_cannot_be_started_is_tried_after_growing_pauses(listening: Listening) -> None:
    listening.add(listener("/no/such")).start()
    listening.wake()
    listening.turn_until(lambda: len(listening.errors) == 3)
    assert set(listening.errors) == {"cannot start /no/such: No such file or directory"}
    assert listening.held[1::2] == [0, 0, 0]
    listening.loop.turn()
    assert len(listening.errors) == 3


def test_success_ends_the_growing_pauses(listening: Listening) -> None:
    one = listening.add(listener("/bin/true"))
    one._failures = 2
    one.start()
    listening.wake()
    listening.turn_until(lambda: len(listening.ends) >= 3)
    assert one._failures == 0


def test_program_that_succeeds_at_once_without_reading_has_a_pause_after_many(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_BURST", 3.0)
    monkeypatch.setattr(listeners, "_RATE", 0.0)
    monkeypatch.setattr(listeners, "_PAUSE", 100.0)
    listening.add(listener("/bin/true")).start()
    listening.wake()
    listening.turn_until(lambda: listening.loop.wheel.due - listening.loop.now > 50 and len(listening.ends) >= 3)
    assert len(listening.ends) == 3
    assert len(listening.pids) == 3


def test_program_of_another_launcher_has_the_socket_until_it_ends(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getpid()
    monkeypatch.setattr(os, "getppid", lambda: me)
    one = listening.add(listener(*READ))
    with subprocess.Popen(["/bin/sleep", "100"], start_new_session=True) as process:
        running = one.adopt(process.pid, 1.5)
        assert running
        assert not running.is_owned
        one.start()
        listening.wake()
        listening.loop.turn()
        assert listening.pids == [], "one runs at a time"
        process.kill()
        listening.loop.turn_until(lambda: listening.ends)
    assert listening.ends[0].code is None
    listening.turn_until(lambda: len(listening.ends) == 2)
    assert one.adopt(process.pid, 1.5) is None
    assert listening.held[-1] == 0


def test_closing_ends_the_program_and_starts_no_other(listening: Listening) -> None:
    one = listening.add(listener("/bin/sleep", 100))
    one.start()
    listening.wake()
    listening.turn_until(lambda: listening.pids)
    one.close()
    listening.turn_until(lambda: listening.ends)
    assert is_gone(listening.pids[0])
    listening.loop.turn()
    assert len(listening.pids) == 1


@pytest.mark.parametrize("state", ["new", "waiting", "pausing"])
def test_closing_without_a_program_starts_none_any_more(listening: Listening, state: str) -> None:
    one = listening.add(listener("/no/such"))
    if state != "new":
        one.start()
    if state == "pausing":
        listening.wake()
        listening.turn_until(lambda: len(listening.errors) == 3)
    one.close()
    listening.wake()
    listening.loop.turn()
    assert len(listening.errors) == (3 if state == "pausing" else 0)
    assert listening.loop.wheel.due == float("inf")


def test_program_of_a_reload_is_started_when_the_one_before_has_ended(listening: Listening) -> None:
    old = listening.add(shell("trap '' TERM; echo ready; sleep 100", gives="listener", stop_after=0.3))
    old.start()
    listening.wake()
    listening.turn_until(lambda: listening.pids)
    old.close()
    listening.add(listener(*READ, number=2)).start()
    listening.turn_until(lambda: len(listening.pids) == 2)
    assert len(listening.ends) >= 1, "the other one had ended"
    listening.turn_until(lambda: len(listening.ends) == 2)
    assert listening.ends[1].code == 0, "what waited is not lost"
