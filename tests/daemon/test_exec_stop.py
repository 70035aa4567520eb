"""Programs for connections when a real daemon stops: they have the drain, then they are ended."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.daemon.programs import IGNORE_TERM, config, connect, launcher, listed
from tests.support.daemon import Daemon, daemon
from tests.support.leftovers import is_gone
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def test_stop_waits_for_programs_and_then_ends_those_that_ignore_it(tmp_path: Path) -> None:
    text = config(IGNORE_TERM, daemon="{workers: 2, drain: 500ms}", options={"stop": {"after": "300ms"}})
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    with Daemon("-c", str(file)) as running:
        running.event("netd_started")
        clients = [connect(running) for _ in range(5)]
        for client in clients:
            assert client.recv(10) == b"ready\n"
        until(lambda: sum("pid" in row for row in listed(running)) == 5)
        pids = [row["pid"] for row in listed(running)]
        assert running.stop() == 0
        for client in clients:
            assert client.recv(10) == b""
            client.close()
        assert all(map(is_gone, pids))


def test_stop_ends_at_once_where_no_program_is_left(tmp_path: Path) -> None:
    with (
        daemon(config(["/bin/cat"], daemon="{workers: 1, drain: 60s}"), tmp_path) as running,
        connect(running) as client,
    ):
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        os.kill(running.process.pid, signal.SIGTERM)
        running.event("drain_started")
        client.sendall(b"y")
        assert client.recv(1) == b"y", "it may finish"
        client.close()
        running.event("netd_stopped")


def test_ends_of_programs_that_a_stop_has_caused_are_counted_and_logged(tmp_path: Path) -> None:
    text = config(["/bin/cat"], daemon="{workers: 2, drain: 200ms}")
    with daemon(text, tmp_path) as running, contextlib.ExitStack() as held:
        for _ in range(8):
            client = held.enter_context(connect(running))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert running.stop() == 0
    ends = [line for line in running.lines if line["event"] == "program_ended"]
    assert [line["signal"] for line in ends] == ["SIGTERM"] * 8
    [stopped] = [line for line in running.lines if line["event"] == "service_stopped"]
    assert stopped["own_programs_ended_signal"] == 8


def test_launcher_that_hangs_does_not_keep_netd_from_stopping(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(config(["/bin/cat"], daemon="{workers: 1, drain: 200ms}"))
    with Daemon("-c", str(file)) as running:
        running.event("netd_started")
        hung = launcher(running)
        os.kill(hung, signal.SIGSTOP)
        running.stop()
        assert is_gone(hung)
