"""The destination of the log, and the problems of a start in it."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from netd.client.control import ask
from netd.config.model import LogSection
from netd.daemon.log_output import open_file, open_log
from netd.errors import OpenError
from netd.telemetry import syslog
from tests.support.daemon import daemon
from tests.support.leftovers import is_gone
from tests.support.namespaces import in_mounts_of, with_own_dev
from tests.support.programs import need, started
from tests.support.pseudoterminal import read_terminal
from tests.support.waiting import until

FAILS = "log: {{{log}}}\nservices:\n  echo: {{listen: ['unix://{tmp}/no/s']}}\n"
PROBLEM = (
    "{tmp}/netd.yaml:3:19: services.echo.listen[0]: cannot listen on unix://{tmp}/no/s: No such file or directory; "
    "make the directory {tmp}/no first"
)


def failed_start(tmp_path: Path, log: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "netd.yaml").write_text(FAILS.format(log=log, tmp=tmp_path))
    command = [sys.executable, "-m", "netd", "run", "-c", str(tmp_path / "netd.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 71
    return done


def problems(log: str) -> list[str]:
    """The problems of the start in a log of JSON lines."""
    return [line["problem"] for line in map(json.loads, log.splitlines()) if line["event"] == "start_failed"]


@pytest.mark.slow  # processes
def test_failed_start_is_an_event_in_a_log_for_programs(tmp_path: Path) -> None:
    done = failed_start(tmp_path, "format: json")
    assert problems(done.stderr) == [PROBLEM.format(tmp=tmp_path)]
    done = failed_start(tmp_path, "format: logfmt")
    assert all(line.startswith("time=") for line in done.stderr.splitlines())
    assert f'level=error event=start_failed problem="{PROBLEM.format(tmp=tmp_path)}"' in done.stderr


@pytest.mark.slow  # processes
def test_failed_start_is_a_line_in_a_log_for_people(tmp_path: Path) -> None:
    done = failed_start(tmp_path, "format: console")
    assert "start_failed" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"{PROBLEM.format(tmp=tmp_path)}"


@pytest.mark.slow  # processes
def test_failed_start_is_an_event_in_a_file_and_a_line_on_standard_error(tmp_path: Path) -> None:
    done = failed_start(tmp_path, f"file: {tmp_path}/log")
    assert done.stderr == f"{PROBLEM.format(tmp=tmp_path)}\n"
    assert problems((tmp_path / "log").read_text()) == [PROBLEM.format(tmp=tmp_path)]


@pytest.mark.slow  # processes
def test_colours_are_left_out_if_no_color_is_set(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text(FAILS.format(log="", tmp=tmp_path))
    command = [sys.executable, "-m", "netd", "run", "-c", str(tmp_path / "netd.yaml")]
    for value, coloured in (("", True), ("1", False)):
        primary, terminal = pty.openpty()
        with started(*command, stderr=terminal, env={**os.environ, "NO_COLOR": value}) as process:
            os.close(terminal)
            text = ""
            while ": services.echo.listen[0]: cannot listen" not in text:
                text += read_terminal(primary, text).decode()
            assert process.wait(20) == 71
        os.close(primary)
        assert ("\x1b[" in text) is coloured
        assert "netd_starting" in text


def test_error_of_a_log_file_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{tmp_path}/no/log"
    with pytest.raises(OpenError) as raised:
        open_file(path)
    expected = f"log.file: cannot open {path}: No such file or directory; make the directory {tmp_path}/no first"
    assert raised.value.problems == (expected,)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/none")
    with pytest.raises(OpenError) as raised:
        open_file(path)
    assert "LogsDirectory= only: see log-file.conf" in str(raised.value)


def test_log_goes_to_standard_error_without_a_syslogd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(syslog, "connect", partial(syslog.connect, str(tmp_path / "log")))
    output = open_log(LogSection(file="syslog"), detached=False)
    output.sink.close()
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["level"]) == ("log_failed", "error")
    assert line["error"] == (
        "there is no syslogd at /dev/log: No such file or directory; the log goes to standard error"
    )


def test_log_of_a_detached_netd_goes_to_the_syslogd_unless_it_has_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "connect", partial(syslog.connect, str(tmp_path / "socket")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslogd:
        syslogd.bind(str(tmp_path / "socket"))
        syslogd.settimeout(20)
        for section, detached, to_syslog in (
            (LogSection(), True, True),
            (LogSection(file="syslog"), False, True),
            (LogSection(file=f"{tmp_path}/log"), True, False),
        ):
            output = open_log(section, detached=detached)
            output.sink.msg(b"one")
            if to_syslog:
                assert syslogd.recv(99) == b"one"
                assert output.sink.reopen is not None
                output.sink.replace(output.sink.reopen())
                output.sink.msg(b"two")
                assert syslogd.recv(99) == b"two"
            else:
                assert (tmp_path / "log").read_bytes() == b"one"
            output.sink.close()


CONFIG = "daemon: {{control: {tmp}/c}}\n{log}services:\n  echo: {{listen: ['unix://{tmp}/s']}}\n"


@contextlib.contextmanager
def own_dev() -> Iterator[int]:
    """A process in a mount namespace where nothing listens at /dev/log."""
    need("nsenter")
    with started(*with_own_dev("sleep", "1000")) as process:
        until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep"))
        yield process.pid


def run_detached(process: int, tmp_path: Path, log: str = "") -> "subprocess.CompletedProcess[str]":
    (tmp_path / "netd.yaml").write_text(CONFIG.format(tmp=tmp_path, log=log))
    command = (sys.executable, "-m", "netd", "run", "--daemon", "-c", tmp_path / "netd.yaml")
    return subprocess.run(
        in_mounts_of(process, *command),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def stop(tmp_path: Path) -> None:
    pid = ask([f"{tmp_path}/c"], ["status"])["pid"]
    ask([f"{tmp_path}/c"], ["stop"])
    until(lambda: is_gone(pid))


def serve_one(tmp_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/s")
        connection.sendall(b"x")
        return connection.recv(1) == b"x"


@pytest.mark.slow
def test_daemon_logs_to_a_real_syslogd_also_after_that_was_restarted(tmp_path: Path) -> None:
    need("busybox")

    def logged(number: int, text: str) -> list[str]:
        file = tmp_path / f"messages-{number}"
        return [line for line in file.read_text().splitlines() if text in line] if file.exists() else []

    with own_dev() as space:

        def syslogd(number: int) -> contextlib.AbstractContextManager[object]:
            file = tmp_path / f"messages-{number}"
            return started(*in_mounts_of(space, "busybox", "syslogd", "-n", "-O", file))

        with syslogd(1):
            until(lambda: logged(1, "syslogd started"))
            done = run_detached(space, tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
            until(lambda: logged(1, "netd_started"))
            [line] = logged(1, "netd_started")
            assert " daemon.info netd[" in line
            assert line.endswith(": level=info event=netd_started services=1 sockets=1")
        with syslogd(2):
            until(lambda: serve_one(tmp_path) and logged(2, "event=connection_closed service=echo"))
            stop(tmp_path)
            until(lambda: logged(2, "netd_stopped"))


@pytest.mark.slow
def test_daemon_without_a_log_file_and_a_syslogd_prints_a_note(tmp_path: Path) -> None:
    missing = "there is no syslogd at /dev/log: No such file or directory; nothing is logged until one runs\n"
    with own_dev() as space:
        for log, note in (("", f"log.file is not set, and {missing}"), ("log: {file: syslog}\n", missing)):
            done = run_detached(space, tmp_path, log)
            assert (done.returncode, done.stderr) == (0, f"netd: {note}")
            stop(tmp_path)


def test_lines_of_connections_that_the_stop_ends_are_written(tmp_path: Path) -> None:
    config = "daemon: {drain: 100ms}\nservices:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("echo")), 20))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert running.stop() == 0
    assert [line["outcome"] for line in running.lines if line["event"] == "connection_closed"] == ["stopped"] * 3
