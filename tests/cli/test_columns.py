"""The lines of `netd status` about the daemon, and about services that are not as they should be."""

import time

import pytest

from netd.cli.columns import daemon_lines, reasons
from tests.cli.top.answers import answer

SERVING, LEAVING = {"worker": 0, "leaving": False}, {"worker": 1, "leaving": True}


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ([SERVING], "1 worker"),
        ([SERVING, SERVING], "2 workers"),
        ([SERVING, LEAVING], "1 worker, 1 leaving"),
        ([LEAVING, LEAVING], "0 workers, 2 leaving"),
        ([], "0 workers"),
    ],
)
def test_workers_that_drain_are_counted_apart(workers: list[dict[str, object]], words: str) -> None:
    line, _ = daemon_lines(answer(workers=workers))
    assert line == f"netd 0.1.0, pid 1, up 1s, {words}, log level info"


def test_config_line_shows_generation_and_bans() -> None:
    assert daemon_lines(answer())[1:] == ["config /etc/netd/netd.yaml, generation 1"]
    assert daemon_lines(answer(banned_sources=2))[1].endswith(", generation 1, 2 sources banned")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ready": False}, "up 10m0s, not ready, 1 worker, log level info"),
        ({"ready": False, "stopping": True}, "up 10m0s, stopping, 1 worker, log level info"),
        ({"counters": {"workers_lost": 1}}, "up 10m0s, 1 worker, 1 worker lost, the last 3m0s ago, log level info"),
        ({"counters": {"workers_lost": 2}}, "up 10m0s, 1 worker, 2 workers lost, the last 3m0s ago, log level info"),
    ],
)
def test_first_line_shows_readiness_and_lost_workers(state: dict[str, object], words: str) -> None:
    past = {"uptime_seconds": 600.0, "started": 1000.0, "last": {"workers_lost": 1420.0}}
    [line, _] = daemon_lines(answer(**past, **state))
    assert line == f"netd 0.1.0, pid 1, {words}"


def test_workers_that_make_netd_unhealthy_are_named() -> None:
    silent = {"worker": 0, "pid": 7, "leaving": False, "heartbeat_seconds": 11.2, "missed_heartbeats": 2}
    busy = {"worker": 1, "pid": 8, "leaving": False, "heartbeat_seconds": 3.0, "missed_heartbeats": 1}
    for missing, workers, why in (
        (0, [silent, busy], "worker 0 (pid 7) silent for 11s"),
        (1, [busy], "1 worker missing"),
        (
            2,
            [silent, busy | {"missed_heartbeats": 9, "leaving": True}],
            "2 workers missing, worker 0 (pid 7) silent for 11s",
        ),
    ):
        given = answer(healthy=False, workers_missing=missing, workers=workers)
        assert daemon_lines(given)[2:] == [f"NOT HEALTHY: {why}"]


@pytest.mark.parametrize(
    ("problems", "shown"),
    [
        (["a.yaml:6:1: bogus: unknown key"], "a.yaml:6:1: bogus: unknown key"),
        (["a.yaml:6:1: \x1b: unknown key", "b", "c"], "a.yaml:6:1: \\x1b: unknown key and 2 more"),
    ],
)
def test_rejected_reload_has_its_problem_and_time(problems: list[str], shown: str) -> None:
    given = answer(
        last_reload_successful=False,
        last_reload_problems=problems,
        uptime_seconds=600.0,
        last={"reloads_rejected": 420.0},
    )
    assert daemon_lines(given)[2:] == [f"reload rejected 3m0s ago: {shown}"]


def test_netd_before_this_version_reports_fewer_details() -> None:
    given = answer(healthy=False, last_reload_successful=False)
    for name in ("last", "last_reload_problems", "workers_missing"):
        del given[name]
    assert daemon_lines(given)[2:] == [
        "NOT HEALTHY: a worker is missing or silent",
        "reload rejected: the log says why",
    ]


def test_targets_that_are_not_up_are_named_up_to_a_bound() -> None:
    targets = [{"target": f"tcp://192.0.2.{number}:80", "state": "up"} for number in range(1, 7)]
    service = {"targets": targets, "counters": {"connections_refused": {}, "datagrams_dropped": {}}}
    assert reasons(service, answer()) == []
    targets[1]["state"] = "down"
    assert reasons(service, answer()) == ["targets: 5 of 6 up; tcp://192.0.2.2:80 down"]
    for number, one in enumerate(targets):
        one.update(target=f"unix:///{number}\x1b", state="drain")
    named = ", ".join(f"unix:///{number}\\x1b drain" for number in range(3))
    assert reasons(service, answer()) == [f"targets: 0 of 6 up; {named}, 3 more"]


def test_certificate_that_expires_first_is_named_in_its_last_thirty_days() -> None:
    now = time.time()
    later, first = (
        {"file": f"/tls/{name}\x1b", "expires": now + days * 86400} for name, days in (("b", 99), ("a", 31))
    )
    service = {"certificates": [later, first], "counters": {"connections_refused": {}, "datagrams_dropped": {}}}
    assert reasons(service, answer()) == []
    first["expires"] = now + 9.5 * 86400
    [line] = reasons(service, answer())
    assert line.startswith("certificate: /tls/a\\x1b expires on 2")
    assert line.endswith(", in 9 days")
    later["expires"] = 0.0
    assert reasons(service, answer()) == ["certificate: /tls/b\\x1b has expired on 1970-01-01"]
