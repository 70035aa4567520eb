"""Throttled logging: few lines for many events, and no event uncounted."""

import gc
import weakref
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Peer
from netd.telemetry import logs
from netd.telemetry.service_events import ServiceEvents
from netd.telemetry.throttle import QUIET, Throttle, ThrottledLog
from tests.telemetry.clock import Clock


def test_event_is_logged_at_once_and_then_once_a_minute(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for _ in range(10):
        events.datagrams_dropped(3, "too_long", "")
    clock.now += 59
    events.datagrams_dropped(1, "too_long", "")
    events.datagrams_dropped(1, "no_room", "")
    clock.now += 2
    events.datagrams_dropped(1, "too_long", "")
    assert events.counters.dropped == {"too_long": 32, "no_room": 1}
    assert [(event["reason"], event["number"]) for event in log] == [("too_long", 3), ("no_room", 1), ("too_long", 29)]
    assert {event["service"] for event in log} == {"echo"}


def test_pending_events_are_logged_once_their_minute_has_passed(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for number in range(10):
        events.datagrams_dropped(2, "rate", "", Peer("udp", "192.0.2.7", number))
        events.connection_refused("rate", "192.0.2.7")
        events.conversation_failed(Peer("tcp", "192.0.2.7", number), ZeroDivisionError("oops"))
    assert len(log) == 3, "the first of each"
    clock.now += 59
    events.log_pending()
    assert len(log) == 3
    clock.now += 1
    events.log_pending()
    found = [(event["event"], event["number"], event.get("peer", event.get("source"))) for event in log[3:]]
    assert found == [
        ("datagrams_dropped", 18, "192.0.2.7:9"),
        ("connection_refused", 9, "192.0.2.7"),
        ("conversation_failed", 9, "192.0.2.7:9"),
    ]
    assert "exc_info" not in log[5]
    clock.now += 1000
    for _ in range(3):
        events.log_pending()
    assert len(log) == 6, "no event since"


def test_source_has_its_own_line_until_there_are_too_many(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for _ in range(3):
        for number in range(1000):
            events.connection_refused("rate", f"192.0.2.{number}")
    assert [event["source"] for event in log] == [f"192.0.2.{number}" for number in range(17)]
    log.clear()
    clock.now += 60
    events.log_pending()
    numbers = {event["source"]: event["number"] for event in log}
    assert numbers.pop("192.0.2.999") == 3 * 984 - 1, "one line for all the others"
    assert numbers == {f"192.0.2.{number}": 2 for number in range(16)}
    log.clear()
    for _ in range(2):  # the minute of that line, without an event
        clock.now += 60
        events.log_pending()
    for number in range(16):
        events.connection_refused("rate", f"198.51.100.{number}")
    assert len(log) == 16, "the earlier sources have expired"


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50))))
def test_throttle_loses_no_number_and_allows_a_line_at_most_once_a_minute(script: list[tuple[float, int]]) -> None:
    clock = Clock()
    throttle = Throttle(clock)
    logged, times = 0, []
    for wait, number in script:
        clock.now += wait
        throttle.expire()
        if counted := throttle.count(throttle.key("x", "192.0.2.7"), number):
            logged += counted
            times.append(clock.now)
    clock.now += 61
    assert logged + throttle.count(throttle.key("x", "192.0.2.7"), 1) == sum(number for _, number in script) + 1
    assert all(b - a >= 60 for a, b in pairwise(times))


def test_final_count_is_due_at_once() -> None:
    throttle = Throttle(Clock())
    key = throttle.key("x", "")
    assert [throttle.count(key), throttle.count(key), throttle.pending(key)] == [1, 0, 1]
    assert throttle.count(key, 2, final=True) == 3
    assert throttle.pending(key) == 0


def test_source_is_logged_by_itself_while_its_key_is_known() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for number in range(16):
        throttle.count(throttle.key("x", str(number)))
    assert throttle.key("x", "new") == ("x", "")
    assert throttle.key("x", "7") == ("x", "7")
    assert throttle.key("y", "new") == ("y", "new"), "each kind has its own sources"
    throttle.count(("x", "7"))
    clock.now += QUIET
    throttle.expire()
    assert throttle.key("x", "new") == ("x", "new")
    assert throttle.pending(("x", "7")) == 1, "an event that is not logged yet keeps its key"


def test_logger_is_bound_again_when_the_level_changes(log: list[dict[str, Any]]) -> None:
    events = ThrottledLog(service="echo")
    logs.set_level("error")
    events._log_throttled("x", "", 1, "warning", "x_happened")
    assert log == []
    logs.set_level("warning")
    events._log_throttled("y", "", 2, "warning", "y_happened", reason="z")
    assert log == [{"level": "warning", "event": "y_happened", "service": "echo", "number": 2, "reason": "z"}]


class Bug(Exception):
    """An exception that can be referenced weakly."""


def test_pending_line_keeps_no_exception_alive(log: list[dict[str, Any]]) -> None:
    events = ThrottledLog(Clock())
    events._log_throttled("x", "", 1, "error", "x_failed")
    error = Bug()
    kept = weakref.ref(error)
    events._log_throttled("x", "", 1, "error", "x_failed", exc_info=error)
    del error
    gc.collect()
    assert kept() is None
    events.log_pending(final=True)
    assert [line["number"] for line in log] == [1, 1]
