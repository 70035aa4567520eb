"""Admission to a sensor: which peers are reported."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from netd.addresses import parse_address
from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonAdmission, DaemonBounds
from netd.admission.policy import Policy
from netd.admission.sensor import SensorControl
from netd.shared.table import Table

A, B = map(parse_address, ("192.0.2.7", "2001:db8::9"))


def sensor(reported: list[tuple[bytes, str]], limits: Any = None, access: Any = None) -> SensorControl:
    shared = DaemonAdmission(report_visitor=lambda address, service: reported.append((address, service)))
    shared.apply(DaemonBounds(), BanRules.model_validate_json('{"exempt": ["198.51.100.0/24"]}'))
    policy = Policy.model_validate_json(json.dumps({"limits": limits or {}}))
    rules = Access.of(AccessRules.model_validate(access or {}))
    table = Table()
    table.workers = 1
    return SensorControl("trap", policy, rules, table, shared, lambda: 0.0)


def test_each_admitted_address_is_reported() -> None:
    reported: list[tuple[bytes, str]] = []
    trap = sensor(reported)
    assert not isinstance(trap.admit(A, 0.0), str)
    ticket = trap.admit_socket()
    assert reported == [(A, "trap")], "a proxy is not known as a peer yet"
    assert not isinstance(ticket, str)
    assert not isinstance(trap.admit(B, 0.0, placed=True), str)
    assert reported == [(A, "trap"), (B, "trap")]


Visit = Callable[[SensorControl], object]


@pytest.mark.parametrize(
    ("limits", "access", "visit"),
    [
        ({"exempt": ["192.0.2.0/24"]}, {}, lambda trap: trap.admit(A, 0.0)),
        ({}, {}, lambda trap: trap.admit(parse_address("198.51.100.1"), 0.0)),
        ({}, {}, lambda trap: trap.admit(parse_address("127.0.0.1"), 0.0)),
        ({}, {"deny": ["192.0.2.7"]}, lambda trap: trap.admit(A, 0.0)),
        ({"connections": 1}, {}, lambda trap: trap.admit_socket() and trap.admit(A, 0.0)),
        ({}, {}, lambda trap: trap.admit_unix(0, [], 0.0)),
        ({}, {}, lambda trap: trap.check_datagram(A, 5353, 0.0, non_unicast=False)),
        ({}, {}, lambda trap: list(trap.explain(A, 5353, 0.0, datagram=False))),
    ],
    ids=["limits.exempt", "bans.exempt", "loopback", "access", "connections", "unix", "datagram", "explain"],
)
def test_exempt_or_refused_peer_is_not_reported(limits: Any, access: Any, visit: Visit) -> None:
    reported: list[tuple[bytes, str]] = []
    visit(sensor(reported, limits, access))
    assert reported == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("127.0.0.1", "limits.exempt: local"),
        ("198.51.100.1", "bans.exempt: 198.51.100.0/24"),
        ("192.0.2.7", ""),
    ],
)
def test_exempt_peer_is_told_with_the_rule(source: str, rule: str) -> None:
    trap = sensor([])
    told: list[tuple[str, str]] = []
    trap.on_exempt = lambda *one: told.append(one)
    trap.admit(parse_address(source), 0.0)
    assert told == ([(source, rule)] if rule else [])
    assert trap.exempts(parse_address(source)) == rule
    refusing = sensor([], {"connections": 1})
    refusing.admit_socket()
    refusing.on_exempt = lambda *one: pytest.fail("it is refused")
    assert refusing.admit(parse_address(source), 0.0) == "connections"
