"""The process of a worker: its start, its rights, and its end."""

import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netd.daemon.channel import Channel, wait
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_worker import Done, Failed
from netd.daemon.supervisor.spawn import WorkerError, WorkerProcess, fork, how_it_ended, reap_orphans
from netd.privileges import RunAs
from netd.telemetry.sink import Sink
from tests.daemon.clients import echoes
from tests.daemon.processes import ECHO, alive, workers
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, need_root
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit code 0"),
        (70, "exit code 70"),
        (-signal.SIGSEGV, "signal SIGSEGV"),
        (-signal.SIGRTMIN - 1, f"signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_reason_of_an_exit_is_its_code_or_signal(code: int, text: str) -> None:
    assert how_it_ended(code) == text


def forked(run_as: RunAs, entry: Callable[[int, Channel, Sink], int]) -> WorkerProcess:
    """A worker with the number 3, which is ended with the test."""
    sink = Sink(os.open(os.devnull, os.O_WRONLY))
    try:
        return fork(3, run_as, sink, entry)
    finally:
        os.close(sink.descriptor)


def close(worker: WorkerProcess) -> None:
    worker.channel.close()
    os.close(worker.stack)


def exit_code(worker: WorkerProcess) -> int:
    codes: list[int] = []

    def has_exited() -> bool:
        code = worker.poll()
        codes.extend([] if code is None else [code])
        return bool(codes)

    until(has_exited)
    return codes[0]


ME = RunAs("the user of the test")


def test_worker_runs_its_entry_with_its_number_and_channel_and_exits_with_its_code() -> None:
    def entry(number: int, channel: Channel, sink: Sink) -> int:
        channel.send_encoded(encode(Failed(f"worker {number}")))
        return 7

    worker = forked(ME, entry)
    assert worker.number == 3
    assert wait([worker.channel.fileno()], 20)
    received = worker.channel.receive()
    assert received
    assert received[0]["error"] == "worker 3"
    assert exit_code(worker) == 7
    close(worker)


def test_worker_that_raises_exits_with_70_and_one_that_is_killed_by_its_signal() -> None:
    def fails(number: int, channel: Channel, sink: Sink) -> int:
        raise ZeroDivisionError

    def waits(number: int, channel: Channel, sink: Sink) -> int:
        signal.pause()
        return 0

    failed, killed = forked(ME, fails), forked(ME, waits)
    assert exit_code(failed) == 70
    assert killed.poll() is None
    killed.signal(signal.SIGKILL)
    assert exit_code(killed) == -signal.SIGKILL
    killed.signal(signal.SIGKILL)  # no error once the process does not exist
    for worker in (failed, killed):
        close(worker)


def test_worker_ignores_the_signals_that_the_supervisor_handles() -> None:
    def entry(number: int, channel: Channel, sink: Sink) -> int:
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), name)
        return 5

    worker = forked(ME, entry)
    assert exit_code(worker) == 5
    close(worker)


def test_worker_that_is_aborted_leaves_its_stack() -> None:
    def waits(number: int, channel: Channel, sink: Sink) -> int:
        channel.send_encoded(encode(Done()))
        signal.pause()
        return 0

    worker = forked(ME, waits)
    assert wait([worker.channel.fileno()], 20)
    worker.signal(signal.SIGABRT)
    assert exit_code(worker) == -signal.SIGABRT
    stack = os.pread(worker.stack, 16384, 0).decode()
    assert stack.startswith("Fatal Python error: Aborted")
    assert " in waits\n" in stack
    close(worker)


def test_fork_without_descriptors_fails_and_leaves_none_open() -> None:
    sink = Sink(os.open(os.devnull, os.O_WRONLY))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # closes what earlier tests have left, which a collection in this one would close too
    first, second = os.dup(0), os.dup(0)  # the numbers that the channel gets
    os.close(first)
    os.close(second)
    before = os.listdir("/proc/self/fd")
    for limit in (first, second + 1):  # no descriptor for the channel; none for the stack
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with pytest.raises(WorkerError, match=r"^cannot start a process: Too many open files: "):
                fork(3, ME, sink, lambda number, channel, sink: 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert gc.isenabled()
        assert os.listdir("/proc/self/fd") == before
    os.close(sink.descriptor)


def test_worker_that_cannot_change_its_root_responds_to_the_first_request_with_the_reason() -> None:
    worker = forked(RunAs("alex", chroot="/proc/none"), lambda number, channel, sink: 0)
    assert exit_code(worker) == 70
    received = worker.channel.receive()
    assert received
    message, _ = received
    assert message["request"] == 1
    assert message["error"].startswith("cannot change the root directory to /proc/none: No such file")
    close(worker)


@pytest.mark.slow
def test_worker_that_a_signal_without_a_name_ended_is_replaced(tmp_path: Path) -> None:
    with daemon(ECHO.format("off"), tmp_path) as running:
        os.kill(workers(running)[0], signal.SIGRTMIN + 1)
        assert running.event("worker_lost")["reason"] == f"signal {signal.SIGRTMIN + 1}"
        until(lambda: workers(running))


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


@pytest.mark.slow
def test_worker_in_a_chroot_serves(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.slow
def test_workers_exit_with_the_supervisor(tmp_path: Path, stopped: bool) -> None:
    (tmp_path / "netd.yaml").write_text("daemon: {workers: 3}\n" + ECHO.format("off"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        running.event("netd_started")
        orphans = workers(running)
        if stopped:
            os.kill(orphans[0], signal.SIGSTOP)
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not any(alive(pid) for pid in orphans))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_root_without_the_capabilities_to_change_its_user_gets_the_same_line_each_time(tmp_path: Path) -> None:
    need_root()
    need("setpriv", "taskset")
    file = tmp_path / "netd.yaml"
    file.write_text("daemon: {user: daemon}\n" + ECHO.format("off"))
    without = ("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid")
    processor = str(min(os.sched_getaffinity(0)))  # one, on which the worker may exit before the supervisor goes on
    command = ("taskset", "-c", processor, *without, sys.executable, "-m", "netd", "run", "-c", file)
    expected = (
        "worker (user daemon): cannot become daemon: Operation not permitted; root needs CAP_SETUID and "
        "CAP_SETGID for that: grant them, or start netd as another user than root; under systemd see the drop-in "
        "programs.conf"
    )
    for _ in range(10):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stderr.splitlines()[-1])["problem"]) == (71, expected)


OLD_KERNEL = """
#include <errno.h>
#include <unistd.h>
int close_range(unsigned first, unsigned last, int flags) { errno = ENOSYS; return -1; }
long sysconf(int name) { return name == _SC_OPEN_MAX ? 1L << 30 : name == _SC_PAGESIZE ? getpagesize() : 1; }
"""


@pytest.mark.slow
def test_worker_starts_soon_without_close_range_and_with_a_huge_limit_of_descriptors(tmp_path: Path) -> None:
    need("cc")
    (tmp_path / "old.c").write_text(OLD_KERNEL)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "old.c"], check=True)
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off"))
    with Daemon("-c", str(file), LD_PRELOAD=str(tmp_path / "old.so")) as running:
        running.event("netd_started")  # closing 2**30 descriptors one by one takes minutes
        os.kill(running.worker, signal.SIGKILL)
        running.event("worker_started")
        assert running.stop() == 0


def test_orphans_are_reaped_and_known_children_are_not() -> None:
    def exited() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    orphans = [exited() for _ in range(3)]
    known = exited()
    reap_orphans({known})
    for pid in orphans:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    assert os.waitstatus_to_exitcode(os.waitpid(known, 0)[1]) == 7


# Runs netd as PID 1, and leaves it orphans: each shell exits before the process that it has started.
CONTAINER = """
mount -t proc proc /proc
(for n in $(seq 50); do (sh -c 'read line < /proc/self/stat' &) ; done) &
exec "$@"
"""


@pytest.mark.slow
def test_netd_as_pid_1_reaps_orphans_and_reports_no_worker_lost(tmp_path: Path) -> None:
    need_root()
    need("unshare")
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off"))
    container = ("unshare", "--fork", "--pid", "--mount", "--kill-child", "sh", "-c", CONTAINER, "sh")
    with Daemon("-c", str(file), command=container) as running:
        running.event("netd_started")
        [netd] = map(int, Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split())

        def states() -> list[str]:
            found = Path(f"/proc/{netd}/task/{netd}/children").read_text().split()
            return [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] for pid in found]

        until(lambda: len(states()) == 1)
        assert echoes(running.port("echo"))
        os.kill(netd, signal.SIGTERM)
        assert running.process.wait(20) == 0
        running.stop()
    assert "worker_lost" not in [line["event"] for line in running.lines]
