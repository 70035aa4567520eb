"""Connections that a program serves: the lines of its standard error."""

import os
from typing import Any

from netd.telemetry.program_events import ProgramEvents
from netd.telemetry.throttle import LONGEST_LINE
from netd.transport.loop import Loop
from netd.transport.stream.program import ErrorLines

Lines = list[dict[str, Any]]


def lines_of(written: bytes, log: Lines) -> list[str]:
    """What is logged of a program that writes this and ends."""
    errors = ErrorLines(Loop(), ProgramEvents("agent"), "192.0.2.7:1")
    assert os.write(errors.writer, written) == len(written)
    errors.close_writer()
    errors.read_rest()
    errors.close()
    return [line["line"] for line in log if line["event"] == "program_error"]


def test_lines_of_standard_error_are_logged_without_their_line_ends(log: Lines) -> None:
    assert lines_of(b"one\ntwo\r\n\r\n\nthree\r\r\nthe end", log) == ["one", "two", "three\\r", "the end"]


def test_long_line_is_cut_and_no_line_is_longer_than_the_bound(log: Lines) -> None:
    found = lines_of(b"a" * 60_000 + b"\nshort\n", log)
    assert found[-1] == "short"
    assert {len(line) for line in found[:-1]} <= set(range(1, LONGEST_LINE + 1))
    assert len(found) <= 60_000 / LONGEST_LINE


def test_octets_that_are_no_text_are_escaped(log: Lines) -> None:
    found = lines_of(bytes(range(256)) * 100, log)
    assert all(line.isprintable() and len(line) <= LONGEST_LINE for line in found)
    assert "\\x1b" in "".join(found)
