"""Events: the counter and the line together, and few lines for many events."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Credentials, Peer
from netd.shared.table import DURATIONS
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents
from netd.telemetry.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_happens_at_will_is_logged_on_the_edge_and_once_a_minute(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for _ in range(10):
        events.datagrams_dropped(3, "too_long")
    clock.now += 59
    events.datagrams_dropped(1, "too_long")
    events.datagrams_dropped(1, "no_room")
    clock.now += 2
    events.datagrams_dropped(1, "too_long")
    assert events.counters.dropped == {"too_long": 32, "no_room": 1}
    assert [(event["reason"], event["number"]) for event in log] == [("too_long", 3), ("no_room", 1), ("too_long", 29)]
    assert {event["service"] for event in log} == {"echo"}


def test_what_was_not_said_is_said_once_its_minute_is_over(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for number in range(10):
        events.datagrams_dropped(2, "rate", Peer("udp", "192.0.2.7", number))
        events.connection_refused("rate", "192.0.2.7")
        events.conversation_failed(Peer("tcp", "192.0.2.7", number), ZeroDivisionError("oops"))
    assert len(log) == 3, "the first of each"
    clock.now += 59
    events.summarize()
    assert len(log) == 3
    clock.now += 1
    events.summarize()
    assert [(event["event"], event["number"], event["peer"]) for event in log[3:]] == [
        ("datagrams_dropped", 18, "192.0.2.7:9"),
        ("connection_refused", 9, "192.0.2.7"),
        ("conversation_failed", 9, "192.0.2.7:9"),
    ]
    assert "exc_info" not in log[5]
    clock.now += 1000
    for _ in range(3):
        events.summarize()
    assert len(log) == 6, "nothing has happened since"


def test_each_source_has_its_line_until_there_are_too_many(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    for _ in range(3):
        for number in range(1000):
            events.connection_refused("rate", f"192.0.2.{number}")
    assert [event["peer"] for event in log] == [f"192.0.2.{number}" for number in range(17)]
    log.clear()
    clock.now += 60
    events.summarize()
    told = {event["peer"]: event["number"] for event in log}
    assert told.pop("192.0.2.999") == 3 * 984 - 1, "one line for all the others"
    assert told == {f"192.0.2.{number}": 2 for number in range(16)}
    log.clear()
    for _ in range(2):  # the minute of that line, in which nothing happens
        clock.now += 60
        events.summarize()
    for number in range(16):
        events.connection_refused("rate", f"198.51.100.{number}")
    assert len(log) == 16, "those from before are forgotten, and there is room for others"


def test_who_may_not_control_netd_and_tries_again_and_again_is_one_line(log: list[dict[str, Any]]) -> None:
    events = DaemonEvents()
    for pid in range(100):
        events.control_refused(Credentials(pid, 33, 33))
    events.control_refused(Credentials(5, 34, 34))
    assert [line["by"] for line in log] == ["pid=0,uid=33,gid=33", "pid=5,uid=34,gid=34"]
    assert events.counts["control_refused"] == 101


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50))))
def test_the_edge_loses_no_number_and_speaks_at_most_once_a_minute(script: list[tuple[float, int]]) -> None:
    clock = Clock()
    edge = Throttle(clock)
    spoken, times = 0, []
    for wait, number in script:
        clock.now += wait
        edge.forget()
        if said := edge.count(edge.key("x", "192.0.2.7"), number):
            spoken += said
            times.append(clock.now)
    clock.now += 61
    assert spoken + edge.count(edge.key("x", "192.0.2.7"), 1) == sum(number for _, number in script) + 1
    assert all(b - a >= 60 for a, b in pairwise(times))


def test_counters_add_up(log: list[dict[str, Any]]) -> None:
    events = ServiceEvents("echo")
    peer = Peer("tcp", "192.0.2.7", 5)
    for _ in range(3):
        events.connection_accepted()
    events.connection_closed(peer, 10, 20, 0.5, "done")
    events.connection_closed(peer, 0, 0, 0.5, "reset")
    events.connection_refused("connections")
    events.datagrams_received(2, 7)
    events.datagrams_answered(1, 3)
    events.connection_refused("backlog", number=4)
    events.datagrams_dropped(2, "rate", peer)
    events.loop_detected(peer)
    assert events.counters.summary() == {
        "accepted": 3,
        "closed": {"done": 1, "reset": 1},
        "refused": {"connections": 1, "backlog": 4},
        "loops": 1,
        "checks": 1,
        "duration_us": 1_000_000,
        "durations": {"1": 2},
        "bytes_in": 17,
        "bytes_out": 23,
        "datagrams_in": 2,
        "datagrams_out": 1,
        "dropped": {"rate": 2},
    }
    events.service_stopped()
    assert log[-1]["accepted"] == 3


def test_connections_are_counted_by_how_long_they_took() -> None:
    events = ServiceEvents("echo")
    for seconds in (0.0, 0.001, 0.0011, *DURATIONS, 3601.0, 1e6):
        events.connection_closed(Peer("tcp", "192.0.2.7", 5), 1, 1, seconds, "done")
    assert events.counters.durations == {
        "0.001": 3,
        "0.01": 2,
        "0.1": 1,
        "1": 1,
        "10": 1,
        "60": 1,
        "600": 1,
        "3600": 1,
        "inf": 2,
    }


def closed(events: ServiceEvents, number: int) -> None:
    for _ in range(number):
        events.connection_closed(Peer("tcp", "192.0.2.7", 5), 10, 20, 0.5, "done")
        events.connection_closed(Peer("tcp", "192.0.2.7", 5), 0, 0, 0.5, "done")


def test_which_connections_get_a_line(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    for access, lines in (("all", 100), ("off", 0), ("summary", 0), (7, 14)):
        events = ServiceEvents("echo", clock=clock)
        events.tell_connections(access)  # type: ignore[arg-type]
        closed(events, 100)
        assert sum(line["level"] == "info" for line in log) == lines
        assert sum(line["level"] == "debug" for line in log) == 100, "a check is one at debug, whatever access says"
        assert events.counters.closed == {"done": 200}
        log.clear()


def test_a_summary_is_one_line_a_minute(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    events.tell_connections("off")
    closed(events, 50)
    events.tell_connections("summary")
    told = []
    for _ in range(30):
        closed(events, 2)
        events.summarize()
        clock.now += 5
        told += [line for line in log if line["level"] == "info"]
        log.clear()
    assert [(line["event"], line["number"], line["bytes_in"], line["bytes_out"]) for line in told] == [
        ("connections_closed", 2, 20, 40),
        ("connections_closed", 24, 240, 480),
        ("connections_closed", 24, 240, 480),
    ]
    clock.now += 1000
    events.summarize()
    events.summarize()
    assert len(log) == 1


def test_an_exception_that_cannot_even_be_shown_is_an_event_like_any_other(log: list[dict[str, Any]]) -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError("oops")

        __repr__ = __str__

    events = ServiceEvents("echo")
    for _ in range(3):
        events.conversation_failed(Peer("tcp", "192.0.2.7", 5), Shy())
    assert [event["error"].partition(" ")[0] for event in log] == ["Shy"]
    assert events.counters.failed == 3


def test_at_the_end_everything_is_said(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    events.tell_connections("summary")
    closed(events, 5)
    events.summarize()
    closed(events, 3)
    for _ in range(40):
        events.connection_refused("access", "192.0.2.7")
    events.summarize()
    events.summarize(final=True)
    told = [(line["event"], line["number"]) for line in log if line["level"] != "debug"]
    assert told == [
        ("connections_closed", 5),
        ("connection_refused", 1),
        ("connections_closed", 3),
        ("connection_refused", 39),
    ]
