"""Programs with listeners that a launcher has left, ended by the supervisor, which is this test."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from netd.daemon.messages.to_launcher import Program
from netd.daemon.supervisor.listener_holders import Holder
from tests.daemon.launcher.examples import program, shell
from tests.daemon.launcher.turned_loop import TurnedLoop

IGNORES = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", stop_after=0.1)


@pytest.fixture
def loop() -> Iterator[TurnedLoop]:
    made = TurnedLoop()
    yield made
    made.close()


def started(of: Program, leads: bool = True) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(of.command, start_new_session=leads, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("of", "code"), [(shell("echo ready; sleep 100"), signal.SIGTERM), (IGNORES, signal.SIGKILL)])
def test_orphan_is_ended_with_its_group(loop: TurnedLoop, of: Program, code: int) -> None:
    with started(of) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        holder, told = Holder(process.pid, of, 0.0), []
        holder.end_orphan(loop, lambda: told.append("ended"))
        loop.turn_until(lambda: holder.ended.done)
        assert told == ["ended"]
        assert process.wait() == -code


@pytest.mark.parametrize("leads", [True, False])
def test_process_that_is_no_orphan_is_left_alone(loop: TurnedLoop, leads: bool) -> None:
    with started(program("/bin/sleep", 100), leads=False) as process:
        pid = os.getppid() if leads else process.pid
        holder = Holder(pid, program("/bin/sleep"), 0.0)
        holder.end_orphan(loop, lambda: None)
        assert holder.ended.done
        assert process.poll() is None
        process.kill()
