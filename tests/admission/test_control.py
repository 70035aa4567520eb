"""Admission to a service: each check, in its order, on a fake clock."""

from typing import Any

import pytest

from netd.addresses import parse_address
from netd.admission.addresses import source_of
from netd.admission.bans import BanRules
from netd.admission.control import AdmissionControl, Ticket, Verdict
from netd.admission.daemon import DaemonAdmission, DaemonBounds
from netd.peer import Tls
from netd.reasons import Refusal
from netd.shared.table import Table
from tests.admission.controls import LOCAL, A, B, admission, admit, names


def admit_unix(
    admission: AdmissionControl, user: int, groups: list[int], now: float, busy: Refusal | None = None
) -> Refusal | None:
    admitted = admission.admit_unix(user, groups, now, busy)
    return admitted if isinstance(admitted, str) else None


def ticket(admission: AdmissionControl, address: bytes | None, now: float = 0.0) -> Ticket:
    """The ticket of an admitted connection; without an address, of a UNIX peer."""
    admitted = admission.admit_unix(0, [], now) if address is None else admission.admit(address, now)
    assert isinstance(admitted, bytes)
    return admitted


def test_places_of_a_service_are_taken_and_released() -> None:
    echo = admission('{"limits": {"connections": 2}}')
    first = ticket(echo, A)
    assert [admit(echo, address, 0.0) for address in (B, A)] == [None, "connections"]
    assert names(echo, A) == ["limits.connections"]
    echo.release(first)
    assert admit(echo, A, 0.0) is None


def test_places_of_the_daemon_are_shared_by_its_services() -> None:
    shared = DaemonAdmission(connections=3)
    echo, time = admission(shared=shared), admission(shared=shared, name="time")
    assert [admit(echo, A, 0.0), admit(time, A, 0.0)] == [None, None]
    last = ticket(echo, None)
    assert [admit(echo, A, 0.0), admit_unix(time, 0, [], 0.0)] == ["daemon_connections", "daemon_connections"]
    assert names(time, A) == ["daemon.connections"]
    echo.release(last)
    assert admit(time, A, 0.0) is None


def test_places_of_a_worker_that_dies_are_released() -> None:
    daemon_limits = DaemonAdmission().daemon_limits
    table = Table()
    one = admission(shared=DaemonAdmission(daemon_limits, worker=0, connections=2), table=table)
    other = admission(shared=DaemonAdmission(daemon_limits, worker=1, connections=2), table=table)
    assert [admit(one, A, 0.0), admit(other, A, 0.0)] == [None, None]
    assert [admit(one, A, 0.0), admit(other, A, 0.0)] == ["daemon_connections", "daemon_connections"]
    table.workers = 2
    daemon_limits.settle({1})
    table.settle({1})
    assert admit(other, A, 0.0) is None


def test_source_has_at_most_per_source_connections_and_takes_none_from_others() -> None:
    echo = admission('{"limits": {"per_source": 2}}')
    first = ticket(echo, A)
    assert [admit(echo, address, 0.0) for address in (A, A, B)] == [None, "per_source", None]
    assert [admit(echo, LOCAL, 0.0) for _ in range(5)] == [None] * 5, "loopback is exempt by default"
    echo.release(first)
    assert admit(echo, A, 0.0) is None
    six, neighbour = parse_address("2001:db8::1"), parse_address("2001:db8::2")
    assert [admit(echo, six, 0.0), admit(echo, neighbour, 0.0), admit(echo, six, 0.0)] == [None, None, "per_source"]


@pytest.mark.parametrize("pair", ["64:ff9b::c000:201 64:ff9b::c000:202", "fe80::1 fe80::2"])
def test_addresses_that_share_a_64_have_their_own_limits_and_bans(pair: str) -> None:
    one, other = map(parse_address, pair.split())
    echo = admission('{"limits": {"per_source": 1}}')
    assert [admit(echo, address, 0.0) for address in (one, one, other, other)] == [None, "per_source"] * 2
    echo = admission('{"limits": {"rate": "2/m burst 2"}}')
    assert [admit(echo, address, 0.0) for address in (one,) * 3 + (other,) * 3] == [None, None, "rate"] * 2
    keys = [echo.check_datagram(address, 5353, 0.0, non_unicast=False).key for address in (one, other)]
    assert all(keys)
    assert keys[0] != keys[1]
    shared = DaemonAdmission()
    echo = admission(shared=shared)
    shared.ban(source_of(one), 60.0)
    assert [admit(echo, one, 0.0), admit(echo, other, 0.0)] == ["banned", None]
    assert (names(echo, one), names(echo, other)) == (["bans"], [])


def test_loopback_is_counted_and_other_networks_are_not_where_exempt_says_so() -> None:
    echo = admission('{"limits": {"per_source": 1, "exempt": ["192.0.2.0/24"]}}')
    assert [admit(echo, LOCAL, 0.0), admit(echo, LOCAL, 0.0)] == [None, "per_source"]
    assert [admit(echo, A, 0.0), admit(echo, A, 0.0)] == [None, None]


def test_new_connections_have_a_rate_where_the_config_sets_one() -> None:
    echo = admission('{"limits": {"rate": "1/s burst 2"}}')
    assert [admit(echo, A, 10.0) for _ in range(3)] == [None, None, "rate"]
    assert admit(echo, B, 10.0) is None
    assert [admit(echo, A, 11.0) for _ in range(2)] == [None, "rate"]
    assert names(echo, A, now=11.0) == ["limits.rate"]
    assert [admit(admission(), A, 0.0) for _ in range(150)] == [None] * 150, "the default rate is for udp"
    assert [admit(admission('{"limits": {"rate": "udp 1/s"}}'), A, 0.0) for _ in range(3)] == [None] * 3


def test_refused_connection_keeps_no_place() -> None:
    table, shared = Table(), DaemonAdmission()
    echo = admission('{"limits": {"rate": "1/s", "per_source": 9}}', shared, table)
    total = admission('{"limits": {"total_rate": "1/h"}}', shared, table)
    tickets = ticket(echo, A), ticket(total, B)
    assert [admit(echo, A, 0.0) for _ in range(19)] == ["rate"] * 19
    assert [admit(total, B, 0.0) for _ in range(19)] == ["total_rate"] * 19
    assert [admit_unix(total, 1, [], 0.0) for _ in range(3)] == ["total_rate"] * 3
    echo.release(tickets[0])
    total.release(tickets[1])
    assert table.read().active == 0
    assert sum(shared.daemon_limits.active) == 0
    assert not any(table.sources)


def test_connection_that_the_transport_cannot_serve_takes_nothing() -> None:
    table, shared = Table(), DaemonAdmission()
    echo = admission(
        '{"access": {"deny": ["198.51.100.9"]}, "limits": {"rate": "1/h", "total_rate": "2/h"}}', shared, table
    )
    assert [admit(echo, A, 0.0, "threads"), admit(echo, B, 0.0, "threads")] == ["threads", "access"]
    assert admit_unix(echo, 1, [], 0.0, "threads") == "threads"
    assert (table.read().active, sum(shared.daemon_limits.active), any(table.sources)) == (0, 0, False)
    assert [admit(echo, A, 0.0), admit_unix(echo, 1, [], 0.0)] == [None, None], "no token was taken"


def test_total_rate_is_for_all_sources_together_and_loopback() -> None:
    echo = admission('{"limits": {"total_rate": "2/s"}}')
    assert [admit(echo, address, 0.0) for address in (A, LOCAL, B)] == [None, None, "total_rate"]
    assert names(echo, B) == ["limits.total_rate"]
    keys = [echo.check_datagram(address, 5353, 0.0, non_unicast=False).key for address in (A, LOCAL)]
    assert all(key is not None for key in keys)
    assert [echo.take_token(key, 5.0) for key in keys * 2 if key is not None] == [
        None,
        None,
        "total_rate",
        "total_rate",
    ]


def test_access_and_times_come_before_places() -> None:
    echo = admission(
        '{"access": {"deny": ["192.0.2.0/24"], "times": ["Sun 10:00-14:00 UTC"]}, "limits": {"connections": 1}}'
    )
    assert [admit(echo, A, 0.0), admit(echo, B, 0.0), admit(echo, A, 0.0)] == ["access", None, "access"]
    assert names(echo, A)[0] == "access"
    closed = admission('{"access": {"times": ["Sun 10:00-12:00 UTC"]}}')
    assert [admit(closed, A, 0.0), admit_unix(closed, 0, [], 0.0)] == ["times", "times"]
    drops = closed.check_datagram(A, 5353, 0.0, non_unicast=False).drop, closed.check_unix_datagram(0, "/x", 0.0).drop
    assert drops == ("times", "times")
    assert names(closed, A) == ["access.times"]


def test_busy_host_refuses_all_peers_without_an_offence() -> None:
    reports: list[Any] = []
    loads = {0.0: 7.99, 1.0: 8.0, 2.0: 9.5}
    shared = DaemonAdmission(load=loads.__getitem__, report=lambda *report: reports.append(report))
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"threshold": "1/h"}'))
    echo = admission('{"load": {"below": 8.0}, "limits": {"exempt": []}}', shared=shared)
    for now, expected in ((0.0, None), (1.0, "load"), (2.0, "load"), (0.0, None)):
        assert [admit(echo, A, now), admit_unix(echo, 0, [], now)] == [expected, expected]
        drops = (
            echo.check_datagram(A, 5353, now, non_unicast=False).drop,
            echo.check_unix_datagram(0, "/x", now).drop,
        )
        assert drops == (expected, expected)
    assert not reports
    for datagram in (False, True):
        assert names(echo, A, now=2.0, datagram=datagram) == ["load"]
        assert names(echo, A, now=0.0, datagram=datagram) == []
    [why] = [check.why for check in echo.explain_unix(0, [], 2.0, datagram=False) if check.name == "load"]
    assert why == "the load average is 9.50, and has to be below 8"
    off = admission(shared=shared)
    assert admit(off, A, 2.0) is None
    assert "load" not in [check.name for check in off.explain(A, 5353, 2.0, datagram=False)]


def test_banned_source_is_refused_until_the_ban_ends() -> None:
    shared = DaemonAdmission(banned={source_of(A): 50.0})
    echo = admission(shared=shared)
    assert [admit(echo, A, 49.9), admit(echo, B, 49.9), admit(echo, A, 50.0)] == ["banned", None, None]
    assert echo.check_datagram(A, 5353, 49.9, non_unicast=False).drop == "banned"
    assert names(echo, A, now=20.0) == ["bans"]


def test_source_that_is_refused_too_often_is_reported() -> None:
    reports: list[Any] = []
    shared = DaemonAdmission(report=lambda *report: reports.append(report))
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"threshold": "10/m"}'))
    echo = admission('{"access": {"deny": ["192.0.2.7", "127.0.0.1"]}, "limits": {"connections": 1}}', shared)
    assert [admit(echo, A, 0.0) for _ in range(10)] == ["access"] * 10
    assert reports == []
    assert admit(echo, A, 0.0) == "access"
    assert reports == [(A, "echo", "access")]
    for _ in range(100):
        admit(echo, LOCAL, 0.0)  # exempt from bans
        admit(echo, B, 0.0)  # the service is full, which the source has not caused
    assert len(reports) == 1
    for _ in range(1000):
        assert echo.check_datagram(A, 5353, 0.0, non_unicast=False).drop == "access"
    assert len(reports) == 1, "the source of a datagram can be forged"


def test_sources_are_not_reported_without_automatic_bans() -> None:
    reports: list[Any] = []
    shared = DaemonAdmission(report=lambda *report: reports.append(report))
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"threshold": "off"}'))
    echo = admission('{"access": {"deny": ["any"]}}', shared)
    assert [admit(echo, A, 0.0) for _ in range(1000)] == ["access"] * 1000
    assert reports == []


def test_datagrams_have_a_rate_of_fifty_a_second_except_from_loopback() -> None:
    echo = admission()
    verdict = echo.check_datagram(A, 5353, 10.0, non_unicast=False)
    assert verdict.key is not None
    drops = [echo.take_token(verdict.key, 10.0) for _ in range(150)]
    assert drops == [None] * 100 + ["rate"] * 50
    assert [echo.take_token(verdict.key, 11.0) for _ in range(60)].count(None) == 50
    assert names(echo, A, now=11.0, datagram=True) == ["limits.rate"]
    assert echo.check_datagram(LOCAL, 5353, 10.0, non_unicast=False) == Verdict(None, None, amplify=False)
    other = echo.check_datagram(B, 5353, 10.0, non_unicast=False).key
    assert other is not None
    assert echo.take_token(other, 11.0) is None


def test_rate_for_tcp_does_not_apply_to_datagrams() -> None:
    assert admission('{"limits": {"rate": "tcp 1/s"}}').check_datagram(A, 5353, 0.0, non_unicast=False).key is None


def test_services_do_not_share_a_rate() -> None:
    shared = DaemonAdmission()
    keys = [
        admission(shared=shared, name=name).check_datagram(A, 5353, 0.0, non_unicast=False).key
        for name in ("echo", "time")
    ]
    assert keys[0] != keys[1]


def test_reply_guard_comes_first_and_can_be_switched_off() -> None:
    shared = DaemonAdmission(ports=frozenset({7007}))
    guarded, open_ = admission('{"access": {"deny": ["any"]}}', shared), admission('{"reply_guard": false}', shared)
    for port, non_unicast, objection in (
        (53, False, "source_port"),
        (7007, False, "source_port"),
        (5353, True, "destination"),
    ):
        assert guarded.check_datagram(B, port, 0.0, non_unicast=non_unicast).drop == objection
        assert open_.check_datagram(B, port, 0.0, non_unicast=non_unicast).drop is None
    assert names(guarded, B, 53, datagram=True)[0] == "reply_guard"
    assert guarded.check_datagram(B, 5353, 0.0, non_unicast=False).drop == "access"
    assert open_.check_datagram(B, 53, 0.0, non_unicast=False).amplify


def test_longer_answers_are_allowed_to_listed_sources() -> None:
    chargen = admission('{"amplify": ["192.0.2.0/24"]}')
    assert chargen.check_datagram(A, 5353, 0.0, non_unicast=False).amplify
    assert not chargen.check_datagram(B, 5353, 0.0, non_unicast=False).amplify


def test_unix_peer_is_admitted_by_its_user_and_groups() -> None:
    echo = admission('{"access": {"allow": ["uid:1000", "gid:27"]}}')
    assert echo.groups_matter
    peers: list[tuple[int, list[int]]] = [(1000, []), (1, [27]), (1, [1])]
    assert [admit_unix(echo, user, groups, 0.0) for user, groups in peers] == [None, None, "access"]
    assert [echo.check_unix_datagram(user, "/x", 0.0).drop for user in (1000, None)] == [None, "access"]


def test_datagram_from_a_unix_socket_of_this_netd_is_dropped() -> None:
    shared = DaemonAdmission(paths={"/run/netd/echo.sock", b"\0netd"})
    echo = admission("{}", shared=shared)
    drops = [echo.check_unix_datagram(0, path, 0.0).drop for path in ("/run/netd/echo.sock", b"\0netd", "/x", "")]
    assert drops == ["source_path", "source_path", None, None]


def test_changed_rate_starts_with_full_buckets() -> None:
    shared, table = DaemonAdmission(), Table()
    for limits, now, answers in (
        ('{"rate": "2/h", "total_rate": "3/h"}', 0.0, [None, None, "rate"]),
        # The bucket of total_rate is empty, and refills at the new rate from here on.
        ('{"rate": "1000/s", "total_rate": "1000/s"}', 1.0, ["total_rate"] * 3),
        ('{"rate": "1000/s", "total_rate": "1000/s"}', 1.5, [None, None, None]),
    ):
        echo = admission(f'{{"limits": {limits}}}', shared, table)
        assert [admit(echo, A, now) for _ in range(3)] == answers


def test_exempt_address_in_a_banned_network_is_served() -> None:
    one, other = parse_address("2001:db8::7"), parse_address("2001:db8::8")
    shared = DaemonAdmission(banned={source_of(one): 100.0})
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"exempt": ["2001:db8::7"]}'))
    echo = admission(shared=shared)
    assert [admit(echo, one, 0.0), admit(echo, other, 0.0)] == [None, "banned"]
    assert (names(echo, one), names(echo, other)) == ([], ["bans"])


def test_buckets_hold_the_largest_rate_a_config_may_have() -> None:
    shared = DaemonAdmission()
    echo = admission('{"limits": {"rate": "1/d burst 366", "total_rate": "9999999/d burst 9999999"}}', shared)
    key = echo.check_datagram(A, 5353, 1e9, non_unicast=False).key
    assert key is not None
    assert [echo.take_token(key, 1e9) for _ in range(400)].count(None) == 366


def test_certificate_that_no_rule_matches_is_an_offence_but_not_of_a_proxy() -> None:
    reports: list[Any] = []
    shared = DaemonAdmission(report=lambda *report: reports.append(report))
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"threshold": "10/m"}'))
    policy = '{"access": {"allow": ["any", "cn:alex"]}, "proxy_protocol": {"from": ["198.51.100.9"]}}'
    echo = admission(policy, shared)
    assert admit(echo, A, 0.0) is None
    for peer in (A, B, LOCAL, None):
        assert echo.check_certificate(Tls(common_name="alex", fingerprint="ab"), peer, 0.0) is None
        for tls in (None, Tls(), Tls(common_name="kim", fingerprint="ab")):
            assert [echo.check_certificate(tls, peer, 0.0) for _ in range(10)] == ["certificate"] * 10
    assert set(reports) == {(A, "echo", "certificate")}
    assert admission().check_certificate(None, A, 0.0) is None
