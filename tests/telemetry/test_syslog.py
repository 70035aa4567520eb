"""The log of a syslogd."""

import json
import os
import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from netd.peer import Peer
from netd.telemetry import logs, syslog
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents

RFC_3164 = r"<(\d+)>((?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d) netd\[(\d+)\]: (.*)"


@pytest.fixture
def syslogd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What a syslogd listens on, in place of that of this host."""
    monkeypatch.setattr(syslog, "connect", partial(syslog.connect, str(tmp_path / "log")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(20)
        yield listening


def message(syslogd: socket.socket) -> tuple[int, str]:
    """The priority and the text of the next message."""
    match = re.fullmatch(RFC_3164, syslogd.recv(65536).decode())
    assert match
    assert int(match[3]) == os.getpid()
    return int(match[1]), match[4]


def test_event_is_a_message_with_facility_and_severity(syslogd: socket.socket) -> None:
    sink = logs.set_up_syslog("info", "auto", "local3")
    ServiceEvents("echo").connection_closed(Peer("tcp", "::1", 5), 1, 2, 0.25, "done")
    DaemonEvents().log_failed("a b")
    priority, text = message(syslogd)
    assert priority == 19 * 8 + 6
    assert text.startswith("level=info event=connection_closed service=echo peer=[::1]:5 bytes_in=1")
    assert message(syslogd) == (19 * 8 + 3, 'level=error event=log_failed error="a b"')
    sink.close()


def test_codes_of_facilities_are_those_of_syslog_3() -> None:
    import syslog as of_python

    for facility in get_args(syslog.Facility):
        code = getattr(of_python, f"LOG_{facility.upper()}")
        render = syslog.renderer(facility, lambda *event: "x")
        assert render(None, "debug", {}).startswith(b"<%d>" % (code | of_python.LOG_DEBUG))


def test_message_may_be_json(syslogd: socket.socket) -> None:
    sink = logs.set_up_syslog("info", "json", "daemon")
    DaemonEvents().netd_stopped()
    priority, text = message(syslogd)
    assert (priority, json.loads(text)["event"]) == (30, "netd_stopped")
    sink.close()


def test_message_is_one_line_of_bounded_length(syslogd: socket.socket) -> None:
    sink = logs.set_up_syslog("info", "auto", "daemon")
    try:
        raise ZeroDivisionError("x\n<0>forged" + "é" * 100_000 + "end")
    except ZeroDivisionError as error:
        DaemonEvents().netd_failed(error)
    data = syslogd.recv(65536)
    assert 8180 < len(data) <= 8192
    assert data.decode().isprintable()
    assert data.endswith(b'end"')
    sink.close()


def test_messages_to_a_syslogd_that_reads_nothing_are_lost_and_counted(syslogd: socket.socket) -> None:
    sink = logs.set_up_syslog("info", "auto", "daemon")
    for _ in range(10_000):
        DaemonEvents().netd_stopped()
    lost = sink.lost
    assert lost > 1000
    for _ in range(10_000 - lost):
        message(syslogd)
    DaemonEvents().log_reopened()
    assert message(syslogd) == (28, f"level=warning event=log_lines_lost number={lost}")
    assert message(syslogd)[1] == "level=info event=log_reopened"
    sink.close()


def test_syslogd_that_starts_later_gets_the_number_of_lost_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(syslog, "connect", partial(syslog.connect, path))
    sink = logs.set_up_syslog("info", "auto", "daemon")
    DaemonEvents().netd_stopped()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslogd:
        syslogd.bind(path)
        syslogd.settimeout(20)
        sink._next_connect = 0.0  # a second later
        DaemonEvents().netd_stopped()
        assert message(syslogd)[1] == "level=warning event=log_lines_lost number=1"
        assert message(syslogd)[1] == "level=info event=netd_stopped"
    sink.close()


def test_text_with_half_of_a_surrogate_pair_is_sent(syslogd: socket.socket) -> None:
    sink = logs.set_up_syslog("info", "auto", "daemon")
    details: dict[str, Any] = {"error": "\ud800"}
    DaemonEvents().log_failed(**details)
    assert message(syslogd)[1] == r'level=error event=log_failed error="\ud800"'
    sink.close()
