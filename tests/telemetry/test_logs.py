"""The log as it is written."""

import json
import os
import pty
import socket
import threading

import structlog

from netd.conversation import Peer
from netd.telemetry import logs
from netd.telemetry.events import DaemonEvents, ServiceEvents


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


def test_a_terminal_gets_text() -> None:
    primary, terminal = pty.openpty()
    logs.set_up("info", "auto", terminal)
    ServiceEvents("echo").listening("tcp://127.0.0.1:7")
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
