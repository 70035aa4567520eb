"""The log: its formats, and a sink that never blocks."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Peer
from netd.telemetry import journal, logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ListenerEvents, ServiceEvents
from tests.telemetry.journald import fields


def read(descriptor: int, end: str = "\n") -> str:
    text = ""
    while end not in text:
        text += os.read(descriptor, 65536).decode()
    return text


def test_json_is_an_object_a_line_with_time_level_and_event_first() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "auto", writer)
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 0, 0, 0.25, "done")  # debug
    try:
        raise ZeroDivisionError("line 1\nline 2")
    except ZeroDivisionError as error:
        ServiceEvents("echo").conversation_failed(Peer("tcp", "::1", 5), error)
    first, second = read(reader).splitlines()
    assert list(json.loads(first))[:4] == ["timestamp", "level", "event", "service"]
    assert json.loads(first)["peer"] == "[::1]:5"
    assert json.loads(first)["timestamp"].endswith("Z")
    assert "ZeroDivisionError: line 1\nline 2" in json.loads(second)["exception"]
    os.close(reader)
    os.close(writer)


TEXT = st.text(st.characters())  # half of a surrogate pair too, as in paths (os.fsdecode)
VALUES = st.dictionaries(
    st.sampled_from(["peer", "name", "number"]),
    st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.lists(TEXT)),
)


@given(VALUES)
def test_json_renders_all_values_in_printable_ascii(values: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "json", writer)
    structlog.get_logger().info("x_happened", **values, thing=...)
    line = read(reader)
    assert line.isascii()
    assert line.removesuffix("\n").isprintable()
    head = {"level": "info", "event": "x_happened", "thing": "Ellipsis"}
    assert json.loads(line) == {"timestamp": json.loads(line)["timestamp"], **head, **values}
    os.close(reader)
    os.close(writer)


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


def test_control_characters_of_a_path_are_escaped() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "console", writer)
    ServiceEvents("echo").connection_closed(Peer("unixgram", "/\x1b[31m\nforged"), 1, 2, 0.25, "done")
    assert read(reader).count("\n") == 1
    os.close(reader)
    os.close(writer)


def test_exception_cannot_forge_a_line_or_control_a_terminal_and_is_cut() -> None:
    for form in ("console", "json"):
        reader, writer = os.pipe()
        logs.set_up("info", form, writer)
        try:
            raise ValueError("x\n12:00:00 [info     ] netd_stopped\x1b[2J" + "y" * 100_000)
        except ValueError as error:
            ServiceEvents("echo").conversation_failed(Peer("tcp", "::1", 5), error)
        DaemonEvents().netd_stopped()
        text = read(reader, "netd_stopped\n" if form == "console" else '"netd_stopped"}\n')
        assert "\x1b" not in text
        assert len(text) < 12_000
        assert "characters left out" in text
        assert not [line for line in text.splitlines()[:-1] if line.startswith("12:00:00")]
        os.close(reader)
        os.close(writer)


def test_full_pipe_blocks_no_writer_and_lost_lines_are_reported() -> None:
    for reader, writer in (os.pipe(), tuple(end.detach() for end in socket.socketpair())):
        logs.set_up("info", "json", writer)
        for _ in range(10_000):
            DaemonEvents().netd_stopped()
        assert os.get_blocking(writer), "other programs may share the descriptor"
        seen = 0
        while b"netd_starting" not in (piece := os.read(reader, 1000)):
            seen += piece.count(b"\n")
            if len(piece) < 1000:
                DaemonEvents().netd_starting("1", "c", 1)
        piece += os.read(reader, 65536) if b"log_lines_lost" not in piece else b""
        lines = [json.loads(line) for line in piece.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        [lost] = [line["number"] for line in lines if line["event"] == "log_lines_lost"] or [0]
        assert lost > 1000
        structlog.get_config()["logger_factory"]().close()
        os.close(reader)
        os.close(writer)


def test_sink_keeps_no_more_than_a_line_for_a_slow_reader() -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", "json", writer)
    for number in range(3000):
        sink.msg("x" * 8000)
        if number > 10:
            os.read(reader, 4096)
        assert len(sink._rest) <= 8001
    os.close(reader)
    os.close(writer)
    sink.close()


def test_finish_reports_lost_lines_to_a_late_reader() -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", "json", writer)
    for _ in range(3000):
        DaemonEvents().netd_stopped()
    os.close(writer)
    seen: list[bytes] = []

    def read_all() -> None:
        while piece := os.read(reader, 65536):
            seen.append(piece)

    late = threading.Timer(0.2, read_all)
    late.start()
    sink.finish(10)
    sink.close()
    late.join()
    lines = [json.loads(line) for line in b"".join(seen).splitlines()]
    assert lines[-1]["event"] == "log_lines_lost"
    assert lines[-1]["number"] + len(lines) - 1 == 3000
    os.close(reader)


def test_finish_does_not_wait_for_a_reader_that_has_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writer, full):
        sink = logs.Sink(descriptor)
        sink.msg("lost")
        assert sink._lost == 1
        sink.finish(600)  # longer than the time-out of a test
        sink.close()
        os.close(descriptor)


def test_log_that_cannot_be_written_raises_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.set_up("info", "json", writer)
    DaemonEvents().netd_stopped()
    os.close(writer)
    DaemonEvents().netd_stopped()
    structlog.reset_defaults()


CONTROL_CHARACTERS = 'a "quoted" value = with\nlines\x1b[31m and é'


def test_logfmt_is_one_line_of_pairs_for_any_values() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "logfmt", writer)
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
    DaemonEvents().control_failed(CONTROL_CHARACTERS)
    DaemonEvents().reload_rejected("SIGHUP", ["x:1: one", "y:2: \x1b[2J"])
    first, second, third = read(reader, "2J").splitlines()
    assert first.split()[1:] == [
        *("level=info", "event=connection_closed", "service=echo", "peer=[::1]:5"),
        *("bytes_in=1", "bytes_out=2", "duration=0.25", "outcome=done"),
    ]
    assert "lines\\x1b[31m" in second.replace("\\\\", "\\")
    assert first.startswith("timestamp=20")
    assert "\x1b" not in second + third
    os.close(reader)
    os.close(writer)


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


def test_rich_is_not_imported() -> None:
    code = "import sys, netd.telemetry.logs; print('rich' in sys.modules); import rich; print(rich.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "rich"]
