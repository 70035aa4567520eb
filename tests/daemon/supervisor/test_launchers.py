"""The launchers of the supervisor, with fake processes and a manual clock."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from netd.daemon.messages.from_supervisor import ConnectLauncher, Heartbeat, SyncPrograms
from netd.daemon.messages.from_worker import Failed
from netd.daemon.messages.to_launcher import AddPrograms, AddWorker, EndAll, Listen, Program, RemovePrograms
from netd.daemon.supervisor import launchers
from netd.daemon.supervisor.spawn import WorkerError
from tests.daemon.fakes import Worker, answering, logged, pool, silent, succeed
from tests.daemon.launcher.examples import program
from tests.daemon.supervisor.fake_launchers import DAEMON, NOBODY, Launched


@pytest.fixture
def launched() -> Iterator[Launched]:
    with pool() as made:
        with patch.object(launchers, "time", made.loop):
            made.start(2)
            one = Launched(made)
            yield one
            one.launchers.kill()


def kinds(process: Worker) -> list[str]:
    return [type(one).__name__ for one in process.received]


def numbered(*numbers: int) -> list[Program]:
    return [program("/bin/true", number=number) for number in numbers]


def test_launcher_of_an_identity_knows_its_programs_and_all_workers(launched: Launched) -> None:
    launched.add(NOBODY, *numbered(1, 2))
    [process] = launched.forked
    assert kinds(process) == ["Heartbeat", "AddPrograms", "TakeOver", "Listen", "AddWorker", "AddWorker"]
    added = process.received[1]
    assert isinstance(added, AddPrograms)
    assert [Program.decode(text).number for text in added.programs] == [1, 2]
    for worker in launched.pool.workers:
        assert worker.received == [ConnectLauncher(1)]
    launched.add(NOBODY, *numbered(3))
    assert len(launched.forked) == 1
    launched.add(DAEMON, *numbered(4))
    assert len(launched.forked) == 2
    assert launched.pool.workers[0].received[-1] == ConnectLauncher(2)


def test_new_worker_is_connected_with_all_launchers(launched: Launched) -> None:
    launched.add(NOBODY, *numbered(1))
    launched.pool.sync = launched.launchers.sync_worker
    launched.pool.workers[0].exit(1)
    launched.loop.wait(1)
    assert launched.pool.workers[0].received == [ConnectLauncher(1)]
    assert launched.forked[0].received[-1] == AddWorker(0, launched.pool.workers[0].pid)


def test_launcher_that_exits_is_replaced_with_all_its_programs_and_the_same_channels(
    launched: Launched, log: list[dict[str, Any]]
) -> None:
    launcher = launched.add(NOBODY, *numbered(1, 2))
    launched.launchers.listen(launcher, [2])
    kept = [dict(worker.channels) for worker in launched.pool.workers]
    launched.forked[0].exit(-9)
    launched.loop.wait(0.2)
    assert len(launched.forked) == 2
    again = launched.forked[1]
    assert again.number == launched.forked[0].number
    assert kinds(again)[:3] == ["Heartbeat", "AddPrograms", "TakeOver"]
    assert Listen([2]) in again.received
    assert [dict(worker.channels) for worker in launched.pool.workers] == kept
    for worker in launched.pool.workers:
        assert worker.received == [ConnectLauncher(1), SyncPrograms(1)]
    [line] = logged(log, "launcher_lost")
    assert (line["user"], line["reason"], line["delay"]) == ("nobody", "signal SIGKILL", 0.0)


def test_launcher_that_keeps_exiting_is_replaced_with_growing_delays(
    launched: Launched, log: list[dict[str, Any]]
) -> None:
    launched.add(NOBODY, *numbered(1))
    for _ in range(4):
        launched.running[-1].exit(1)
        launched.loop.wait(20)
    assert [line["delay"] for line in logged(log, "launcher_lost")] == [0.0, 0.25, 1.0, 4.0]
    launched.loop.wait(100)
    launched.running[-1].exit(1)
    launched.loop.settle()
    assert logged(log, "launcher_lost")[-1]["delay"] == 0.0


def test_launcher_that_cannot_take_its_identity_is_an_error_and_is_forgotten(launched: Launched) -> None:
    launched.behaviour = answering(Failed("setgroups(2) is not permitted"))
    with pytest.raises(WorkerError, match="setgroups.2. is not permitted"):
        launched.add(NOBODY, *numbered(1))
    launched.loop.wait(100)
    assert not launched.launchers
    launched.behaviour = succeed
    launched.add(NOBODY, *numbered(1))
    assert len(launched.running) == 1


def test_launcher_that_cannot_be_replaced_is_tried_again(launched: Launched, log: list[dict[str, Any]]) -> None:
    launched.add(NOBODY, *numbered(1))
    launched.behaviour = answering(Failed("no such user any more"))
    launched.forked[0].exit(1)
    launched.loop.wait(2)
    assert {line["error"] for line in logged(log, "launcher_failed")} == {"no such user any more"}
    launched.behaviour = succeed
    launched.loop.wait(60)
    assert len(launched.running) == 1
    assert launched.running[0].received


def test_reload_while_a_launcher_is_being_replaced_starts_no_second_one(launched: Launched) -> None:
    launched.add(NOBODY, *numbered(1))
    launched.running[0].exit(1)
    launched.loop.settle()
    launched.add(NOBODY, *numbered(2))
    launched.loop.wait(5)
    assert len(launched.running) == 1
    [added] = [one for one in launched.running[0].received if isinstance(one, AddPrograms)]
    assert len(added.programs) == 2


def test_launcher_without_programs_is_to_exit_and_its_channels_are_closed(
    launched: Launched, log: list[dict[str, Any]]
) -> None:
    launcher = launched.add(NOBODY, *numbered(1, 2))
    launched.launchers.remove(launcher, [1])
    launched.loop.settle()
    [process] = launched.forked
    assert process.received[-1] == RemovePrograms([1])
    launched.launchers.remove(launcher, [2])
    launched.loop.settle()
    assert process.received[-2:] == [RemovePrograms([2]), EndAll(wait=True, leave=False)]
    assert all(worker.channels for worker in launched.pool.workers)
    process.exit(0)
    launched.loop.wait(60)
    assert not launched.launchers
    assert not any(worker.channels for worker in launched.pool.workers)
    assert logged(log, "launcher_lost") == []


def test_launcher_that_exits_while_netd_stops_is_not_replaced(launched: Launched) -> None:
    launched.add(NOBODY, *numbered(1))
    launched.launchers.stop(wait=True)
    launched.loop.settle()
    assert launched.forked[0].received[-1] == EndAll(wait=True, leave=False)
    launched.forked[0].exit(0)
    launched.loop.wait(60)
    assert len(launched.forked) == 1
    assert not launched.launchers


def test_launcher_that_hangs_is_aborted_and_replaced(launched: Launched) -> None:
    launched.add(NOBODY, *numbered(1))
    [hung] = launched.forked
    hung.behaviour = silent
    for _ in range(4):
        launched.launchers.send_heartbeats()
        launched.loop.wait(5)
    assert len(launched.forked) == 2
    assert isinstance(launched.forked[1].received[0], Heartbeat)


def test_programs_with_listeners_end_first_when_netd_stops(launched: Launched) -> None:
    launcher = launched.add(NOBODY, *numbered(1, 2, 3))
    launched.launchers.listen(launcher, [2, 3])
    for _ in range(2):
        launched.launchers.stop_listening()
    launched.loop.settle()
    removed = [one for one in launched.forked[0].received if isinstance(one, RemovePrograms)]
    assert [one.programs for one in removed if one.programs] == [[2, 3]]


def test_longest_time_to_stop_is_that_of_any_program(launched: Launched) -> None:
    assert launched.launchers.longest_stop == 0.0
    launched.add(NOBODY, *numbered(1))
    launched.add(DAEMON, program("/bin/true", number=2, stop_after=60.0))
    assert launched.launchers.longest_stop == 60.0
