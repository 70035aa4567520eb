"""The log as it is written."""

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


def read(descriptor: int, end: str = "\n") -> str:
    text = ""
    while end not in text:
        text += os.read(descriptor, 65536).decode()
    return text


def test_json_is_an_object_a_line_with_the_head_first() -> None:
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


TEXT = st.text(st.characters())  # half of a surrogate pair too, as paths have it
VALUES = st.dictionaries(
    st.sampled_from(["peer", "name", "number"]),
    st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.lists(TEXT)),
)


@given(VALUES)
def test_json_says_whatever_it_is_told_in_printable_ascii(values: dict[str, Any]) -> None:
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


def test_a_terminal_gets_text() -> None:
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


def test_a_path_with_control_characters_reaches_no_terminal() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "console", writer)
    ServiceEvents("echo").connection_closed(Peer("unixgram", "/\x1b[31m\nforged"), 1, 2, 0.25, "done")
    assert read(reader).count("\n") == 1
    os.close(reader)
    os.close(writer)


def test_an_exception_cannot_forge_a_line_or_steer_a_terminal_or_be_endless() -> None:
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


def test_a_pipe_nobody_reads_holds_up_nobody_and_what_was_lost_is_told() -> None:
    for reader, writer in (os.pipe(), tuple(end.detach() for end in socket.socketpair())):
        logs.set_up("info", "json", writer)
        for _ in range(10_000):
            DaemonEvents().netd_stopped()
        assert os.get_blocking(writer), "the descriptor is not ours alone"
        seen = 0
        while b"netd_started" not in (piece := os.read(reader, 1000)):
            seen += piece.count(b"\n")
            if len(piece) < 1000:
                DaemonEvents().netd_started("1", "c", 1)
        piece += os.read(reader, 65536) if b"log_lines_lost" not in piece else b""
        lines = [json.loads(line) for line in piece.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        [lost] = [line["number"] for line in lines if line["event"] == "log_lines_lost"] or [0]
        assert lost > 1000
        structlog.get_config()["logger_factory"]().close()
        os.close(reader)
        os.close(writer)


def test_a_reader_that_is_slow_costs_no_more_than_a_line() -> None:
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


def test_at_the_end_a_late_reader_hears_how_much_it_missed() -> None:
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


def test_at_the_end_nobody_waits_for_a_reader_that_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writer, full):
        sink = logs.Sink(descriptor)
        sink.msg("lost")
        assert sink._lost == 1
        sink.finish(600)  # the suite's time-out is the judge
        sink.close()
        os.close(descriptor)


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.set_up("info", "json", writer)
    DaemonEvents().netd_stopped()
    os.close(writer)
    DaemonEvents().netd_stopped()
    structlog.reset_defaults()


NASTY = 'a "quoted" value = with\nlines\x1b[31m and é'


def test_logfmt_is_one_line_of_pairs_whatever_is_in_them() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "logfmt", writer)
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
    DaemonEvents().control_failed(NASTY)
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


def fields(entry: bytes) -> dict[str, str]:
    """An entry read as journald reads it."""
    found: dict[str, str] = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        assert key.decode() not in found, "a field twice"
        found[key.decode()], entry = value.decode(), rest
    return found


@given(st.dictionaries(st.sampled_from(["error", "peer", "name"]), st.one_of(st.text(), st.integers(), st.none())))
def test_no_value_can_forge_a_field_of_the_journal(values: dict[str, Any]) -> None:
    event = {"event": "x_happened", "level": "warning", **values}
    found = fields(journal.render(None, "warning", dict(event)))
    assert found.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "NETD_EVENT"} | {
        f"NETD_{key.upper()}" for key in values
    }
    assert (found["PRIORITY"], found["NETD_EVENT"]) == ("4", "x_happened")
    assert found["MESSAGE"].isprintable()
    for key, value in values.items():
        if isinstance(value, str):
            assert found[f"NETD_{key.upper()}"] == value.encode("utf-8", "backslashreplace").decode()


def test_the_journal_gets_a_datagram_an_event_and_hears_of_lost_ones(
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
        told = fields(journald.recv(65536))
        assert told["MESSAGE"].startswith("netd_failed\nTraceback")
        assert told["NETD_EXCEPTION"].endswith("ZeroDivisionError: oops")
        assert told["PRIORITY"] == "2"
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
        told = fields(journald.recv(65536))
        assert (told["NETD_EVENT"], told["NETD_NUMBER"]) == ("log_lines_lost", str(lost))
        assert fields(journald.recv(65536))["NETD_EVENT"] == "log_reopened"
        sink.close()


def test_auto_finds_the_journal_where_systemd_has_connected_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    # One that is gone is no reason not to start, unless it was asked for.
    os.unlink(tmp_path / "socket")
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    logs.set_up("info", "auto", writer)
    DaemonEvents().netd_stopped()
    assert json.loads(read(reader))["event"] == "netd_stopped"
    with pytest.raises(FileNotFoundError):
        logs.set_up("info", "journal", writer)
    os.close(reader)
    os.close(writer)


def test_no_memory_goes_to_what_structlog_could_colour_with() -> None:
    code = "import sys, netd.telemetry.logs; print('rich' in sys.modules); import rich; print(rich.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "rich"]
