"""The events of the daemon: the counter and the line together."""

import time
from typing import Any, get_args

import pytest

from netd.accounts import user_name
from netd.peer import Credentials
from netd.telemetry.daemon_events import DaemonEvents, Event


def test_counts_start_at_zero_for_every_event() -> None:
    assert DaemonEvents().counts == dict.fromkeys(get_args(Event), 0)


def test_peer_that_is_refused_control_again_and_again_is_one_line(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    for pid in range(100):
        events.control_refused(Credentials(pid, 33, 33))
    events.control_refused(Credentials(5, 34, 34))
    assert [(line["by"], line["pid"]) for line in log] == [(user_name(33), 0), (user_name(34), 5)]
    assert events.counts["control_refused"] == 101


def test_reload_is_counted_and_the_last_one_is_remembered(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    successful = [events.last_reload_successful]
    events.reload_rejected("SIGHUP", ["x:1: one"])
    successful.append(events.last_reload_successful)
    problems = [events.reload_problems]
    events.reload_applied("SIGHUP", 2, {"echo": "changed"}, [], [])
    successful.append(events.last_reload_successful)
    assert successful == [True, False, True]
    assert [*problems, events.reload_problems] == [("x:1: one",), ()]
    assert events.last["reload_rejected"] <= events.last["reload_applied"] <= time.monotonic()
    assert (events.counts["reload_rejected"], events.counts["reload_applied"]) == (1, 1)
    assert [(line["event"], line["level"]) for line in log] == [
        ("reload_rejected", "error"),
        ("reload_applied", "info"),
    ]


@pytest.mark.parametrize(
    ("settings", "restart_needed", "details"),
    [
        ([], [], {}),
        (["log.level"], [], {"settings": ["log.level"]}),
        ([], ["daemon.user"], {"restart_needed": ["daemon.user"]}),
        (["log.level"], ["daemon.user"], {"settings": ["log.level"], "restart_needed": ["daemon.user"]}),
    ],
)
def test_reload_applied_logs_only_differences(
    log: list[dict[str, Any]], settings: list[str], restart_needed: list[str], details: dict[str, object]
) -> None:
    DaemonEvents().reload_applied("SIGHUP", 2, {}, settings, restart_needed)
    head = {"level": "info", "event": "reload_applied", "by": "SIGHUP", "generation": 2, "changes": {}}
    assert log == [head | details]


@pytest.mark.parametrize(
    ("delay", "stack", "culprit", "details"),
    [
        (None, "", {}, {}),
        (0.0, "", {}, {"delay": 0.0}),
        (1.5, "File x", {"at": "x:1 in y"}, {"delay": 1.5, "at": "x:1 in y", "stack": "File x"}),
    ],
)
def test_lost_worker_is_counted_and_logged_with_the_known_details(
    log: list[dict[str, Any]],
    delay: float | None,
    stack: str,
    culprit: dict[str, str],
    details: dict[str, object],
) -> None:
    events = DaemonEvents()
    events.worker_lost(1, 77, "SIGKILL", 3, delay, stack, culprit)
    assert events.counts["worker_lost"] == 1
    head = {"level": "error", "event": "worker_lost", "worker": 1, "pid": 77, "reason": "SIGKILL", "connections": 3}
    assert log == [head | details]


def test_rejected_message_is_one_line_a_minute_for_each_worker(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    for _ in range(50):
        events.message_rejected(0, 7, "x")
        events.message_rejected(1, 8, "x")
        events.request_rejected(1, "x")
    assert [(line["event"], line["worker"]) for line in log] == [
        ("message_rejected", 0),
        ("message_rejected", 1),
        ("request_rejected", 1),
    ]


def test_ban_is_counted_and_its_lifting_is_not(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    events.source_banned("192.0.2.7", 60.0, "echo: rate")
    events.source_unbanned("192.0.2.7", "uid=0")
    assert events.counts["source_banned"] == 1
    assert [(line["event"], line["source"], line["by"]) for line in log] == [
        ("source_banned", "192.0.2.7", "echo: rate"),
        ("source_unbanned", "192.0.2.7", "uid=0"),
    ]


def test_each_problem_is_a_line_and_there_are_few_of_them(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    events.reload_rejected("SIGHUP", ["x:1: one", "y:2: two"])
    assert [(line["by"], line["problem"]) for line in log] == [("SIGHUP", "x:1: one"), ("SIGHUP", "y:2: two")]
    assert events.counts["reload_rejected"] == 1
    log.clear()
    events.start_failed([f"x:{number}: one" for number in range(5000)])
    assert [line["event"] for line in log] == ["start_failed"] * 21
    assert [line["problem"] for line in log[-2:]] == ["x:19: one", "and 4980 more, which netd check lists"]
