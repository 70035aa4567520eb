"""Programs that are run for their output: what is told of each end, and that none piles up."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from netd.contract import End, Finished, ProgramObserver, RunningProgram
from netd.daemon.worker.program_run import runner
from netd.peer import Peer
from netd.telemetry.program_events import ProgramEvents
from tests.support.server import Server
from tests.support.waiting import until


class Launcher:
    """In the place of a launcher: the test plays the program."""

    def __init__(self, server: Server) -> None:
        self.results: list[Finished] = []
        self.observers: list[ProgramObserver] = []
        self.stops = 0
        self.output = -1
        self._server = server
        self._run = runner(server.loop, ProgramEvents("test"), self._start)

    def _start(
        self, peer: Peer, facts: Mapping[str, str], descriptors: Sequence[int], observer: ProgramObserver
    ) -> RunningProgram:
        self.close()
        self.output = os.dup(descriptors[0])
        self.observers.append(observer)
        observer.sent()
        return self

    def stop(self) -> None:
        self.stops += 1

    def run(self, timeout: float = 60.0, most: int = 100) -> None:
        """Start a program."""
        self.call(lambda: self._run(timeout, most, self.results.append))

    def end(self, code: int | None = 0) -> None:
        """The program that was started last ends."""
        self.call(lambda: self.observers[-1].ended(End(code, 1.5, 0.0, 0.0, 0, timed_out=False)))

    def call(self, function: Callable[[], object]) -> None:
        """Call it in the thread of the loop, and wait for that."""
        self._server.loop.call(function)
        self._server.settle()

    def close(self) -> None:
        """Close the standard output of the program."""
        if self.output >= 0:
            os.close(self.output)
        self.output = -1


@pytest.fixture
def launcher(server: Server) -> Iterator[Launcher]:
    found = Launcher(server)
    yield found
    found.close()


def test_output_and_code_of_a_program_are_told_at_its_end(launcher: Launcher) -> None:
    launcher.run()
    launcher.call(lambda: launcher.observers[0].started(7))
    os.write(launcher.output, b"one ")
    os.write(launcher.output, b"two")
    assert launcher.results == []
    launcher.end(3)
    assert launcher.results == [Finished(3, b"one two", "", 1.5)]


def test_output_is_cut_at_its_bound(launcher: Launcher) -> None:
    launcher.run(most=5)
    os.write(launcher.output, b"1234567")
    os.write(launcher.output, b"x" * 65536)  # the pipe is emptied, so that the program is not blocked
    launcher.end()
    assert launcher.results == [Finished(0, b"12345", "", 1.5)]


def test_program_that_is_not_started(launcher: Launcher) -> None:
    launcher.run()
    launcher.call(lambda: launcher.observers[0].not_started("failed", "no such file"))
    assert launcher.results == [Finished(None, b"", "no such file")]


def test_end_that_is_not_known(launcher: Launcher) -> None:
    launcher.run()
    launcher.end(None)
    [result] = launcher.results
    assert (result.code, bool(result.error)) == (None, True)


def test_timeout_is_told_once_and_stops_the_program(launcher: Launcher) -> None:
    launcher.run(timeout=0.01)
    os.write(launcher.output, b"half")
    until(lambda: launcher.results)
    assert launcher.results == [Finished(None, b"half", "timeout")]
    assert launcher.stops == 1
    launcher.end(-9)
    assert len(launcher.results) == 1


def test_program_that_does_not_end_is_not_started_again(launcher: Launcher) -> None:
    """A process that waits for a disk or a file server ends by no signal: with each check there would be one more."""
    launcher.run(timeout=0.01)
    until(lambda: launcher.results)
    for _ in range(3):
        launcher.run()
    assert launcher.results == [Finished(None, b"", "timeout")] * 4
    assert len(launcher.observers) == 1
    launcher.end(-9)
    launcher.run()
    launcher.end(0)
    assert launcher.results[4:] == [Finished(0, b"", "", 1.5)]
    assert len(launcher.observers) == 2


def test_output_without_an_end_does_not_keep_the_loop(launcher: Launcher) -> None:
    """A child of the program has its standard output, and writes faster than netd reads."""
    launcher.run()
    reads = 0

    def endless(descriptor: int, most: int) -> bytes:
        nonlocal reads
        reads += 1
        return b"y" * most if reads < 1000 else b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netd.daemon.worker.program_run.os.read", endless)
        launcher.end(0)
    assert reads < 100
    assert launcher.results == [Finished(0, b"y" * 100, "", 1.5)]
