"""The set-up of the log: its formats and destinations."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from netd.telemetry import journal, logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.listener_events import ListenerEvents
from tests.telemetry.journald import fields


def read(descriptor: int, end: str = "\n") -> str:
    text = ""
    while end not in text:
        text += os.read(descriptor, 65536).decode()
    return text


def test_terminal_gets_text() -> None:
    primary, terminal = pty.openpty()
    logs.set_up("info", "auto", terminal)
    ListenerEvents("echo").listening("tcp://127.0.0.1:7")
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as error:
        DaemonEvents().netd_failed(error)
    text = read(primary, "ZeroDivisionError: oops")
    assert "listening" in text
    assert "tcp://127.0.0.1:7" in text
    assert not text.startswith("{")
    os.close(primary)
    os.close(terminal)


def test_journal_gets_a_datagram_for_each_event_and_the_number_of_lost_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(20)
        monkeypatch.setattr(journal, "connect", partial(journal.connect, str(tmp_path / "socket")))
        sink = logs.set_up("info", "journal", 2)
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError as error:
            DaemonEvents().netd_failed(error)
        found = fields(journald.recv(65536))
        assert found["MESSAGE"].startswith("netd_failed\nTraceback")
        assert found["NETD_EXCEPTION"].endswith("ZeroDivisionError: oops")
        assert found["PRIORITY"] == "2"
        for _ in range(10_000):
            DaemonEvents().netd_stopped()
        assert sink._lost > 1000
        seen, lost = 0, sink._lost
        journald.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while journald.recv(65536):
                seen += 1
        assert seen + lost == 10_000
        DaemonEvents().log_reopened()
        found = fields(journald.recv(65536))
        assert (found["NETD_EVENT"], found["NETD_NUMBER"]) == ("log_lines_lost", str(lost))
        assert fields(journald.recv(65536))["NETD_EVENT"] == "log_reopened"
        sink.close()


def test_auto_selects_the_journal_if_systemd_has_connected_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    status = os.fstat(writer)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        monkeypatch.setattr(journal, "connect", partial(journal.connect, str(tmp_path / "socket")))
        for stream, form in ((f"{status.st_dev}:{status.st_ino}", "journal"), (f"{status.st_dev}:1", "json")):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            sink = logs.set_up("info", "auto", writer)
            DaemonEvents().netd_stopped()
            if form == "journal":
                assert fields(journald.recv(65536))["NETD_EVENT"] == "netd_stopped"
            else:
                assert json.loads(read(reader))["event"] == "netd_stopped"
            sink.close()
    # Without a journal netd still starts, unless the config sets the format.
    os.unlink(tmp_path / "socket")
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    logs.set_up("info", "auto", writer)
    DaemonEvents().netd_stopped()
    assert json.loads(read(reader))["event"] == "netd_stopped"
    with pytest.raises(FileNotFoundError):
        logs.set_up("info", "journal", writer)
    os.close(reader)
    os.close(writer)


def test_daemon_imports_neither_rich_nor_asyncio() -> None:
    code = "import sys, netd.daemon.start; print({'rich', 'asyncio'} & set(sys.modules))"
    code += "; import rich, asyncio; print(rich.__file__, asyncio.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, *paths = done.stdout.split()
    assert loaded == "set()"
    assert len([path for path in paths if path.endswith("__init__.py")]) == 2
