"""Tests for the events of listeners."""

from collections.abc import Callable
from typing import Any

import pytest

from netd.telemetry.listener_events import ListenerEvents


@pytest.mark.parametrize(
    ("call", "level", "fields"),
    [
        (lambda events: events.listening("tcp://*:7"), "info", {"endpoint": "tcp://*:7"}),
        (
            lambda events: events.address_skipped("tcp://[::1]:7", "Cannot assign requested address"),
            "warning",
            {"endpoint": "tcp://[::1]:7", "error": "Cannot assign requested address"},
        ),
        (
            lambda events: events.options_failed("unix://@echo", "Operation not permitted"),
            "error",
            {"endpoint": "unix://@echo", "error": "Operation not permitted"},
        ),
    ],
)
def test_event_has_its_level_its_fields_and_the_service(
    log: list[dict[str, Any]], call: Callable[[ListenerEvents], None], level: str, fields: dict[str, str]
) -> None:
    call(ListenerEvents("echo"))
    [line] = log
    assert line.pop("event") in ("listening", "address_skipped", "options_failed")
    assert line == {"level": level, "service": "echo", **fields}


def test_warning_about_a_filter_or_a_target_comes_with_advice(log: list[dict[str, Any]]) -> None:
    events = ListenerEvents("rsync")
    events.reply_guard_disabled()
    events.targets_unverified()
    events.filter_refused("tcp://*:873")
    events.filter_limited(12, 500)
    events.filter_failed("tcp://*:873", "Cannot allocate memory")
    assert [(line["event"], line["level"]) for line in log] == [
        ("reply_guard_disabled", "warning"),
        ("targets_unverified", "warning"),
        ("filter_refused", "warning"),
        ("filter_limited", "warning"),
        ("filter_failed", "error"),
    ]
    assert all(line["advice"] for line in log)
    assert (log[3]["number"], log[3]["limit"]) == (12, 500)
