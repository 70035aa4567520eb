"""The events of targets: what is logged, and what is counted."""

import pytest
from structlog.testing import capture_logs

from netd.shared.table import Layout, Table
from netd.telemetry.forward_events import COUNTERS, ForwardEvents


@pytest.fixture
def table() -> Table:
    return Table(layout=Layout(COUNTERS))


def counted(table: Table) -> dict[str, int]:
    return dict(table.read().own)


def test_target_that_fails_is_logged_once_and_counted_each_time(table: Table) -> None:
    table.workers = 1
    with capture_logs() as logs:
        events = ForwardEvents("web", table)
        for is_first in (True, False):
            events.connecting()
            events.connect_failed("tcp://192.0.2.1:80", "refused", "ECONNREFUSED", is_first=is_first)
        events.target_recovered("tcp://192.0.2.1:80")
    assert counted(table) == {"forward_connects": 2, "forward_failures.refused": 2}
    target = {"service": "web", "target": "tcp://192.0.2.1:80"}
    assert logs == [
        {"event": "target_failed", "log_level": "warning", **target, "reason": "refused", "error": "ECONNREFUSED"},
        {"event": "target_recovered", "log_level": "info", **target},
    ]


def test_handshakes_with_targets_are_counted_and_those_that_are_resumed(table: Table) -> None:
    table.workers = 1
    events = ForwardEvents("web", table)
    for resumed in (False, True, True):
        events.handshake_done(resumed=resumed)
    assert counted(table) == {"forward_tls_handshakes": 3, "forward_tls_handshakes_resumed": 2}


def test_connections_without_a_target_are_logged_once_a_minute() -> None:
    now = [100.0]
    with capture_logs() as logs:
        events = ForwardEvents("web", clock=lambda: now[0])
        for source in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            events.targets_exhausted(source, "timeout")
        now[0] += 61
        events.log_pending()
    assert [(line["event"], line["number"], line["source"]) for line in logs] == [
        ("targets_exhausted", 1, "192.0.2.1"),
        ("targets_exhausted", 2, "192.0.2.3"),
    ]


def test_targets_that_end_tls_are_logged_once_a_minute_each() -> None:
    now = [100.0]
    with capture_logs() as logs:
        events = ForwardEvents("web", clock=lambda: now[0])
        for target in ("tls://192.0.2.1:443", "tls://192.0.2.1:443", "tls://192.0.2.2:443"):
            events.target_tls_failed(target, "tlsv13 alert certificate required")
        now[0] += 61
        events.log_pending()
    assert [(line["event"], line["number"], line["target"], line["error"]) for line in logs] == [
        ("target_tls_failed", 1, "tls://192.0.2.1:443", "tlsv13 alert certificate required"),
        ("target_tls_failed", 1, "tls://192.0.2.2:443", "tlsv13 alert certificate required"),
        ("target_tls_failed", 1, "tls://192.0.2.1:443", "tlsv13 alert certificate required"),
    ]


def test_names_are_logged() -> None:
    with capture_logs() as logs:
        events = ForwardEvents("web")
        events.name_failed("db", "no answer")
        events.name_resolved("db")
    assert [(line["event"], line["name"], line.get("error")) for line in logs] == [
        ("name_failed", "db", "no answer"),
        ("name_resolved", "db", None),
    ]
