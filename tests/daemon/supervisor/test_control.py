"""The control socket: its commands, its peers, and invalid input."""

import contextlib
import errno
import json
import os
import random
import socket
import subprocess
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
from tests.daemon.configs import ONE_ON
from tests.support.daemon import daemon
from tests.support.programs import need
from tests.support.services import answered


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


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))])
def test_lack_of_memory_is_answered_and_is_no_bug(
    error: Exception, log: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bans(self: Commands) -> Answer:
        raise error

    monkeypatch.setattr(Commands, "bans", bans)
    [answer], _ = answers_to(b"ban list\n")
    assert answer["error"] == "Cannot allocate memory; see the limits of this process (ulimit -a)"
    assert answer["exit_code"] == 71
    assert log == []


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
    with daemon(ONE_ON, tmp_path) as running:
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
    with daemon(ONE_ON, tmp_path) as running:
        done = subprocess.run(["nc", "-N", "-U", running.control], input=b"status\n", capture_output=True, check=True)
        assert json.loads(done.stdout)["pid"] == running.process.pid
        assert os.stat(running.control).st_mode & 0o777 == 0o600
    assert not os.path.exists(running.control)


def test_user_of_netd_is_not_obeyed_where_programs_have_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 61500)
    for uid, group, obeyed in ((61500, None, False), (61500, 7, False), (0, None, True)):
        answers, _ = answers_to(b"status\n", uid=uid, group=group, trusts_own_user=False)
        assert answers[0]["ok"] is obeyed
    assert answers_to(b"status\n", uid=61500)[0][0]["ok"]
