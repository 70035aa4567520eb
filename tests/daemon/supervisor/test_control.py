"""The control socket: its commands, its peers, and invalid input."""

import contextlib
import json
import os
import random
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.accounts import user_name
from netd.contract import Post
from netd.daemon.supervisor.control import Answer, CommandError, Control
from netd.daemon.tasks import Tasks
from netd.errors import ConfigError
from netd.peer import Credentials, Peer
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started
from tests.support.services import answered
from tests.support.users import as_unprivileged_user
from tests.support.waiting import until

CONFIG = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n  off: {type: upper, enabled: false, listen: [tcp://*:0]}\n"


class Commands:
    """Records the calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def _record(self, *call: object) -> Answer:
        self.calls.append(call)
        return {"calls": len(self.calls)}

    async def current(self, service: str = "") -> Answer:
        return {"fine": True, "service": service}

    def history(self) -> Answer:
        return {"times": []}

    async def config(self, selection: dict[str, str]) -> Answer:
        return self._record("config", selection)

    async def diff(self) -> Answer:
        raise ConfigError(["x:1:1: one", "x:2:2: two"])

    async def reload(self, by: str) -> Answer:
        raise ZeroDivisionError("oops")

    async def switch(self, service: str, *, on: bool, by: str) -> Answer:
        return self._record(service, on, by)

    async def connections(self, selection: dict[str, str]) -> Answer:
        return self._record(selection)

    async def peers(self, selection: dict[str, str]) -> Answer:
        return self._record(selection)

    async def kick(self, selection: dict[str, str], by: str) -> Answer:
        return self._record(selection, by)

    def targets(self, service: str) -> Answer:
        return self._record("targets", service)

    def change_target(self, service: str, what: str, target: str, by: str) -> Answer:
        return self._record(service, what, target, by)

    def bans(self) -> Answer:
        return {"bans": []}

    async def ban(self, source: str, duration: str, by: str) -> Answer:
        return self._record(source, duration, by)

    async def unban(self, source: str, by: str) -> Answer:
        return self._record(source, by)

    def explain(self, peer: str, where: str) -> Answer:
        return self._record(peer, where)

    async def start(self, selection: dict[str, str], post: Post) -> Callable[[], None]:
        if selection == {"service": "unknown"}:
            raise CommandError("there is no service 'unknown'")
        self._record("trace", selection)
        return lambda: self.calls.append(("end of trace",))

    async def open(self, service: str, post: Post) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        self._record("talk", service)
        return self.calls.append, lambda: self.calls.append("closed")

    def log_level(self) -> Answer:
        return {"log_level": "info"}

    async def set_log_level(self, level: str, by: str) -> Answer:
        raise CommandError("no such level", 64)

    def stop(self, by: str, *, now: bool = False) -> Answer:
        return self._record(now, by)


def answers_to(
    *lines: bytes, uid: int | None = None, group: int | None = None, gid: int = 7, trusts_own_user: bool = True
) -> tuple[list[Answer], Commands]:
    commands = Commands()
    credentials = Credentials(1, os.geteuid() if uid is None else uid, gid)
    peer = Peer("unix", "", credentials=credentials)
    loop = Loop()
    tasks = Tasks(loop)
    control = Control(
        tasks,
        commands,
        commands.stop,
        commands,
        commands,
        commands.explain,
        commands,
        commands,
        group,
        lambda: trusts_own_user,
        DaemonEvents(),
    )
    answers = answered(control, *lines, peer=peer)
    loop.close()
    return [json.loads(line) for line in answers.splitlines()], commands


def test_line_is_a_command_and_an_answer_is_an_object() -> None:
    answers, commands = answers_to(b"status\nenable a\r\n", b"disable b\nkick peer=::1 service=x\nstop now\n")
    me = user_name(os.geteuid())
    assert answers[0] == {"ok": True, "format_version": 1, "fine": True, "service": ""}
    assert commands.calls == [
        ("a", True, f"netd enable, {me}"),
        ("b", False, f"netd disable, {me}"),
        ({"peer": "::1", "service": "x"}, f"netd kick, {me}"),
        (True, f"netd stop, {me}"),
    ]


def test_trace_runs_until_the_peer_shuts_down_its_sending_side() -> None:
    answers, commands = answers_to(b"trace service=a peer=::1\n", b"status\n", b"whatever")
    assert answers == [{"ok": True, "format_version": 1}], "it accepts no more commands"
    assert commands.calls == [("trace", {"service": "a", "peer": "::1"}), ("end of trace",)]
    answers, commands = answers_to(b"trace service=unknown\nstatus\n")
    assert [answer["ok"] for answer in answers] == [False], "the rest is no command either"
    assert commands.calls == []


def test_data_after_talk_is_sent_to_the_service() -> None:
    answers, commands = answers_to(b"talk service=a\n", b"status\n", b"bye")
    assert answers == [{"ok": True, "format_version": 1}]
    assert commands.calls == [("talk", "a"), b"status\n", b"bye", "closed"]


@pytest.mark.parametrize(
    ("line", "error", "code"),
    [
        (b"", "unknown command ''; known: ban, config, connections", 64),
        (b"statsu", "unknown command 'statsu'; did you mean 'status'?", 64),
        (b"status now", "expected: status", 64),
        (b"enable", "expected: enable NAME", 64),
        (b"kick", "expected: kick id=ID | peer=ADDRESS | service=NAME", 64),
        (b"kick all", "expected: kick", 64),
        (b"connections peer=", "expected: connections", 64),
        (b"peers peer=a", "expected: peers [service=NAME]", 64),
        (b"connections peer=a peer=b", "expected: connections", 64),
        (b"trace echo", "expected: trace service=NAME [peer=ADDRESS]", 64),
        (b"log-level loud", "no such level", 64),
        (b"diff", "x:1:1: one", 78),
        (b"reload", "a bug in netd: ZeroDivisionError('oops'); see its log", 70),
        (b"x" * 5000, "a line may have at most 4096 octets", 64),
        (b"\xff\x00\x1b[31m", "unknown command '", 64),
    ],
)
def test_invalid_command_is_answered_with_the_reason(line: bytes, error: str, code: int) -> None:
    [answer], _ = answers_to(line + b"\n")
    assert not answer["ok"]
    assert answer["error"].startswith(error)
    assert answer["exit_code"] == code


def test_control_socket_serves_only_root_the_user_of_netd_and_the_group() -> None:
    assert answers_to(b"stop\n", uid=0)[1].calls
    assert answers_to(b"stop\n")[1].calls
    for answers, commands in (answers_to(b"stop\n", uid=54321), answers_to(b"stop\n", uid=54321, group=8)):
        assert commands.calls == []
        assert [answer["ok"] for answer in answers] == [False]
    assert answers_to(b"stop\n", uid=54321, group=7)[1].calls


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_input_is_answered_and_changes_nothing(pieces: list[bytes]) -> None:
    answers, commands = answers_to(*(piece.replace(b"stop", b"").replace(b"able", b"") for piece in pieces))
    assert all(isinstance(answer["ok"], bool) for answer in answers)
    assert not [call for call in commands.calls if not isinstance(call, tuple)]


@pytest.mark.slow
def test_fuzz_of_the_real_socket_changes_nothing_and_crashes_nothing(tmp_path: Path) -> None:
    dice = random.Random(3)
    words = [b"status", b"connections", b"kick", b"peer=", b"::/0", b"\xff\xf4\xff\xfd\x06", b"\n", b"\0", b"x" * 5000]
    with daemon(CONFIG, tmp_path) as running:
        before = running.ask("status")
        held = []
        for number in range(300):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                connection.connect(running.control)
                connection.sendall(
                    b" ".join(dice.choices(words, k=dice.randrange(8))) + dice.randbytes(dice.randrange(50))
                )
            if number < 20:
                held.append(connection)  # half a line
            else:
                connection.close()
        after = running.ask("status")
        assert (after["pid"], after["workers"][0]["pid"]) == (before["pid"], before["workers"][0]["pid"])
        assert [service["enabled"] for service in after["services"]] == [True, False]
        for connection in held:
            connection.close()
    assert not [line for line in running.lines if line["level"] in ("error", "critical")]


@pytest.mark.slow
def test_echo_status_through_nc(tmp_path: Path) -> None:
    need("nc")
    with daemon(CONFIG, tmp_path) as running:
        done = subprocess.run(["nc", "-N", "-U", running.control], input=b"status\n", capture_output=True, check=True)
        assert json.loads(done.stdout)["pid"] == running.process.pid
        assert os.stat(running.control).st_mode & 0o777 == 0o600
    assert not os.path.exists(running.control)


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
    config = f"daemon: {{control: {tmp_path}/mine}}\n" + CONFIG
    with daemon(config, tmp_path) as running:
        file = tmp_path / "netd.yaml"
        # A command with another runtime directory does not see the link that this netd has made.
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/elsewhere")
        # Neither a file with a syntax error, nor one without a path for the control socket, leads to it.
        problem = f"netd: no netd runs {file}; it has problems, which netd check prints\n"
        for text in (config + "  echo: [\n", CONFIG.replace("tcp:", "tpc:")):
            file.write_text(text)
            for command in ("reload", "status"):
                done = running.netd(command, "-c", str(file))
                assert (done.returncode, done.stderr) == (69, problem)
        file.write_text(CONFIG)
        done = running.netd("reload", "-c", str(file))
        assert (done.returncode, "netd is not running" in done.stderr) == (69, True), done.stderr
        file.write_text(config)
        assert running.netd("reload", "-c", str(file)).returncode == 0


@pytest.mark.slow
def test_command_for_one_config_is_not_sent_to_the_netd_of_another(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        (tmp_path / "other.yaml").write_text(CONFIG)
        for name in ("other.yaml", "none.yaml"):
            done = running.netd("stop", "-c", f"{tmp_path}/{name}")
            assert done.returncode == 69
            assert f"runs {tmp_path}/netd.yaml" in done.stderr
        assert running.netd("status", "-c", f"{tmp_path}/netd.yaml").returncode == 0
        (tmp_path / "netd.yaml").write_text("services: [")
        assert running.netd("status", "-c", f"{tmp_path}/netd.yaml").returncode == 0, "it still runs"


@pytest.mark.slow
def test_second_netd_does_not_take_the_socket_of_the_first(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
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
    (tmp_path / "netd.yaml").write_text("daemon: {control: off}\n" + CONFIG)
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
    file.write_text(section + CONFIG)
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
    (tmp_path / "netd.yaml").write_text("daemon: {drain: 1h}\n" + CONFIG)
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
    with daemon(section + CONFIG, tmp_path) as running:
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


def test_user_of_netd_is_not_obeyed_where_programs_have_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 61500)
    for uid, group, obeyed in ((61500, None, False), (61500, 7, False), (0, None, True)):
        answers, _ = answers_to(b"status\n", uid=uid, group=group, trusts_own_user=False)
        assert answers[0]["ok"] is obeyed
    assert answers_to(b"status\n", uid=61500)[0][0]["ok"]
