"""`netd run --daemon`: the result for the caller, and the state of the daemon."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.client.control import ask
from tests.support.leftovers import is_gone
from tests.support.waiting import until


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netd", "run", "--daemon", "-c", "netd.yaml", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        # Without PYTHONPATH the installed netd would run, which may be another checkout.
        env={**os.environ, "PYTHONPATH": os.getcwd(), "RUNTIME_DIRECTORY": f"{tmp_path}/run", **environment},
    )


def write(tmp_path: Path, daemon: str = "", more: str = "") -> None:
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{control: {tmp_path}/c, {daemon}}}\nlog: {{file: {tmp_path}/log, format: json}}\n"
        f'services:\n  echo: {{listen: ["unix://{tmp_path}/s"]}}\n{more}'
    )


@contextlib.contextmanager
def running(tmp_path: Path) -> Iterator[int]:
    """The process id of a daemon, which is stopped at the end."""
    pid = int(ask([f"{tmp_path}/c"], ["status"])["pid"])
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: is_gone(pid), 20)


@pytest.mark.slow  # a daemon
def test_daemon_detaches_and_the_caller_returns_once_all_sockets_listen(tmp_path: Path) -> None:
    write(tmp_path)
    done = start(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with running(tmp_path) as pid, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/s")
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Umask:\t0027" in status
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert stat[4] == "0", "it has a terminal"
        assert int(stat[3]) != os.getsid(0)
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
        assert (tmp_path / "run/netd.pid").read_text() == f"{pid}\n"
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "run/netd.pid").exists()
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_daemon_starts_without_standard_descriptors(tmp_path: Path, closed: str) -> None:
    write(tmp_path)
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "netd", "run", "--daemon", "-c"]
    done = subprocess.run([*command, tmp_path / "netd.yaml"], check=False, timeout=60)
    assert done.returncode == 0
    with running(tmp_path), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/s")
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("daemon", "more", "code", "problem"),
    [
        ("", "  ecoh: {listen: [tcp://*:7]}\n", 78, "did you mean 'echo'?"),
        ("", "  upper: {listen: [tcp://192.0.2.1:7]}\n", 71, "cannot listen on tcp://192.0.2.1:7"),
        ("user: no-such-user", "", 78, "there is no user 'no-such-user'"),
        ("pid_file: /proc/no/pid", "", 71, "daemon.pid_file: cannot open /proc/no/pid"),
    ],
)
def test_caller_fails_with_the_error_of_the_daemon(
    tmp_path: Path, daemon: str, more: str, code: int, problem: str
) -> None:
    write(tmp_path, daemon, more)
    if os.geteuid() != 0 and "user" in daemon:
        pytest.skip("needs root")
    done = start(tmp_path)
    assert done.returncode == code
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_stale_pid_file_is_replaced_and_a_second_daemon_is_refused(tmp_path: Path) -> None:
    write(tmp_path, f"pid_file: {tmp_path}/pid")
    (tmp_path / "pid").write_text("1\n")
    assert start(tmp_path).returncode == 0
    with running(tmp_path) as pid:
        done = start(tmp_path)
        assert done.returncode == 71
        assert done.stderr == f"netd: netd is running already, as process {pid} ({tmp_path}/pid)\n"
        assert (tmp_path / "pid").read_text() == f"{pid}\n"
    assert not (tmp_path / "pid").exists()


@pytest.mark.slow
def test_pid_file_left_by_kill_9_is_replaced(tmp_path: Path) -> None:
    write(tmp_path)
    assert start(tmp_path).returncode == 0
    pid = int((tmp_path / "run/netd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))
    assert (tmp_path / "run/netd.pid").exists()
    assert start(tmp_path).returncode == 0
    with running(tmp_path) as another:
        assert another != pid


@pytest.mark.slow
def test_file_that_is_not_a_pid_file_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path, f"pid_file: {tmp_path}/letter")
    (tmp_path / "letter").write_text("Dear all")
    done = start(tmp_path)
    assert (done.returncode, "is not a pid file" in done.stderr) == (71, True)
    assert (tmp_path / "letter").read_text() == "Dear all"


@pytest.mark.slow
def test_log_is_reopened_at_sigusr1_by_all_processes(tmp_path: Path) -> None:
    write(tmp_path)
    assert start(tmp_path).returncode == 0
    with running(tmp_path) as pid:
        (tmp_path / "log").rename(tmp_path / "log.1")
        os.kill(pid, signal.SIGUSR1)
        until(lambda: "log_reopened" in (tmp_path / "log").read_text() if (tmp_path / "log").exists() else False)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{tmp_path}/s")
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        until(lambda: "connection_closed" in (tmp_path / "log").read_text())
        assert "connection_closed" not in (tmp_path / "log.1").read_text()
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


@pytest.mark.slow
def test_daemon_started_with_a_relative_path_reloads_at_sighup(tmp_path: Path) -> None:
    write(tmp_path)
    assert start(tmp_path).returncode == 0
    with running(tmp_path) as pid:
        write(tmp_path, more=f'  upper: {{listen: ["unix://{tmp_path}/u"]}}\n')
        os.kill(pid, signal.SIGHUP)
        until((tmp_path / "u").exists)
    assert not (tmp_path / "u").exists()


@pytest.mark.slow
def test_daemon_option_is_rejected_under_a_service_manager(tmp_path: Path) -> None:
    write(tmp_path)
    done = start(tmp_path, NOTIFY_SOCKET=f"{tmp_path}/n")
    assert (done.returncode, "under a service manager" in done.stderr) == (78, True)


@pytest.mark.slow
def test_core_files_are_limited_unless_the_config_enables_them(tmp_path: Path) -> None:
    write(tmp_path, "core: true")
    assert start(tmp_path).returncode == 0
    with running(tmp_path) as pid:
        mine = Path("/proc/self/limits").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert limits.splitlines()[5] == mine.splitlines()[5]
