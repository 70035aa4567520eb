"""Programs for connections when a real daemon is reloaded, and when their service is disabled."""

from pathlib import Path

import pytest

from tests.daemon.configs import write
from tests.daemon.programs import config, connect, descriptors, launcher, listed, said, until_idle
from tests.support.daemon import daemon
from tests.support.leftovers import is_gone
from tests.support.programs import need_root
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def test_disable_gives_programs_the_drain_and_then_ends_them(tmp_path: Path) -> None:
    text = config(["/bin/cat"], limits={"drain": "2s"})
    with daemon(text, tmp_path) as running, connect(running) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert running.ask("disable", "run")["ok"]  # at once: a command takes a while to exit, when the time runs
        client.sendall(b"y")
        assert client.recv(1) == b"y", "it has time"
        assert client.recv(1) == b""
        ended = running.event("program_ended")
        assert ended["signal"] == "SIGTERM"
        until(lambda: not running.ask("status")["connections"] if "connections" in running.ask("status") else True)


def test_reload_starts_the_new_command_from_then_on_and_touches_nothing_else(tmp_path: Path) -> None:
    text = (
        config("echo one; exec cat")
        + "  other: {type: exec, listen: [tcp://127.0.0.1:0], options: {command: [/bin/cat]}}\n"
    )
    with daemon(text, tmp_path) as running, connect(running) as old, connect(running, "other") as other:
        assert old.recv(10) == b"one\n"
        other.sendall(b"x")
        assert other.recv(1) == b"x"
        before = launcher(running)
        write(tmp_path, text.replace("echo one", "echo two"))
        assert running.netd("reload").returncode == 0
        assert running.event("reload_applied")["changes"] == {"run": "changed"}
        for client in (old, other):
            client.sendall(b"on")
            assert client.recv(2) == b"on"
        assert said(running) == "two\n"
        assert launcher(running) == before, "a changed command needs no new launcher"
        until(lambda: len(listed(running)) == 2)


def test_reload_with_another_user_starts_another_launcher_and_ends_the_one_without_programs(tmp_path: Path) -> None:
    need_root()
    text = config("id -u; exec cat")
    with daemon(text, tmp_path) as running, connect(running) as old:
        assert old.recv(10) == b"65534\n"
        first = launcher(running)
        write(tmp_path, config("id -u; exec cat", options={"user": "daemon"}))
        assert running.netd("reload").returncode == 0
        running.event("reload_applied")
        assert said(running) == "1\n"
        assert launcher(running) != first
        old.sendall(b"on")
        assert old.recv(2) == b"on"
        old.close()
        until(lambda: is_gone(first))
        assert said(running) == "1\n"
        until_idle(running)


@pytest.mark.timeout(180)  # thirty reloads, each with a new launcher
def test_reloads_with_other_users_leave_no_descriptor_open(tmp_path: Path) -> None:
    need_root()
    users = ["daemon", "games"]
    with daemon(config(["/bin/cat"], options={"user": users[1]}), tmp_path) as running:
        assert said(running, b"x") == "x"
        counts = descriptors(running.process.pid), descriptors(running.worker)
        for user in users * 15:
            write(tmp_path, config(["/bin/cat"], options={"user": user}))
            assert running.netd("reload").returncode == 0
            assert said(running, b"x") == "x"
        until_idle(running)
        # Some wait for the garbage collection.
        until(lambda: descriptors(running.process.pid) < counts[0] + 10)
        until(lambda: descriptors(running.worker) < counts[1] + 20)


def test_reload_with_a_user_that_does_not_exist_changes_nothing(tmp_path: Path) -> None:
    need_root()
    with daemon(config(["/bin/cat"]), tmp_path) as running:
        write(tmp_path, config(["/bin/cat"], options={"user": "no-such-user"}))
        done = running.netd("reload")
        assert done.returncode == 78
        assert "no-such-user" in done.stdout + done.stderr
        assert said(running, b"on") == "on"
