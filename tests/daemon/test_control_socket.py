"""The control socket of a real netd: where it is, how commands find it, and which users may use it."""

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from netd.accounts import user_name
from tests.daemon.configs import ONE_ON
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started
from tests.support.users import as_unprivileged_user
from tests.support.waiting import until


def netd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_command_without_a_running_netd_exits_with_69_and_names_the_sockets_it_tried(tmp_path: Path) -> None:
    done = netd("status", "--control", f"{tmp_path}/c")
    assert done.returncode == 69
    assert done.stderr == (f"netd: netd is not running; looked at {tmp_path}/c (No such file or directory)\n")
    assert f"{tmp_path}/d" in netd("stop", NETD_CONTROL=f"{tmp_path}/d").stderr
    (tmp_path / "netd.yaml").write_text(f"daemon: {{control: {tmp_path}/e}}\n")
    done = netd("reload", "-c", f"{tmp_path}/netd.yaml", "--control", f"{tmp_path}/c", NETD_CONTROL=f"{tmp_path}/d")
    assert f"looked at {tmp_path}/e (" in done.stderr
    (tmp_path / "netd.yaml").write_text("daemon: {control: off}\n")
    assert "switches the control socket off" in netd("status", "-c", f"{tmp_path}/netd.yaml").stderr
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/other")
        assert "Connection refused" in netd("status", "--control", f"{tmp_path}/other").stderr


@pytest.mark.slow
def test_command_that_finds_no_netd_by_a_config_with_problems_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = f"daemon: {{control: {tmp_path}/mine}}\n" + ONE_ON
    with daemon(config, tmp_path) as running:
        file = tmp_path / "netd.yaml"
        # A command with another runtime directory does not see the link that this netd has made.
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/elsewhere")
        # Neither a file with a syntax error, nor one without a path for the control socket, leads to it.
        problem = f"netd: no netd runs {file}; it has problems, which netd check prints\n"
        for text in (config + "  echo: [\n", ONE_ON.replace("tcp:", "tpc:")):
            file.write_text(text)
            for command in ("reload", "status"):
                done = running.netd(command, "-c", str(file))
                assert (done.returncode, done.stderr) == (69, problem)
        file.write_text(ONE_ON)
        done = running.netd("reload", "-c", str(file))
        assert (done.returncode, "netd is not running" in done.stderr) == (69, True), done.stderr
        file.write_text(config)
        assert running.netd("reload", "-c", str(file)).returncode == 0


@pytest.mark.slow
def test_command_for_one_config_is_not_sent_to_the_netd_of_another(tmp_path: Path) -> None:
    with daemon(ONE_ON, tmp_path) as running:
        (tmp_path / "other.yaml").write_text(ONE_ON)
        for name in ("other.yaml", "none.yaml"):
            done = running.netd("stop", "-c", f"{tmp_path}/{name}")
            assert done.returncode == 69
            assert f"runs {tmp_path}/netd.yaml" in done.stderr
        assert running.netd("status", "-c", f"{tmp_path}/netd.yaml").returncode == 0
        (tmp_path / "netd.yaml").write_text("services: [")
        assert running.netd("status", "-c", f"{tmp_path}/netd.yaml").returncode == 0, "it still runs"


@pytest.mark.slow
def test_second_netd_does_not_take_the_socket_of_the_first(tmp_path: Path) -> None:
    with daemon(ONE_ON, tmp_path) as running:
        with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=running.control) as second:
            assert second.process.wait(20) == 71
            second.stop()
        [problem] = [line["problem"] for line in second.lines if line["event"] == "start_failed"]
        occupant = f"another program listens there: netd (pid {running.process.pid}, config {tmp_path}/netd.yaml)"
        assert problem == (
            f"daemon.control: cannot listen on unix://{running.control}: Address already in use; "
            f"{occupant}; set daemon.control, or $NETD_CONTROL, to another path"
        )
        assert running.ask("status")["ok"]


@pytest.mark.slow
def test_netd_without_a_control_socket_serves(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text("daemon: {control: off}\n" + ONE_ON)
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        running.event("netd_started")
        assert not os.path.exists(running.control)
        assert running.stop() == 0


def started_unprivileged(
    directory: str, section: str = "", **environment: str
) -> tuple[int, list[dict[str, object]], str]:
    """A netd of an unprivileged user, with this section in its config; ``environment`` has the path of its control
    socket.

    When it is ready, an echo is requested, and it is stopped. Returns its exit code, its events, and other output.
    """
    file = Path(directory, "netd.yaml")
    file.write_text(section + ONE_ON)
    os.chmod(directory, 0o755)
    places = ("NETD_CONTROL", "XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY")
    kept = {key: value for key, value in os.environ.items() if key not in places}
    command = [*as_unprivileged_user(), sys.executable, "-m", "netd", "run", "-c", str(file)]
    events, output = {}, ""
    with started(*command, stderr=subprocess.PIPE, text=True, env={**kept, **environment}) as process:
        assert process.stderr
        for line in process.stderr:
            if not line.startswith("{"):
                output += line
                continue
            event = json.loads(line)
            events[event["event"]] = event
            if event["event"] == "netd_started":
                port = int(events["listening"]["endpoint"].rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port), 20) as connection:
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x"
                process.terminate()
        process.wait(20)
    return process.returncode, list(events.values()), output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({}, "$XDG_RUNTIME_DIR is not set; set daemon.control to a path"),
        ({"XDG_RUNTIME_DIR": "/proc/none"}, "daemon.control: cannot listen on unix:///proc/none/netd/control.sock: "),
    ],
    ids=["none", "unusable"],
)
def test_netd_without_a_path_for_a_control_socket_logs_it_and_serves(environment: dict[str, str], error: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        code, events, output = started_unprivileged(directory, **environment)
    assert (code, output) == (0, "")
    [failed] = [event for event in events if event["event"] == "control_failed"]
    assert failed["level"] == "warning"
    assert str(failed["error"]).startswith(error)
    assert events[-1]["event"] == "netd_stopped"


@pytest.mark.slow
def test_control_path_that_the_operator_set_must_be_usable() -> None:
    with tempfile.TemporaryDirectory() as directory:
        code, events, output = started_unprivileged(directory, NETD_CONTROL="/proc/none/control.sock")
    assert (code, output) == (71, "")
    assert [event["event"] for event in events] == ["netd_starting", "start_failed"]
    assert "/proc/none/control.sock" in str(events[-1]["problem"])


@pytest.mark.slow
def test_control_group_that_netd_may_not_give_its_socket_to_fails_the_start() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(f"{directory}/run")
        os.chmod(f"{directory}/run", 0o777 | stat.S_ISVTX)
        section = "daemon: {control_group: daemon}\n"
        code, events, _ = started_unprivileged(directory, section, RUNTIME_DIRECTORY=f"{directory}/run/netd")
        assert code == 71
        assert "Operation not permitted; only root and members of the group 'daemon'" in str(events[-1]["problem"])
        assert str(events[-1]["problem"]).endswith("under systemd see the drop-in control-group.conf")
        code, events, _ = started_unprivileged(directory, section)
        assert code == 71
        assert str(events[-1]["problem"]).endswith(
            ": daemon.control_group: $XDG_RUNTIME_DIR is not set; set daemon.control to a path"
        )


@pytest.mark.slow
def test_stop_waits_until_netd_has_exited(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text("daemon: {drain: 1h}\n" + ONE_ON)
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        running.event("netd_started")
        command = [sys.executable, "-m", "netd", "stop", "--control", running.control]
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as live, started(*command) as stopping:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            running.event("drain_started")
            assert running.ask("status")["stopping"]
            assert ", stopping, 0 workers, 1 leaving, " in running.netd("status").stdout.splitlines()[0]
            assert running.ask("connections")["total"] == 1
            assert "netd is stopping" in running.ask("reload")["error"]
            assert stopping.poll() is None
            live.close()
            assert stopping.wait(20) == 0
        until(lambda: not os.path.exists(running.control))
        assert running.stop() == 0
    assert running.lines[-1]["event"] == "netd_stopped"


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [True, False])
def test_control_group_may_control_netd(tmp_path: Path, allowed: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to switch to another user")
    need("nc", "setpriv")
    section = "daemon: {control_group: nogroup}\n" if allowed else ""
    tmp_path.chmod(0o755)
    with daemon(section + ONE_ON, tmp_path) as running:
        os.chmod(os.path.dirname(running.control), 0o755)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "nc", "-N", "-U", running.control],
            input=b"status\n",
            capture_output=True,
            check=False,
        )
        if allowed:
            assert json.loads(done.stdout)["ok"]
        else:
            assert done.returncode != 0
            assert done.stdout == b""
            os.chmod(running.control, 0o666)
            with_mode = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "nc", "-N", "-U", running.control],
                input=b"stop\n",
                capture_output=True,
                check=False,
            )
            refusal = json.loads(with_mode.stdout)
            assert refusal["error"].endswith(" may not control netd: be root, or see daemon.control_group")
            assert refusal["exit_code"] == 69
            assert running.event("control_refused")["by"] == user_name(65534)
