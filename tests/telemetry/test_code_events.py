"""The lines that code prints and logs, as events."""

import logging
import threading
from typing import Any

import pytest

from netd.telemetry import logs
from netd.telemetry.code_events import CodeEvents
from netd.telemetry.throttle import LINES_BURST, LONGEST_LINE
from tests.support.forks import in_child
from tests.telemetry.clock import Clock

Lines = list[dict[str, Any]]


def test_printed_lines_are_cut_and_escaped(log: Lines) -> None:
    CodeEvents("greet").lines_printed("stdout", "192.0.2.7:1", ["one", "\x1b" * LONGEST_LINE])
    first, second = log
    assert first == {
        "event": "line_printed",
        "level": "info",
        "service": "greet",
        "peer": "192.0.2.7:1",
        "stream": "stdout",
        "line": "one",
    }
    assert second["line"] == ("\\x1b" * LONGEST_LINE)[:LONGEST_LINE]


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (logging.CRITICAL, "critical"),
        (logging.ERROR, "error"),
        (logging.ERROR - 1, "warning"),
        (logging.INFO, "info"),
        (logging.DEBUG, "debug"),
        (1, "debug"),
    ],
)
def test_level_of_logging_is_that_of_the_event(log: Lines, level: int, name: str) -> None:
    logs.set_level("debug")
    CodeEvents("greet").line_logged(level, "", "my.app", "a\nb", None)
    [line] = log
    assert (line["level"], line["event"], line["logger"], line["line"]) == (name, "line_logged", "my.app", "a\\nb")
    assert "peer" not in line
    assert "exc_info" not in line


def test_exception_is_logged_with_its_traceback(log: Lines) -> None:
    error = LookupError("x")
    CodeEvents().line_logged(logging.ERROR, "", "root", "failed", error)
    assert log[0]["exc_info"] is error
    assert "service" not in log[0]


def test_lines_that_print_and_log_make_together_are_limited(log: Lines) -> None:
    clock = Clock()
    events = CodeEvents("greet", clock)
    events.lines_printed("stderr", "", ["x"] * (int(LINES_BURST) + 20))
    for _ in range(30):
        events.line_logged(logging.ERROR, "", "root", "y", None)
    assert [line["event"] for line in log] == ["lines_skipped"] + ["line_printed"] * int(LINES_BURST)
    clock.now += 60
    events.log_pending()
    assert [line["number"] for line in log if line["event"] == "lines_skipped"] == [20, 30]
    events.line_logged(logging.ERROR, "", "root", "again", None)
    assert log[-1]["line"] == "again"


def test_line_below_the_level_of_netd_takes_no_place(log: Lines) -> None:
    logs.set_level("error")
    events = CodeEvents("greet", Clock())
    events.lines_printed("stdout", "", ["x"] * 200)
    for _ in range(int(LINES_BURST)):
        events.line_logged(logging.WARNING, "", "root", "x", None)
        events.line_logged(logging.ERROR, "", "root", "y", None)
    assert [line["line"] for line in log] == ["y"] * int(LINES_BURST)


def test_forked_process_waits_for_no_thread_that_was_printing(log: Lines) -> None:
    printing, go_on = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread() is thread:
            printing.set()
            go_on.wait(60)
        return 0.0

    thread = threading.Thread(target=lambda: events.lines_printed("stdout", "", ["of the parent"]))
    events = CodeEvents("greet", clock)
    thread.start()
    assert printing.wait(30)
    in_child(lambda: events.lines_printed("stdout", "", ["of the child"]))
    go_on.set()
    thread.join(30)
    assert [line["line"] for line in log] == ["of the parent"]
