"""Workers: what becomes of connections, counters and limits when one dies, hangs, or there are several.

The first part has workers that are no processes and a clock of its own; the second one has real processes.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from netd.daemon.channel import DOES_NOT_READ
from netd.daemon.messages.from_supervisor import Drain, Kick
from netd.daemon.messages.from_worker import Alive, Busy, Failed, Kicked, Response
from netd.daemon.supervisor import requests
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess
from netd.transport.wheel import TICK
from tests.daemon.fakes import Behaviour, bring_nothing, pool, silent
from tests.support import Daemon, daemon, need, read_exactly, until

ECHO = "services:\n  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], limits: {{connections: {}}}}}\n"


# Without processes.


def answers(response: Response) -> Behaviour:
    """A worker that answers everything in this way."""
    return lambda request: response


def events(log: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in log if line["event"] == name]


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
        lost = events(log, "worker_lost")
        assert [line["delay"] for line in lost] == [0.0, 0.25, 1.0, 4.0, 15.0, 30.0, 30.0]
        assert {line["reason"] for line in lost} == {"signal SIGSEGV"}
        made.loop.wait(60)
        made.workers[0].exit(1)
        made.loop.settle()
        assert len(made.forked) == 9, "one that ran for a minute is replaced at once"


def test_worker_that_cannot_be_forked_is_tried_again_with_backoff(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(2)
        made.unforkable = 3
        made.workers[1].exit(1)
        made.loop.settle()
        for tried, delay in ((1, 0.25), (2, 1.0), (3, 4.0)):
            assert len(events(log, "worker_failed")) == tried
            assert not made.pool.healthy
            made.loop.wait(delay - TICK)
            assert len(events(log, "worker_failed")) == tried, f"not before {delay} s"
            made.loop.wait(2 * TICK)
        assert [one.number for one in made.workers] == [0, 1]
        assert made.pool.healthy


async def refuse(worker: WorkerProcess) -> None:
    raise WorkerError("not this one")


def test_worker_that_is_not_brought_up_to_date_is_killed_and_tried_again(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        made.sync = refuse
        made.workers[0].exit(1)
        made.loop.settle()
        assert made.forked[1].signals == [signal.SIGKILL]
        assert [line["error"] for line in events(log, "worker_failed")] == ["not this one"]
        made.sync = bring_nothing
        made.loop.wait(0.25 + TICK)
        assert made.workers == [made.forked[2]]


def test_pool_that_shrinks_drains_the_last_workers_and_starts_none(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(3)
        first, *others = made.workers
        made.pool.resize(1)
        made.loop.settle()
        assert made.workers == [first]
        assert [one.received[-1] for one in others] == [Drain(), Drain()]
        assert made.pool.draining == others
        for one in others:
            one.exit(0)
        made.loop.settle()
        assert len(events(log, "worker_ended")) == 2
        assert (len(made.forked), made.pool.draining) == (3, [])


def test_worker_that_answers_no_heartbeat_twice_is_aborted_and_replaced(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(2)
        hung, other = made.workers
        hung.behaviour = silent
        healthy = []
        for _ in range(4):
            healthy.append((made.pool.send_heartbeats(), made.pool.healthy))
            made.loop.wait(5)
        assert healthy == [(True, True), (False, False), (False, False), (True, True)]
        [line] = events(log, "worker_aborted")
        assert (line["pid"], line["seconds"]) == (hung.pid, 10.0)
        assert hung.signals == [signal.SIGABRT, signal.SIGCONT]
        assert made.workers == [made.forked[2], other]
        assert other.signals == []


def test_worker_that_answers_a_heartbeat_late_is_left_alone(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        for _ in range(4):
            made.pool.send_heartbeats()
            made.loop.wait(5)
            made.pool.send_heartbeats()
            made.loop.settle()
            worker.respond(worker.last_request, Alive(0))
            made.loop.settle()
        assert worker.signals == []


def test_worker_that_an_abort_does_not_end_is_killed_after_a_second() -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.fatal = {signal.SIGKILL}
        made.pool.requests.abort(worker, 10.0)
        made.loop.wait(1 - TICK)
        assert worker.signals == [signal.SIGABRT, signal.SIGCONT]
        made.loop.wait(2 * TICK)
        assert worker.signals[2:] == [signal.SIGKILL]


def test_worker_that_prepares_a_config_has_forty_seconds_without_heartbeats(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.report(Busy())
        made.loop.settle()
        assert worker.busy_until == 0.0, "it was not asked to prepare anything"
        worker.preparing = True
        worker.report(Busy())
        worker.behaviour = silent
        made.loop.settle()
        for _ in range(8):
            made.pool.send_heartbeats()
            made.loop.wait(4.9)
        assert worker.signals == []
        for _ in range(3):
            made.pool.send_heartbeats()
            made.loop.wait(4.9)
        assert worker.signals[0] == signal.SIGABRT


def test_lines_that_workers_have_lost_are_counted_also_of_those_that_ended() -> None:
    with pool() as made:
        made.start(2)
        for number, worker in enumerate(made.workers, 3):
            worker.behaviour = answers(Alive(number))
        made.pool.send_heartbeats()
        made.loop.settle()
        assert made.pool.lines_lost == 7
        made.workers[0].exit(1)
        made.loop.settle()
        assert made.pool.lines_lost == 7


def test_request_to_all_workers_has_the_responses_of_all() -> None:
    with pool() as made:
        made.start(3)
        for number, worker in enumerate(made.workers):
            worker.behaviour = answers(Kicked(number))
        made.workers[2].behaviour = answers(Failed("no descriptors left"))
        asked = made.pool.ask(Kick(service="echo"))
        assert not asked.done
        made.loop.settle()
        first, second, third = made.workers
        assert asked.get() == {first: Kicked(0), second: Kicked(1), third: Failed("no descriptors left")}
        assert [one.received for one in made.workers] == [[Kick(service="echo")]] * 3


def test_request_to_no_worker_is_answered_at_once() -> None:
    with pool() as made:
        assert made.pool.ask_all(Kick()).get() == {}


def test_worker_that_ends_while_it_is_asked_has_no_response_and_holds_up_no_other() -> None:
    with pool() as made:
        made.start(2)
        lost, other = made.workers
        lost.behaviour = silent
        other.behaviour = answers(Kicked(1))
        asked = made.pool.ask(Kick())
        made.loop.settle()
        assert not asked.done
        lost.exit(-signal.SIGKILL)
        made.loop.settle()
        assert asked.get() == {other: Kicked(1)}
        assert lost.requests == {}


def test_worker_that_ended_before_it_is_asked_has_no_response() -> None:
    with pool() as made:
        made.start(1)
        [lost] = made.workers
        lost.exit(1)
        assert made.pool.ask(Kick()).get() == {}
        made.loop.settle()
        assert [one.pid for one in made.workers] == [made.forked[1].pid]


def test_response_that_a_worker_sent_before_it_ended_counts() -> None:
    """As of one that cannot become its user, and says so to the first request, whatever that is."""
    with pool() as made:
        made.start(1)
        [lost] = made.workers
        lost.respond(lost.last_request + 1, Failed("cannot become netd"))
        lost.exit(70)
        assert made.pool.ask(Kick()).get() == {lost: Failed("cannot become netd")}


def test_worker_that_does_not_answer_a_request_is_aborted(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        asked = made.pool.ask(Kick())
        made.loop.wait(RESPONSE_TIMEOUT - TICK)
        assert not asked.done
        made.loop.wait(2 * TICK)
        assert asked.get() == {}
        assert worker.signals[0] == signal.SIGABRT
        assert events(log, "worker_aborted")[0]["seconds"] == RESPONSE_TIMEOUT


def test_worker_that_does_not_read_is_aborted_unless_it_prepares_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_SEND_TIMEOUT", 0.0)
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.fill()
        worker.busy_until = made.loop.now + 10
        assert made.pool.ask(Kick()).get() == {worker: Failed(DOES_NOT_READ)}
        assert worker.signals == []
        worker.busy_until = 0.0
        assert made.pool.ask(Kick()).get() == {worker: Failed(DOES_NOT_READ)}
        assert worker.signals[0] == signal.SIGABRT


# With processes.


def workers(running: Daemon) -> list[int]:
    return [worker["pid"] for worker in running.ask("status")["workers"] if "leaving" not in worker]


def counters(running: Daemon) -> dict[str, object]:
    found: dict[str, object] = running.ask("status")["services"][0]["counters"]
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.slow
def test_kill_9_under_load_refuses_nobody_and_loses_no_count(tmp_path: Path, number: int) -> None:
    config = f"daemon: {{workers: {number}}}\n" + ECHO.format("off")
    refused: list[str] = []
    answered = [0]
    enough = threading.Event()

    def ask(port: int) -> None:
        while not enough.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", port), 20)
            except OSError as error:
                refused.append(repr(error))
                return
            with connection, contextlib.suppress(ConnectionError):  # it was on the one that died
                connection.sendall(b"hello")
                answered[0] += connection.recv(10) == b"hello"

    with daemon(config, tmp_path) as running:
        threads = [threading.Thread(target=ask, args=(running.port("echo"),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            before, [victim, *_] = answered[0], workers(running)
            os.kill(victim, signal.SIGKILL)
            until(lambda before=before: answered[0] > before + 50)  # type: ignore[misc]
            until(lambda: len(workers(running)) == number)
        enough.set()
        for thread in threads:
            thread.join()
        assert refused == []
        lost = [running.event("worker_lost") for _ in range(2)]
        assert {line["reason"] for line in lost} == {"signal SIGKILL"}
        until(lambda: running.ask("status")["services"][0]["connections"] == 0)
        counts = counters(running)
        closed = counts["closed"]
        assert isinstance(closed, dict)
        assert closed.get("lost", 0) == sum(line["connections"] for line in lost)
        assert counts["accepted"] == sum(closed.values())
        assert isinstance(counts["accepted"], int)
        assert counts["accepted"] >= answered[0], "what the dead one had counted is gone"


@pytest.mark.slow
def test_one_that_keeps_dying_is_replaced_less_and_less_often(tmp_path: Path) -> None:
    with daemon(ECHO.format("off"), tmp_path) as running:
        for delay in (0.0, 0.25, 1.0):
            until(lambda: workers(running))
            os.kill(workers(running)[0], signal.SIGKILL)
            assert running.event("worker_lost")["delay"] == delay
        # Meanwhile connections wait, and are not refused.
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
            connection.settimeout(20)
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


@pytest.mark.slow
def test_one_that_does_not_answer_is_ended_and_replaced(tmp_path: Path) -> None:
    with daemon("daemon: {heartbeat: 200ms, workers: 2}\n" + ECHO.format("off"), tmp_path) as running:
        stopped = workers(running)[0]
        os.kill(stopped, signal.SIGSTOP)
        assert running.event("worker_aborted")["pid"] == stopped
        lost = running.event("worker_lost")
        assert (lost["pid"], lost["reason"]) == (stopped, "signal SIGABRT")
        assert "loop.py" in lost["stack"]
        until(lambda: len(workers(running)) == 2)


@pytest.mark.slow
def test_a_supervisor_that_was_held_up_itself_blames_nobody(tmp_path: Path) -> None:
    with daemon("daemon: {heartbeat: 100ms}\n" + ECHO.format("off"), tmp_path) as running:
        before = workers(running)
        for _ in range(3):
            running.process.send_signal(signal.SIGSTOP)
            with (
                contextlib.suppress(TimeoutError),
                socket.create_connection(("127.0.0.1", running.port("echo")), 1) as connection,
            ):
                connection.settimeout(0.5)  # longer than a worker may be silent
                connection.recv(1)
            running.process.send_signal(signal.SIGCONT)
            assert workers(running) == before


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.slow
def test_no_worker_outlives_the_supervisor(tmp_path: Path, stopped: bool) -> None:
    (tmp_path / "netd.yaml").write_text("daemon: {workers: 3}\n" + ECHO.format("off"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        running.event("netd_ready")
        orphans = workers(running)
        if stopped:
            os.kill(orphans[0], signal.SIGSTOP)
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not any(alive(pid) for pid in orphans))


@pytest.mark.slow
def test_the_limit_of_connections_holds_across_workers(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 4}\n" + ECHO.format(10), tmp_path) as running, contextlib.ExitStack() as stack:
        served = 0
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("echo"))))
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
                served += connection.recv(1) == b"x"
        assert served == 10
        assert running.ask("status")["services"][0]["connections"] == 10
        assert counters(running)["refused"] == {"connections": 50}


@pytest.mark.slow
def test_several_workers_share_the_work(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 2}\n" + ECHO.format("off"), tmp_path) as running, contextlib.ExitStack() as stack:
        # More wait than one takes at once, so there is something left for the other.
        for pid in workers(running):
            os.kill(pid, signal.SIGSTOP)
        port = running.port("echo")
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(600)]
        for pid in workers(running):
            os.kill(pid, signal.SIGCONT)
        for connection in connections:
            connection.settimeout(20)
            connection.sendall(b"x")
            assert read_exactly(connection, 1) == b"x"
        rows = running.ask("connections")["connections"]
        assert {row["id"][0] for row in rows} == {"0", "1"}


@pytest.mark.slow
def test_workers_auto_is_one_for_each_core(tmp_path: Path) -> None:
    with daemon("daemon: {workers: auto}\n" + ECHO.format("off"), tmp_path) as running:
        assert len(workers(running)) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])
@pytest.mark.slow
def test_kill_9_at_any_moment_of_the_start_leaves_nothing_in_the_way_of_the_next(tmp_path: Path, moment: float) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(
        f'daemon: {{workers: 2, control: "{tmp_path}/c", pid_file: "{tmp_path}/pid"}}\n'
        f'services:\n  echo: {{listen: [tcp://127.0.0.1:0, "unix://{tmp_path}/s"]}}\n'
    )
    with Daemon("-c", str(file)) as first:
        with contextlib.suppress(Exception):
            first.process.wait(moment)  # the moment at which it is killed is what differs
        first.stop(signal.SIGKILL)
    with Daemon("-c", str(file)) as second:
        second.event("netd_ready")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{tmp_path}/s")
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert (tmp_path / "pid").read_text() == f"{second.process.pid}\n"
        done = second.netd("stop", "-c", str(file))
        assert done.returncode == 0, done.stderr
        assert second.stop() == 0
    assert {file.name for file in tmp_path.iterdir()} == {"netd.yaml"}


@pytest.mark.parametrize("what", ["reload", "stop"])
@pytest.mark.slow
def test_kill_9_of_the_supervisor_while_it_reloads_or_stops(tmp_path: Path, what: str) -> None:
    file = tmp_path / "netd.yaml"
    text = 'services:\n  echo: {{listen: ["unix://{0}/s{1}"]}}\n  upper: {{listen: ["unix://{0}/u"]}}\n'
    for number in range(5):
        file.write_text(text.format(tmp_path, number))
        with Daemon("-c", str(file)) as running:
            running.event("netd_ready")
            file.write_text(text.format(tmp_path, number + 1))
            running.process.send_signal(signal.SIGHUP if what == "reload" else signal.SIGTERM)
            with contextlib.suppress(Exception):
                running.process.wait(0.001 * number**2)  # the moment at which it is killed is what differs
            running.stop(signal.SIGKILL)
    with daemon(text.format(tmp_path, 9), tmp_path), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/u")
        connection.sendall(b"x\n")
        assert connection.recv(10) == b"X\n"


@pytest.mark.slow
def test_workers_have_no_rights(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to see that it is given up")
    with daemon("daemon: {workers: 1}\n" + ECHO.format("off"), tmp_path) as running:
        [pid] = workers(running)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert status["Uid"] == ["65534"] * 4
        assert status["Gid"] == ["65534"] * 4
        assert status["Groups"] in ([], ["65534"])
        assert status["NoNewPrivs"] == ["1"]
        assert {status[key][0] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}


@pytest.mark.parametrize(
    ("daemon_section", "problem", "code"),
    [
        ("user: no-such-user", "daemon.user: there is no user 'no-such-user'", 78),
        ("group: no-such-group", "daemon.group: there is no group 'no-such-group'", 78),
        ("user: root", "daemon.user: 'root' is root; workers must run as another user", 78),
        ("chroot: /proc/none", "daemon.chroot: there is no directory /proc/none", 78),
        ("workers: 0", "daemon.workers: expected a number from 1 to 64, or auto, got 0", 78),
        ("workers: many", "daemon.workers: expected a number from 1 to 64, or auto, got 'many'", 78),
        ("heartbeat: 1ms", "daemon.heartbeat: ", 78),
        ("control: relative", "daemon.control: expected an absolute path, got 'relative'", 78),
        ("control: /proc/none/c", "daemon.control: cannot listen on unix:///proc/none/c", 71),
        ("pid_file: /proc/none/p", "daemon.pid_file: cannot open /proc/none/p", 71),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_is_one_line(tmp_path: Path, daemon_section: str, problem: str, code: int) -> None:
    if os.geteuid() != 0 and ("root" in daemon_section or "chroot" in daemon_section):
        pytest.skip("needs root")
    (tmp_path / "netd.yaml").write_text(f"daemon: {{{daemon_section}}}\n" + ECHO.format("off"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        assert running.process.wait(20) == code
        running.stop()
    said = [line["line"] for line in running.lines if line["event"] == "not_json"]
    assert any(problem in line for line in said), said
    assert len(said) == 1


@pytest.mark.slow
def test_chroot(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    jail = tmp_path / "jail"
    jail.mkdir()
    config = f"daemon: {{chroot: {jail}}}\n" + ECHO.format("off")
    with daemon(config + "  clock: {type: time, listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        assert os.readlink(f"/proc/{running.worker}/root") == str(jail)
        with socket.create_connection(("127.0.0.1", running.port("clock"))) as connection:
            assert b"20" in connection.recv(100)
        assert json.loads(running.netd("status", "--json").stdout)["generation"] == 1


@pytest.mark.slow
def test_a_signal_without_a_name_is_as_good_as_another(tmp_path: Path) -> None:
    with daemon(ECHO.format("off"), tmp_path) as running:
        os.kill(workers(running)[0], signal.SIGRTMIN + 1)
        assert running.event("worker_lost")["reason"] == f"signal {signal.SIGRTMIN + 1}"
        until(lambda: workers(running))


@pytest.mark.slow
def test_without_descriptors_a_worker_is_not_replaced_and_tries_again(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 2}\n" + ECHO.format("off"), tmp_path) as running:
        pid = running.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        victim, other = workers(running)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) - 3, limits[1]))
        os.kill(victim, signal.SIGKILL)
        assert "Too many open files" in running.event("worker_failed")["error"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: len(workers(running)) == 2)
        assert other in workers(running)


@pytest.mark.slow
def test_a_worker_without_descriptors_takes_a_new_config_all_the_same(tmp_path: Path) -> None:
    config = ECHO.format("off")
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        before = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (150, before[1]))
        os.kill(running.worker, signal.SIGKILL)
        running.event("worker_started")
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, before)  # it was for the worker to inherit
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
def test_a_supervisor_without_descriptors_refuses_a_new_config_and_goes_on(tmp_path: Path) -> None:
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
def test_the_limit_of_a_source_holds_across_workers_and_hurts_no_other(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for addresses that are not loopback")
    need("ip", "unshare")
    # In a network of its own, this host can be several.
    script = (
        "ip link set lo up; for n in 1 2; do"
        " ip addr add 192.0.2.$n/32 dev lo; ip addr add 2001:db8::$n/128 dev lo nodad; done;"
        f" exec {sys.executable} {tmp_path}/ask.py {sys.executable} -m netd run -c {tmp_path}/netd.yaml"
    )
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{workers: 3, control: {tmp_path}/c}}\n"
        f"services:\n  echo: {{listen: [tcp://*:7], limits: {{per_source: 5}}}}\n"
    )
    (tmp_path / "ask.py").write_text(ASK_FROM)
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["5", "5", "0", "5", "20"], done.stderr


ASK_FROM = """
import contextlib, socket, subprocess, sys
netd = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE)
for line in netd.stderr:
    if b"netd_ready" in line:
        break
held = []
def ask(source, family=socket.AF_INET):
    with contextlib.suppress(ConnectionError):
        s = socket.socket(family)
        s.settimeout(20)
        s.bind((source, 0))
        s.connect((source, 7))
        s.sendall(b"x")
        if s.recv(1) == b"x":
            held.append(s)
            return True
        s.close()
    return False
print(sum(ask("192.0.2.1") for _ in range(30)))
print(sum(ask("2001:db8::1", socket.AF_INET6) for _ in range(30)))
print(sum(ask("2001:db8::2", socket.AF_INET6) for _ in range(30)))
print(sum(ask("192.0.2.2") for _ in range(30)))
print(sum(ask("127.0.0.1") for _ in range(20)))
netd.terminate()
for s in held:
    s.close()
netd.wait()
"""


@pytest.mark.slow
def test_the_first_worker_is_there_again_after_there_were_two(tmp_path: Path) -> None:
    """It serves what only one may serve, and was about to be replaced when the config asked for one worker."""
    room = "services: {chat: {listen: [tcp://127.0.0.1:0]}}\n"
    with daemon("daemon: {workers: 2}\n" + room, tmp_path) as running:

        def first() -> list[int]:
            return [
                one["pid"] for one in running.ask("status")["workers"] if one["worker"] == 0 and "leaving" not in one
            ]

        while True:
            [pid] = first()
            os.kill(pid, signal.SIGKILL)
            if running.event("worker_lost")["delay"] > 1:
                break
            until(lambda pid=pid: first() not in ([pid], []))  # type: ignore[misc]
        assert first() == [], "it waits to be replaced"
        (tmp_path / "netd.yaml").write_text("daemon: {workers: 1}\n" + room)
        running.ask("reload")
        until(first, 30)
        with socket.create_connection(("127.0.0.1", running.port("chat")), 20) as connection:
            connection.sendall(b"bye\n")
            assert connection.recv(100) == b"* goodbye\n"


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "ReportWanted", "report": ["status"]},
        {"kind": "Offender", "source": 5},
        {"kind": "TraceLines", "trace": 1, "lines": 7},
        {"kind": "Alive", "request": 10**9, "lines_lost": 0},
    ],
)
@pytest.mark.slow
def test_a_worker_that_sends_what_is_no_message_is_replaced(tmp_path: Path, message: dict[str, object]) -> None:
    """Another process takes its end of the channel, as an attacker would that has the worker."""
    with daemon(ECHO.format("off"), tmp_path) as running:
        worker = running.worker
        subprocess.run([sys.executable, "-c", SAY, str(worker), json.dumps(message)], timeout=20, check=True)
        assert running.event("message_rejected")["pid"] == worker
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        running.event("worker_started")
        assert [line["event"] for line in running.lines].count("message_rejected") == 1
        with socket.create_connection(("127.0.0.1", running.port("echo")), 20) as connection:
            connection.sendall(b"hello")
            assert read_exactly(connection, 5) == b"hello"
        assert running.ask("status")["healthy"]


# Writes into the channel of another process: the only SOCK_SEQPACKET socket it has.
SAY = """
import contextlib, ctypes, os, socket, sys
pid, text = int(sys.argv[1]), sys.argv[2].encode()
pidfd = os.pidfd_open(pid)
for number in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
    descriptor = ctypes.CDLL(None).syscall(438, pidfd, number, 0)  # pidfd_getfd(2)
    if descriptor >= 0 and os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
        found = socket.socket(fileno=descriptor)
        if found.type == socket.SOCK_SEQPACKET:
            with contextlib.suppress(BrokenPipeError):  # the supervisor takes no more of it
                for _ in range(3):
                    found.send(b"." + text)
            sys.exit(0)
        found.detach()
sys.exit("no channel")
"""
