"""The events of a service: the counter and the line together."""

import os
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Credentials, Peer, Proxied, Tls, Transport
from netd.reasons import Outcome
from netd.shared.table import DURATIONS
from netd.telemetry import logs
from netd.telemetry.service_events import ServiceEvents
from tests.telemetry.both_renderings import assert_same_fields
from tests.telemetry.clock import Clock


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
    events.datagrams_dropped(2, "rate", "udp://*:7", peer)
    events.loop_detected(peer)
    assert events.counters.summary() == {
        "accepted": 3,
        "closed": {"done": 1, "reset": 1},
        "refused": {"connections": 1, "backlog": 4},
        "loops": 1,
        "checks": 1,
        "requests": 2,
        "duration_us": 1_000_000,
        "durations": {"1": 2},
        "bytes_in": 17,
        "bytes_out": 23,
        "datagrams_in": 2,
        "datagrams_out": 1,
        "dropped": {"rate": 2},
    }
    events.service_stopped()
    assert log[-1] == {
        "level": "info",
        "event": "service_stopped",
        "service": "echo",
        "accepted": 3,
        "closed_done": 1,
        "closed_reset": 1,
        "refused_connections": 1,
        "refused_backlog": 4,
        "loops": 1,
        "checks": 1,
        "requests": 2,
        "bytes_in": 17,
        "bytes_out": 23,
        "datagrams_in": 2,
        "datagrams_out": 1,
        "dropped_rate": 2,
    }


def test_peer_is_an_address_with_its_port_and_source_is_one_without(log: list[dict[str, Any]]) -> None:
    events = ServiceEvents("echo")
    peer = Peer("udp", "2001:db8::1", 5)
    local = Credentials(17, 33, 44)
    events.connection_refused("access", "2001:db8::1")
    events.connection_refused("access", local)
    events.datagrams_dropped(1, "rate", "udp://*:7", peer)
    events.loop_detected(peer)
    events.connection_closed(peer, 1, 1, 0.5, "done")
    events.conversation_failed(peer, ZeroDivisionError())
    assert [(line.get("peer"), line.get("source")) for line in log] == [
        (None, "2001:db8::1"),
        ("pid=17,uid=33,gid=44", "uid=33"),
        ("[2001:db8::1]:5", "2001:db8::1"),
        ("[2001:db8::1]:5", "2001:db8::1"),
        ("[2001:db8::1]:5", None),
        ("[2001:db8::1]:5", None),
    ]


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


def test_connection_log_selects_the_lines(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    for mode, lines in (("all", 100), ("debug", 0), ("off", 0), ("summary", 0), (7, 14)):
        events = ServiceEvents("echo", clock=clock)
        events.set_connection_log(mode)  # type: ignore[arg-type]
        closed(events, 100)
        assert sum(line["level"] == "info" for line in log) == lines
        checks = [line for line in log if line["level"] == "debug" and not line["bytes_in"]]
        assert len(checks) == 100, "a check is a debug line in every mode"
        assert sum(line["level"] == "debug" for line in log) == (200 if mode == "debug" else 100)
        assert events.counters.closed == {"done": 200}
        log.clear()


def test_summary_is_one_line_a_minute(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    events.set_connection_log("off")
    closed(events, 50)
    events.set_connection_log("summary")
    lines = []
    for _ in range(30):
        closed(events, 2)
        events.log_pending()
        clock.now += 5
        lines += [line for line in log if line["level"] == "info"]
        log.clear()
    assert [(line["event"], line["number"], line["bytes_in"], line["bytes_out"]) for line in lines] == [
        ("connections_closed", 2, 20, 40),
        ("connections_closed", 24, 240, 480),
        ("connections_closed", 24, 240, 480),
    ]
    clock.now += 1000
    events.log_pending()
    events.log_pending()
    assert len(log) == 1


def test_exception_without_a_text_is_logged_and_counted(log: list[dict[str, Any]]) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError("oops")

        __repr__ = __str__

    events = ServiceEvents("echo")
    for _ in range(3):
        events.conversation_failed(Peer("tcp", "192.0.2.7", 5), Unprintable())
    assert [event["error"].partition(" ")[0] for event in log] == ["Unprintable"]
    assert events.counters.failed == 3


def test_pending_events_and_sums_are_logged_at_the_end(log: list[dict[str, Any]]) -> None:
    clock = Clock()
    events = ServiceEvents("echo", clock=clock)
    events.set_connection_log("summary")
    closed(events, 5)
    events.log_pending()
    closed(events, 3)
    for _ in range(40):
        events.connection_refused("access", "192.0.2.7")
    events.log_pending()
    events.log_pending(final=True)
    lines = [(line["event"], line["number"]) for line in log if line["level"] != "debug"]
    assert lines == [
        ("connections_closed", 5),
        ("connection_refused", 1),
        ("connections_closed", 3),
        ("connection_refused", 39),
    ]


def test_traffic_that_was_counted_while_a_connection_was_open_is_not_counted_again_at_its_end() -> None:
    events = ServiceEvents("test")
    peer = Peer("tcp", "192.0.2.7", 5)
    events.traffic_moved(2, 10, 20)
    events.traffic_moved(1, 5, 0)
    counts = events.counters
    assert (counts.requests, counts.bytes_in, counts.bytes_out) == (3, 15, 20)
    events.connection_closed(peer, 16, 21, 0.5, "done", 4, (3, 15, 20))
    counts = events.counters
    assert (counts.requests, counts.bytes_in, counts.bytes_out, counts.checks) == (4, 16, 21, 0)
    events.connection_closed(peer, 0, 9, 0.5, "done")
    assert events.counters.requests == 5, "the service spoke, and the client did not"


ENDS: list[tuple[Transport, str]] = [
    ("tcp", "192.0.2.7"),
    ("tcp", "2001:db8::1"),
    ("tcp", 'fe80::1%e"0'),
    ("unix", 'a "path"'),
]
SECURED = [
    Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", server_name="www.example.org"),
    Tls("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", alpn='a"b'),
    Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "alex", 'CN="alex', ("dns:\x7f",), "ab12"),
]
PEERS = st.builds(
    lambda end, port, proxied, tls: Peer(end[0], end[1], port, proxied=proxied, tls=tls),
    st.sampled_from(ENDS),
    st.integers(0, 65535),
    st.sampled_from([None, Proxied("192.0.2.1:5")]),
    st.sampled_from([None, *SECURED]),
)
OCTETS = st.integers(0, 2**50)
TARGETS = st.sampled_from(["", "tcp://a:1", 'unix:///a "\\b"\x7fü'])


@given(PEERS, OCTETS, OCTETS, st.floats(0, 1e6), st.sampled_from(get_args(Outcome)), TARGETS, st.booleans())
def test_line_of_a_closed_connection_has_the_same_fields_in_json_as_elsewhere(
    peer: Peer, bytes_in: int, bytes_out: int, duration: float, outcome: Outcome, target: str, truncated: bool
) -> None:
    truncated = truncated and peer.tls is not None
    assert_same_fields(
        lambda: ServiceEvents("echo").connection_closed(
            peer, bytes_in, bytes_out + 1, duration, outcome, target=target, truncated=truncated
        )
    )


@pytest.mark.parametrize("form", ["json", "logfmt"])
@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.7", 5), "192.0.2.7:5"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7:5"),
        (("2001:db8::1", 5, 0, 0), "[2001:db8::1]:5"),
        (("fe80::1%e0", 5, 0, 2), "[fe80::1%e0]:5"),
    ],
)
def test_peer_of_a_closed_connection_may_be_the_address_that_accept_returned(
    form: logs.Format, address: tuple[Any, ...], peer: str
) -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", form, writer)
    events = ServiceEvents("echo")
    events.connection_closed(address, 1, 2, 0.5, "done")
    sink.close()
    assert peer in os.read(reader, 1000).decode().replace('"', " ").replace("=", " ").split()
    assert events.counters.closed == {"done": 1}
    os.close(reader)
    os.close(writer)
