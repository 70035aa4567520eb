"""The pool of workers: its size, and those that are lost, hang, or lack descriptors.

The first part has fake workers and a manual clock, the second one real processes.
"""

import contextlib
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from netd.daemon.messages.from_supervisor import Drain
from netd.daemon.messages.from_worker import Alive
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess
from netd.shared.memory import MOST_WORKERS
from netd.transport.wheel import TICK
from tests.daemon.fakes import Worker, answering, logged, pool, silent, sync_nothing
from tests.daemon.processes import ECHO, workers
from tests.support.daemon import daemon
from tests.support.waiting import until

# Without processes.


def test_worker_that_is_lost_again_and_again_is_replaced_with_backoff(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        for number, delay in enumerate((0.0, 0.25, 1.0, 4.0, 15.0, 30.0, 30.0), 1):
            made.workers[0].exit(-signal.SIGSEGV)
            made.loop.settle()
            if delay:
                made.loop.wait(delay - TICK)
                assert (len(made.forked), made.workers) == (number, []), f"not before {delay} s"
                made.loop.wait(2 * TICK)
            assert len(made.forked) == number + 1
        lost = logged(log, "worker_lost")
        assert [line["delay"] for line in lost] == [0.0, 0.25, 1.0, 4.0, 15.0, 30.0, 30.0]
        assert {line["reason"] for line in lost} == {"signal SIGSEGV"}
        made.loop.wait(60)
        made.workers[0].exit(1)
        made.loop.settle()
        assert len(made.forked) == 9, "a worker that ran for a minute is replaced at once"


def test_worker_that_cannot_be_forked_is_tried_again_with_backoff(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(2)
        made.unforkable = 3
        made.workers[1].exit(1)
        made.loop.settle()
        for tried, delay in ((1, 0.25), (2, 1.0), (3, 4.0)):
            assert len(logged(log, "worker_failed")) == tried
            assert not made.pool.healthy
            made.loop.wait(delay - TICK)
            assert len(logged(log, "worker_failed")) == tried, f"not before {delay} s"
            made.loop.wait(2 * TICK)
        assert [one.number for one in made.workers] == [0, 1]
        assert made.pool.healthy


def test_worker_that_cannot_be_forked_since_netd_has_a_bug_is_tried_again(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(2)
        made.unforkable, made.fork_error = 1, MemoryError("no memory")
        made.workers[1].exit(1)
        made.loop.wait(1)
        assert [one.number for one in made.workers] == [0, 1]
        assert made.pool.healthy
        assert [line["exc_info"] for line in logged(log, "command_failed")] == [made.fork_error]
        assert len(logged(log, "worker_failed")) == 1


def test_pool_without_workers_does_not_serve_and_one_that_lacks_some_for_long_neither() -> None:
    with pool() as made:
        made.start(2)
        made.unforkable = 1000
        made.workers[1].exit(1)
        made.loop.settle()
        assert (made.pool.healthy, made.pool.serves, made.pool.shortage) == (False, True, "1 of 2 workers run")
        assert made.pool.send_heartbeats(), "the back-off explains it"
        made.loop.wait(41)
        assert not made.pool.serves
        made.pool.send_heartbeats()
        made.loop.settle()
        assert made.pool.send_heartbeats(), "without heartbeats, systemd would end the worker that serves"
        made.unforkable = 0
        made.loop.wait(31)
        made.pool.send_heartbeats()
        made.loop.settle()
        assert (made.pool.healthy, made.pool.serves, made.pool.shortage) == (True, True, "")
        assert made.pool.send_heartbeats()
        made.unforkable = 1000
        for worker in made.workers:
            worker.exit(1)
        made.loop.settle()
        assert (made.pool.serves, made.pool.send_heartbeats()) == (False, False), "at once"


def test_workers_that_wait_for_those_that_drain_are_not_missing(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(MOST_WORKERS)
        for size in (1, MOST_WORKERS, MOST_WORKERS - 1, MOST_WORKERS):
            made.pool.resize(size)
            made.loop.settle()
            if size == 1:
                leaving = made.pool.draining[:2]
                for worker in made.pool.draining[2:]:
                    worker.exit(0)  # type: ignore[attr-defined]
                made.loop.settle()
        assert len(made.pool.workers) == MOST_WORKERS - 2
        assert (made.pool.healthy, made.pool.shortage) == (True, "")
        lines = logged(log, "workers_delayed")
        assert [(line["number"], line["draining"]) for line in lines] == [(2, 2), (2, 2)]
        for worker in leaving:
            worker.exit(0)  # type: ignore[attr-defined]
        made.loop.settle()
        assert len(made.pool.workers) == MOST_WORKERS
        assert made.pool.healthy


def test_isolated_services_have_a_worker_each_besides_the_others() -> None:
    with pool() as made:
        made.start(2)
        made.pool.resize(2, ["a", "b"])
        made.loop.settle()
        assert [(one.number, one.service) for one in made.workers] == [(0, ""), (1, ""), (2, "a"), (3, "b")]
        assert [made.pool.worker_of(one) for one in ("a", "b", "c")] == [
            made.workers[2],
            made.workers[3],
            made.workers[0],
        ]
        # One that is lost has a successor for the same service.
        made.workers[2].exit(1)
        made.loop.settle()
        assert made.pool.worker_of("a") is made.forked[-1]
        # One that is not needed drains, and its number is not used until it has ended.
        leaving = made.pool.worker_of("a")
        made.pool.resize(3, ["b", "c"])
        made.loop.settle()
        assert made.pool.draining == [leaving]
        assert {(one.number, one.service) for one in made.workers} == {(0, ""), (1, ""), (4, ""), (3, "b"), (5, "c")}
        assert made.pool.healthy
        made.pool.resize(1, ["b", "c", "a"])
        made.loop.settle()
        assert [one.service for one in made.workers] == ["", "b", "c", "a"]
        assert made.workers[0].number == 0, "it serves what only one worker serves"
        made.pool.drain()
        made.loop.settle()
        assert made.workers == []


def test_isolated_services_beyond_the_largest_number_of_workers_are_missing() -> None:
    with pool() as made:
        made.start(MOST_WORKERS)
        made.pool.resize(MOST_WORKERS, ["a"])
        made.loop.settle()
        assert len(made.workers) == MOST_WORKERS
        assert made.pool.worker_of("a") is None


def test_worker_of_one_service_rests_for_longer_and_longer_while_the_others_go_on(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        made.pool.resize(1, ["a"])
        made.loop.settle()
        for delay in (0.0, 0.25, 1.0, 4.0, 15.0, 60.0, 300.0, 300.0):
            worker = made.pool.worker_of("a")
            assert isinstance(worker, Worker)
            worker.exit(3)
            made.loop.settle()
            if delay:
                assert made.pool.worker_of("a") is None
                assert made.pool.rests_until("a") == pytest.approx(made.loop.now + delay)
                assert (made.pool.healthy, made.pool.serves) == (True, True)
                made.loop.wait(delay + 2 * TICK)
        assert [line["delay"] for line in logged(log, "worker_lost")] == [0.0, 0.25, 1.0, 4.0, 15.0, 60.0, 300.0, 300.0]
        assert made.pool.worker_of("a")
        assert made.pool.rests_until("a") is None
        assert made.workers[0] is made.forked[0]


def test_worker_of_one_service_that_hangs_is_killed_and_makes_nothing_else_unhealthy() -> None:
    with pool() as made:
        made.start(1)
        made.behaviour = silent
        made.sync = sync_nothing
        made.pool.resize(1, ["a"])
        made.loop.settle()
        alone = made.pool.worker_of("a")
        assert isinstance(alone, Worker)
        for _ in range(3):
            assert made.pool.send_heartbeats(), "without heartbeats, systemd would end the others"
            made.loop.settle()
            assert made.pool.healthy
        assert signal.SIGABRT in alone.signals
        made.workers[0].exit(1)
        made.unforkable = 1000
        made.loop.settle()
        assert not made.pool.serves, "the other services have no worker"


def test_rest_of_a_service_can_be_ended() -> None:
    with pool() as made:
        made.start(1)
        made.pool.resize(1, ["a"])
        made.loop.settle()
        for _ in range(2):
            made.workers[1].exit(3)
            made.loop.settle()
        assert made.pool.worker_of("a") is None
        made.pool.end_rests({"a"})
        made.pool.resize(1, ["a"])
        made.loop.settle()
        made.workers[1].exit(3)
        made.loop.settle()
        assert made.pool.worker_of("a"), "at once: what was before is forgotten"


async def refuse(worker: WorkerProcess) -> None:
    raise WorkerError("config not accepted")


def test_worker_that_does_not_accept_the_config_is_killed_and_started_again(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        made.sync = refuse
        made.workers[0].exit(1)
        made.loop.settle()
        assert made.forked[1].signals == [signal.SIGKILL]
        assert [line["error"] for line in logged(log, "worker_failed")] == ["config not accepted"]
        made.sync = sync_nothing
        made.loop.wait(0.25 + TICK)
        assert made.workers == [made.forked[2]]


def test_pool_that_shrinks_drains_the_last_workers_and_starts_none(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(3)
        first, *others = made.workers
        made.pool.resize(1)
        made.loop.settle()
        assert made.workers == [first]
        assert [one.received[-1] for one in others] == [Drain(leave=False), Drain(leave=False)]
        assert made.pool.draining == others
        for one in others:
            one.exit(0)
        made.loop.settle()
        assert len(logged(log, "worker_ended")) == 2
        assert (len(made.forked), made.pool.draining) == (3, [])


def test_log_lines_that_workers_dropped_are_counted_also_after_they_exited() -> None:
    with pool() as made:
        made.start(2)
        for number, worker in enumerate(made.workers, 3):
            worker.behaviour = answering(Alive(number))
        made.pool.send_heartbeats()
        made.loop.settle()
        assert made.pool.lines_lost == 7
        made.workers[0].exit(1)
        made.loop.settle()
        assert made.pool.lines_lost == 7


# With processes.


@pytest.mark.slow
def test_worker_that_is_stopped_is_aborted_and_replaced(tmp_path: Path) -> None:
    with daemon("daemon: {heartbeat: 200ms, workers: 2}\n" + ECHO.format("off"), tmp_path) as running:
        stopped = workers(running)[0]
        os.kill(stopped, signal.SIGSTOP)
        assert running.event("worker_aborted")["pid"] == stopped
        lost = running.event("worker_lost")
        assert (lost["pid"], lost["reason"]) == (stopped, "signal SIGABRT")
        assert "loop.py" in lost["stack"]
        until(lambda: len(workers(running)) == 2)


@pytest.mark.slow
def test_supervisor_that_was_stopped_itself_aborts_no_worker(tmp_path: Path) -> None:
    with daemon("daemon: {heartbeat: 100ms}\n" + ECHO.format("off"), tmp_path) as running:
        before = workers(running)
        for _ in range(3):
            running.process.send_signal(signal.SIGSTOP)
            with (
                contextlib.suppress(TimeoutError),
                socket.create_connection(("127.0.0.1", running.port("echo")), 1) as connection,
            ):
                connection.settimeout(0.5)  # longer than two heartbeats of a worker
                connection.recv(1)
            running.process.send_signal(signal.SIGCONT)
            assert workers(running) == before


@pytest.mark.slow
def test_workers_auto_is_one_for_each_core(tmp_path: Path) -> None:
    with daemon("daemon: {workers: auto}\n" + ECHO.format("off"), tmp_path) as running:
        assert len(workers(running)) == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_worker_that_cannot_be_replaced_without_descriptors_is_retried(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 2}\n" + ECHO.format("off"), tmp_path) as running:
        pid = running.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        victim, other = workers(running)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) - 4, limits[1]))
        os.kill(victim, signal.SIGKILL)
        assert "Too many open files" in running.event("worker_failed")["error"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: len(workers(running)) == 2)
        assert other in workers(running)


@pytest.mark.slow
def test_worker_without_descriptors_accepts_a_new_config(tmp_path: Path) -> None:
    config = ECHO.format("off")
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        before = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (150, before[1]))
        os.kill(running.worker, signal.SIGKILL)
        running.event("worker_started")
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, before)  # only the worker was to inherit it
        port = running.port("echo")
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(160)]
        running.event("accept_paused")
        (tmp_path / "netd.yaml").write_text(config + "  upper: {listen: [tcp://127.0.0.1:0]}\n")
        assert running.netd("reload").returncode == 0
        many = "".join(f"  e{n}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n" for n in range(40))
        (tmp_path / "netd.yaml").write_text(config + many)
        done = running.netd("reload")
        assert (done.returncode, "no file descriptors left (RLIMIT_NOFILE)" in done.stderr) == (71, True), done.stderr
        connections[0].sendall(b"x")
        assert connections[0].recv(1) == b"x"
        assert len(workers(running)) == 1


@pytest.mark.slow
def test_supervisor_without_descriptors_rejects_a_new_config_and_keeps_serving(tmp_path: Path) -> None:
    config = ECHO.format("off")
    with daemon(config, tmp_path) as running:
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        many = "".join(f"  e{n}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n" for n in range(40))
        for _ in range(3):
            (tmp_path / "netd.yaml").write_text(config + many)
            done = running.netd("reload")
            assert (done.returncode, "Too many open files" in done.stderr) == (71, True), done.stderr
            (tmp_path / "netd.yaml").write_text(config)
            assert running.netd("reload").returncode == 0
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


@pytest.mark.slow
def test_first_worker_is_restarted_after_a_reload_from_two_workers_to_one(tmp_path: Path) -> None:
    """Worker 0 serves the single_worker services. Its restart was delayed when the config changed to one worker."""
    room = "services: {chat: {listen: [tcp://127.0.0.1:0]}}\n"
    with daemon("daemon: {workers: 2}\n" + room, tmp_path) as running:

        def first() -> list[int]:
            return [one["pid"] for one in running.ask("status")["workers"] if one["worker"] == 0 and not one["leaving"]]

        while True:
            [pid] = first()
            os.kill(pid, signal.SIGKILL)
            if running.event("worker_lost")["delay"] > 1:
                break
            until(lambda pid=pid: first() not in ([pid], []))  # type: ignore[misc]
        assert first() == [], "its restart is delayed"
        (tmp_path / "netd.yaml").write_text("daemon: {workers: 1}\n" + room)
        running.ask("reload")
        until(first, 30)
        with socket.create_connection(("127.0.0.1", running.port("chat")), 20) as connection:
            connection.sendall(b"bye\n")
            assert connection.recv(100) == b"* goodbye\n"
