"""The formats of a log line."""

import json
import os
import re
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Peer
from netd.telemetry import formats, logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents


def read(descriptor: int, end: str = "\n") -> str:
    text = ""
    while end not in text:
        text += os.read(descriptor, 65536).decode()
    return text


TEXT = st.text(st.characters())  # half of a surrogate pair too, as in paths (os.fsdecode)
VALUES = st.dictionaries(
    st.sampled_from(["peer", "name", "number"]),
    st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.lists(TEXT)),
)


CONTROL_CHARACTERS = 'a "quoted" value = with\nlines\x1b[31m and é'


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


def test_logfmt_is_one_line_of_pairs_for_any_values() -> None:
    reader, writer = os.pipe()
    logs.set_up("info", "logfmt", writer)
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
    DaemonEvents().control_failed(CONTROL_CHARACTERS)
    DaemonEvents().reload_rejected("SIGHUP", ["x:1: one", "y:2: \x1b[2J"])
    first, second, third, fourth = read(reader, "2J").splitlines()
    assert third.endswith(' level=error event=reload_rejected by=SIGHUP problem="x:1: one"')
    assert first.split()[1:] == [
        *("level=info", "event=connection_closed", "service=echo", "peer=[::1]:5"),
        *("bytes_in=1", "bytes_out=2", "duration=0.25", "outcome=done"),
    ]
    assert "lines\\u001b[31m" in second
    assert re.match(r"time=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z level=", first)
    assert "\x1b" not in second + fourth
    os.close(reader)
    os.close(writer)


def test_no_value_of_logfmt_or_text_is_json_or_python() -> None:
    for form in ("logfmt", "console"):
        reader, writer = os.pipe()
        logs.set_up("info", form, writer)
        changes = {"a": "added", "b": "changed"}
        DaemonEvents().reload_applied("SIGHUP", 2, changes, ["log.level", "daemon.drain"], [])
        line = read(reader)
        assert "generation=2 changes=a:added,b:changed settings=log.level,daemon.drain" in line.replace("'", "")
        assert not set(line) & set("{}[]") - set("[" if form == "console" else "") - set("]")
        os.close(reader)
        os.close(writer)


@given(VALUES)
def test_logfmt_has_each_value_as_one_word_or_in_quotes(values: dict[str, Any]) -> None:
    line = formats.logfmt(None, "info", {"event": "x_happened", **values})
    assert line.isprintable()
    found = re.findall(r'([a-z]+)=("(?:[^"\\]|\\.)*"|[^" =]+)(?: |$)', line)
    assert "".join(f"{key}={value} " for key, value in found).rstrip() == line
    read_again = {key: json.loads(value) if value.startswith('"') else value for key, value in found}
    shown = {key: formats.plain(value) for key, value in values.items() if value not in (None, [])}
    assert read_again == {"level": "info", "event": "x_happened", **shown}


def test_value_is_plain_text() -> None:
    values: list[object] = ["a b", 1, 0.5, True, None, ["a", 2], ("x",), {"a": 1, "b": [2, 3]}]
    assert [formats.plain(value) for value in values] == ["a b", "1", "0.5", "true", "", "a,2", "x", "a:1,b:2,3"]


def test_value_with_quotes_and_backslashes_is_escaped() -> None:
    assert formats.pairs({"a": 'x "y"\\', "b": "", "c": None, "d": "x=1"}) == r'a="x \"y\"\\" b="" d="x=1"'


def test_line_of_a_connection_is_short_as_text_and_nothing_stands_for_an_empty_value() -> None:
    for form, closed, reloaded in (
        ("console", "[info] connection_closed service=echo peer=", "[info] reload_applied    by=SIGHUP generation=2\n"),
        ("logfmt", "event=connection_closed service=echo peer=", "event=reload_applied by=SIGHUP generation=2\n"),
    ):
        reader, writer = os.pipe()
        logs.set_up("info", form, writer)  # type: ignore[arg-type]
        ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
        assert closed in read(reader)
        DaemonEvents().reload_applied("SIGHUP", 2, {}, [], [])
        assert read(reader).endswith(reloaded)
        os.close(reader)
        os.close(writer)


def test_stack_is_escaped_once() -> None:
    stack = "Fatal Python error: Aborted\n\nCurrent thread \x1b[2J"
    for form, shown in (
        ("console", "\n    Fatal Python error: Aborted\n    \n    Current thread \\x1b[2J\n"),
        ("logfmt", ' stack="Fatal Python error: Aborted\\n\\nCurrent thread \\u001b[2J"\n'),
    ):
        reader, writer = os.pipe()
        logs.set_up("info", form, writer)  # type: ignore[arg-type]
        DaemonEvents().worker_lost(0, 17, "SIGABRT", 0, 0.1, stack, {})
        assert shown in read(reader, shown[-9:])
        os.close(reader)
        os.close(writer)
