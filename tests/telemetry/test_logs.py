"""The log as it is written."""

import json
import os
import pty

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


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.set_up("info", "json", writer)
    DaemonEvents().netd_stopped()
    os.close(writer)
    DaemonEvents().netd_stopped()
    structlog.reset_defaults()
