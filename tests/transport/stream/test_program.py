"""Connections that a program serves: the lines of its standard error."""

import os
from typing import Any

from netd.transport.loop import Loop
from netd.transport.stream.program import ErrorLines


def test_lines_of_standard_error_are_logged_without_their_line_ends() -> None:
    logged = []

    class Events:
        def error_line(self, peer: str, pid: int, line: str) -> None:
            logged.append(line)

    events: Any = Events()
    errors = ErrorLines(Loop(), events, "192.0.2.7:1")
    os.write(errors.writer, b"one\ntwo\r\n\r\n\nthree\r\r\nthe end")
    errors.close_writer()
    errors.read_rest()
    errors.close()
    assert logged == ["one", "two", "three\\r", "the end"]
