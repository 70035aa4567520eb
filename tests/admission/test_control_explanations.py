"""What admission to a service says of a peer beforehand (`netd explain`): the same as it decides."""

import json

from hypothesis import given
from hypothesis import strategies as st

from netd.admission.addresses import source_of
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from tests.admission.controls import LOCAL, A, B, admission, admit

_REFUSED = {
    "banned": "bans",
    "access": "access",
    "times": "access.times",
    "connections": "limits.connections",
    "daemon_connections": "daemon.connections",
    "per_source": "limits.per_source",
    "rate": "limits.rate",
    "total_rate": "limits.total_rate",
    "source_port": "reply_guard",
}


@given(
    st.lists(st.tuples(st.sampled_from([A, B, LOCAL]), st.booleans(), st.floats(0, 0.4)), max_size=40),
    st.fixed_dictionaries(
        {
            "connections": st.sampled_from(["off", 3, 20]),
            "per_source": st.sampled_from(["off", 2, 9]),
            "rate": st.sampled_from(["off", "3/s", "udp 2/s", "tcp 1/s burst 4"]),
            "total_rate": st.sampled_from(["off", "6/s burst 9", "udp 4/s"]),
        }
    ),
    st.sampled_from([{}, {"deny": ["192.0.2.0/24"]}, {"allow": ["local", "192.0.2.7"]}]),
    st.booleans(),
)
def test_explanation_names_the_check_that_decides(
    script: list[tuple[bytes, bool, float]], limits: dict[str, object], access: dict[str, object], banned: bool
) -> None:
    shared = DaemonAdmission(connections=8, banned={source_of(B): 3.0} if banned else {}, ports=frozenset({7007}))
    echo = admission(json.dumps({"limits": limits, "access": access}), shared)
    others = DaemonAdmission(shared.daemon_limits, connections=8, banned=shared.banned, ports=shared.ports)
    observer = AdmissionControl("echo", echo.policy, echo.access, echo._table, others, lambda: 0.0)
    now = 1.0
    for address, datagram, wait in script:
        now += wait
        port = 5353 if wait < 0.3 else 7007
        expected = next((c.name for c in observer.explain(address, port, now, datagram=datagram) if not c.passes), None)
        decided: str | None
        if datagram:
            verdict = echo.check_datagram(address, port, now, non_unicast=False)
            decided = verdict.drop or (echo.take_token(verdict.key, now) if verdict.key is not None else None)
        else:
            decided = admit(echo, address, now)
        assert (decided and _REFUSED[decided]) == expected


def test_threads_are_explained_where_the_service_takes_them() -> None:
    shared = DaemonAdmission(threads=3)
    echo = admission('{"limits": {"threads": 2}}', shared)
    other = admission(shared=shared, name="other")

    def explained(**how: bool) -> list[tuple[bool, str]]:
        checks = echo.explain(A, 5353, 0.0, **{"datagram": False, "threads": True, **how})
        return [(one.passes, one.why) for one in checks if one.name in ("limits.threads", "daemon.threads")]

    assert explained(threads=False) == []
    assert echo.threads.acquire()
    assert explained() == [(True, "1 of 2 in use"), (True, "1 of 3 in use")]
    assert echo.threads.acquire()
    assert other.threads.acquire()
    assert explained() == [(False, "2 of 2 in use"), (False, "3 of 3 in use")]
    waits = "in use; a datagram waits for one"
    assert explained(datagram=True) == [(True, f"2 of 2 {waits}"), (True, f"3 of 3 {waits}")]
    names = [check.name for check in echo.explain_unix(0, [], 0.0, datagram=False, threads=True) if not check.passes]
    assert names == ["limits.threads", "daemon.threads"]
    assert admit(echo, A, 0.0, busy=None if echo.threads else "threads") == "threads"


def test_explanation_says_where_a_certificate_decides() -> None:
    rules = [f"cn:{name}" for name in "abcde"]
    for number, why in ((1, "cn:a"), (3, "cn:a, cn:b, cn:c"), (5, "cn:a, cn:b, cn:c or 2 others")):
        echo = admission(json.dumps({"access": {"allow": rules[:number]}}))
        last = list(echo.explain(A, 5353, 0.0, datagram=False))[-1]
        assert last == ("certificate", True, f"depends on the certificate: {why}")
    assert "certificate" not in [check.name for check in admission().explain(A, 5353, 0.0, datagram=False)]
