"""The programs that run: limits, ends, and how they are ended. With real programs, and a loop in this thread."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.contract import End
from netd.daemon.launcher import programs
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.spawn import StartError
from netd.daemon.messages.to_launcher import Program
from tests.daemon.launcher.examples import program, shell
from tests.daemon.launcher.turned_loop import TurnedLoop
from tests.daemon.programs import IGNORE_TERM
from tests.support.leftovers import is_gone
from tests.support.programs import started
from tests.support.waiting import until


class Launched:
    """Programs with a loop, and the ends that they have told."""

    def __init__(self) -> None:
        self.loop = TurnedLoop()
        self.emptied = 0
        self.programs = Programs(self.loop, self._on_empty)
        self.ends: dict[int, End] = {}
        """By process id."""
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)

    def _on_empty(self) -> None:
        self.emptied += 1

    def start(self, started: Program) -> Running:
        return self.programs.start(started, "192.0.2.7:4711", {}, (self.writing, self.writing, 2), self.ended, 4711, 1)

    def ended(self, running: Running, end: End) -> None:
        assert running.pid not in self.ends, "told once"
        self.ends[running.pid] = end

    def end_of(self, running: Running) -> End:
        """Wait for the end of a program."""

        def has_ended() -> bool:
            self.programs.reap()
            return running.pid in self.ends

        self.loop.turn_until(has_ended)
        return self.ends[running.pid]

    def line(self) -> str:
        """The next line that programs print."""
        data = b""
        while not data.endswith(b"\n"):
            data += os.read(self.reading, 1)
        return data.decode().strip()


@pytest.fixture
def launched() -> Iterator[Launched]:
    made = Launched()
    yield made
    for running in made.programs:
        os.killpg(running.pid, signal.SIGKILL)
        made.end_of(running)
    made.loop.close()
    os.close(made.reading)
    os.close(made.writing)


def test_end_has_the_exit_code_the_times_and_the_memory(launched: Launched) -> None:
    began = time.monotonic()
    size = 2**28 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    greedy = f"x = b'x' * {size}\nwhile i := i - 1: pass\nraise SystemExit(7)"
    end = launched.end_of(launched.start(program(sys.executable, "-SIc", f"i = 200_000\n{greedy}")))
    assert (end.code, end.timed_out) == (7, False)
    assert 0 < end.user + end.system < time.monotonic() - began + 0.1
    assert 0 < end.seconds <= time.monotonic() - began
    assert size < end.memory < size + 2**28
    assert (len(launched.programs), launched.emptied) == (0, 1)


def test_memory_is_not_known_where_it_is_less_than_that_of_the_launcher(launched: Launched) -> None:
    """The kernel counts what a process had before execve(2), which is the memory of the launcher."""
    for way in ({}, {"limits": {"CORE": (0, 0)}}):
        assert launched.end_of(launched.start(program("/bin/true", **way))).memory == 0


def test_end_by_a_signal_has_its_negative_number(launched: Launched) -> None:
    assert launched.end_of(launched.start(shell("kill -USR1 $$"))).code == -signal.SIGUSR1


def test_limit_counts_the_programs_of_a_service(launched: Launched) -> None:
    limited, other = program("/bin/cat", connections=2), program("/bin/cat", connections=2, service="other")
    first = launched.start(limited)
    assert not launched.programs.is_full(limited)
    launched.start(limited)
    assert launched.programs.is_full(limited)
    assert not launched.programs.is_full(other)
    assert not launched.programs.is_full(program("/bin/cat"))
    os.kill(first.pid, signal.SIGKILL)
    launched.end_of(first)
    assert not launched.programs.is_full(limited)


def test_program_that_cannot_be_started_is_not_counted(launched: Launched) -> None:
    limited = program("/no/such", connections=1)
    with pytest.raises(StartError):
        launched.start(limited)
    assert not launched.programs.is_full(limited)
    assert len(launched.programs) == 0


def test_lifetime_ends_a_program_with_its_stop_signal(launched: Launched) -> None:
    end = launched.end_of(launched.start(program("/bin/sleep", 100, lifetime=0.05, stop_signal=signal.SIGHUP)))
    assert (end.code, end.timed_out) == (-signal.SIGHUP, True)
    assert end.seconds >= 0.05


def test_program_that_ends_within_its_lifetime_is_not_timed_out(launched: Launched) -> None:
    end = launched.end_of(launched.start(program("/bin/true", lifetime=100.0)))
    assert (end.code, end.timed_out) == (0, False)
    assert launched.loop.wheel.due == float("inf"), "nothing is timed"


def test_program_that_ignores_the_signal_is_killed_later(launched: Launched) -> None:
    running = launched.start(shell(IGNORE_TERM, stop_after=0.1))
    assert launched.line() == "ready"
    launched.programs.end(running)
    end = launched.end_of(running)
    assert (end.code, end.timed_out) == (-signal.SIGKILL, False)
    assert end.seconds >= 0.1


def test_program_is_ended_once(launched: Launched) -> None:
    running = launched.start(shell("trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done", stop_after=0.3))
    assert launched.line() == "ready"
    for _ in range(5):
        launched.programs.end(running)
    assert launched.end_of(running).code == -signal.SIGKILL
    os.set_blocking(launched.reading, False)
    assert os.read(launched.reading, 100) == b"term\n"
    launched.programs.end(running)


def test_stopped_program_is_ended_too(launched: Launched) -> None:
    running = launched.start(shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"))
    assert launched.line() == "ready"
    os.killpg(running.pid, signal.SIGSTOP)
    launched.programs.end(running)
    assert launched.end_of(running).code == 3


def test_group_is_ended_with_the_program(launched: Launched) -> None:
    running = launched.start(shell("sleep 100 & echo $!; wait"))
    child = int(launched.line())
    launched.programs.end(running)
    launched.end_of(running)
    launched.loop.turn_until(lambda: is_gone(child))


def test_rest_of_the_group_that_ignores_the_signal_is_killed_at_the_end_of_the_program(launched: Launched) -> None:
    running = launched.start(shell(f"(exec sh -c '{IGNORE_TERM.replace(chr(39), chr(34))}') & echo $!; wait"))
    child = int(launched.line())
    assert launched.line() == "ready"
    launched.programs.end(running)
    launched.end_of(running)
    launched.loop.turn_until(lambda: is_gone(child))


def test_program_that_leaves_a_child_is_over_and_the_child_goes_on(launched: Launched) -> None:
    running = launched.start(shell("sleep 100 & echo $!"))
    child = int(launched.line())
    assert launched.end_of(running).code == 0
    assert not is_gone(child)
    os.kill(child, signal.SIGKILL)


def test_child_in_a_session_of_its_own_goes_on(launched: Launched) -> None:
    running = launched.start(shell("setsid sh -c 'echo $$; exec sleep 100' & wait"))
    child = int(launched.line())
    launched.programs.end(running)
    launched.end_of(running)
    assert not is_gone(child)
    os.kill(child, signal.SIGKILL)


def test_many_that_end_at_once_are_all_told_and_leave_no_zombie(launched: Launched) -> None:
    many = [launched.start(program("/bin/sleep", 100)) for _ in range(40)]
    for running in many:
        os.killpg(running.pid, signal.SIGKILL)
    for running in many:
        assert launched.end_of(running).code == -signal.SIGKILL
    for running in many:
        with pytest.raises(ChildProcessError):
            os.waitpid(running.pid, os.WNOHANG)
    assert launched.emptied == 1


def test_ends_are_told_of_those_that_were_ended_and_of_others(launched: Launched) -> None:
    many = [launched.start(shell("sleep 100 & echo $$ $!; exec sleep 100")) for _ in range(20)]
    pairs = [launched.line().split() for _ in many]
    children = {int(first): int(child) for first, child in pairs}
    for number, running in enumerate(many):
        if number % 2:
            launched.programs.end(running)
        else:
            os.kill(running.pid, signal.SIGKILL)
    codes = [launched.end_of(running).code for running in many]
    assert codes == [-signal.SIGKILL, -signal.SIGTERM] * 10
    for number, running in enumerate(many):
        child = children[running.pid]
        if number % 2:
            until(partial(is_gone, child))
        else:
            assert not is_gone(child)
            os.kill(child, signal.SIGKILL)


def test_child_that_is_no_program_is_reaped(launched: Launched) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    launched.loop.turn_until(lambda: is_gone(child))
    launched.programs.reap()
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def adopted(launched: Launched, adopts: Program, seconds: float = 0.0) -> tuple["subprocess.Popen[bytes]", Running]:
    """A program of another launcher, which is kept here."""
    process = subprocess.Popen(adopts.command, start_new_session=True, stdout=launched.writing)
    pidfd = os.pidfd_open(process.pid)
    return process, launched.programs.adopt(adopts, process.pid, pidfd, time.monotonic() - seconds, launched.ended)


def test_program_of_another_launcher_is_counted_and_its_end_is_told_without_a_code(launched: Launched) -> None:
    limited = program("/bin/sleep", 100, connections=1)
    process, running = adopted(launched, limited, 2.5)
    assert launched.programs.is_full(limited)
    process.kill()
    launched.loop.turn_until(lambda: running.pid in launched.ends)
    end = launched.ends[running.pid]
    assert (end.code, end.memory) == (None, 0)
    assert end.seconds > 2.5
    assert not launched.programs.is_full(limited)
    assert not os.path.exists(f"/proc/self/fd/{running.pidfd}")
    process.wait()


def test_program_of_another_launcher_has_the_rest_of_its_lifetime(launched: Launched) -> None:
    process, running = adopted(launched, program("/bin/sleep", 100, lifetime=60.0), 59.9)
    launched.loop.turn_until(lambda: running.pid in launched.ends)
    assert launched.ends[running.pid].timed_out
    assert process.wait() == -signal.SIGTERM


@pytest.fixture(params=[1 << 2, 1 << 30], ids=["linux-6.9", "before"])
def _group_flag(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag by which a pidfd means a process group, and with one that no kernel knows."""
    monkeypatch.setattr(programs, "_PROCESS_GROUP", request.param)


@pytest.mark.usefixtures("_group_flag")
def test_program_of_another_launcher_is_ended_with_its_group(launched: Launched) -> None:
    process, running = adopted(launched, shell("sleep 100 & echo $!; wait"))
    child = int(launched.line())
    launched.programs.end(running)
    launched.loop.turn_until(lambda: running.pid in launched.ends and is_gone(child))
    process.wait()


@pytest.mark.usefixtures("_group_flag")
def test_rest_of_the_group_of_a_program_of_another_launcher_is_killed_at_its_end(launched: Launched) -> None:
    process, running = adopted(launched, shell("(trap '' TERM; echo $(exec sh -c 'echo $PPID'); sleep 100) & wait"))
    child = int(launched.line())
    launched.programs.end(running)
    launched.loop.turn_until(lambda: running.pid in launched.ends and is_gone(child))
    assert process.wait() == -signal.SIGTERM


@pytest.mark.usefixtures("_group_flag")
def test_signal_to_a_program_of_another_launcher_reaches_no_other_process_of_its_number(launched: Launched) -> None:
    gone = subprocess.Popen(["/bin/true"], start_new_session=True)
    pidfd = os.pidfd_open(gone.pid)
    gone.wait()
    with started("/bin/cat", stdin=subprocess.PIPE, start_new_session=True) as other:
        running = launched.programs.adopt(program("/bin/true"), other.pid, pidfd, time.monotonic(), launched.ended)
        launched.programs.end(running)
        launched.loop.turn_until(lambda: other.pid in launched.ends)
        other.communicate(timeout=20)
        assert other.returncode == 0, "it has ended at the end of its input, and by no signal"


@pytest.mark.parametrize("gives", ["listener", "connection"])
def test_program_with_a_listener_that_was_told_to_end_still_has_it(launched: Launched, gives: Any) -> None:
    running = launched.start(shell("trap '' TERM; echo ready; sleep 100", gives=gives, stop_after=0.1))
    assert launched.line() == "ready"
    assert not launched.programs.is_ending("test")
    launched.programs.end(running)
    assert launched.programs.is_ending("test") == (gives == "listener")
    assert not launched.programs.is_ending("other")
    launched.end_of(running)
    assert not launched.programs.is_ending("test")


def test_launcher_is_itself_in_another_process_group(launched: Launched) -> None:
    running = launched.start(program("/bin/cat"))
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[2]) == running.pid != os.getpgid(0)
