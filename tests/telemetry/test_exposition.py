"""The metrics equal the status, and Prometheus' own parsers accept them."""

import math
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from netd.reasons import Drop, HandshakeFailure, Outcome, Refusal
from netd.shared.table import DURATIONS, Counts
from netd.telemetry.exposition import exposition
from netd.telemetry.forward_events import Why
from netd.telemetry.program_events import How
from tests.support.programs import need
from tests.telemetry.statuses import status

OPEN_METRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
CLASSES = [*(f"{bound:g}" for bound in DURATIONS), "inf"]
PLAIN = [name for name in Counts.__slots__ if isinstance(getattr(Counts(), name), int)]

numbers = st.integers(0, 2**48)  # small enough that a float holds their sums exactly


def counters(reasons: Iterable[str]) -> st.SearchStrategy[Counter[str]]:
    return st.dictionaries(st.sampled_from(sorted(reasons)), numbers).map(Counter)


counts = st.builds(
    Counts,
    **dict.fromkeys(
        [
            "accepted",
            "active",
            "failed",
            "loops",
            "checks",
            "requests",
            "duration_us",
            "bytes_in",
            "bytes_out",
            "datagrams_in",
            "datagrams_out",
        ],
        numbers,
    ),
    closed=counters(get_args(Outcome)),
    refused=counters(get_args(Refusal)),
    dropped=counters(get_args(Drop)),
    durations=counters(CLASSES),
)
services = st.dictionaries(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True), counts, max_size=2)


def samples(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All values, by name and labels."""
    found = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a series occurs twice"
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"netd_{name}", frozenset(labels.items())


def expected(services: Mapping[str, Counts]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series of the services."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for name, one in services.items():
        for series, value in (
            ("service_enabled", 1),
            ("connections_active", one.active),
            ("threads_active", one.threads),
            ("handlers_hanging", one.hanging),
            ("connections_accepted_total", one.accepted),
            ("connections_checks_total", one.checks),
            ("connections_requests_total", one.requests),
            ("received_bytes_total", one.bytes_in),
            ("sent_bytes_total", one.bytes_out),
            ("datagrams_received_total", one.datagrams_in),
            ("datagrams_answered_total", one.datagrams_out),
            ("conversations_failed_total", one.failed),
            ("loops_detected_total", one.loops),
            ("connections_duration_seconds_sum", one.duration_us / 1e6),
            ("connections_duration_seconds_count", one.durations.total()),
        ):
            found[key(series, service=name)] = value
        for transport, number in (("tcp", 2), ("udp", 1), ("unix", 1)):
            found[key("service_sockets", service=name, transport=transport)] = number
        for series, counter, reasons in (
            ("connections_closed_total", one.closed, get_args(Outcome)),
            ("connections_refused_total", one.refused, get_args(Refusal)),
            ("datagrams_dropped_total", one.dropped, get_args(Drop)),
        ):
            for reason in reasons:
                found[key(series, service=name, reason=reason)] = counter[reason]
        for bound in (*DURATIONS, math.inf):
            shorter = sum(number for limit, number in one.durations.items() if float(limit) <= bound)
            limit = "+Inf" if math.isinf(bound) else str(float(bound))
            found[key("connections_duration_seconds_bucket", service=name, le=limit)] = shorter
    return found


DAEMON = {
    key("build_info", version="0.1.0"): 1,
    key("daemon_start_time_seconds"): 1_700_000_000.5,
    key("daemon_healthy"): 1,
    key("daemon_ready"): 1,
    key("daemon_workers"): 2,
    key("config_generation"): 3,
    key("config_last_reload_successful"): 1,
    key("bans_active"): 2,
    key("log_lines_lost_total"): 7,
    key("workers_lost_total"): 1,
    key("reloads_applied_total"): 2,
    key("reloads_rejected_total"): 3,
    key("sources_banned_total"): 4,
    key("control_refused_total"): 5,
}


@pytest.mark.slow  # hundreds of statuses
@settings(phases=[Phase.generate])  # the wrong series are named below; shrinking takes minutes
@given(services)
def test_numbers_of_the_status_occur_once_in_both_formats(services: dict[str, Counts]) -> None:
    answer = status(services)
    wanted = DAEMON | expected(services)
    parsers: tuple[tuple[str, str, Callable[[str], Iterable[Metric]]], ...] = (
        ("", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        (OPEN_METRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8", parse_open_metrics),
    )
    for accept, media_type, parse in parsers:
        body, returned = exposition(answer, accept)
        assert returned == media_type
        found = samples(parse(body.decode()))
        wrong = {series for series in found.keys() | wanted.keys() if found.get(series) != wanted.get(series)}
        assert not wrong


def test_labels_have_few_values() -> None:
    body, _ = exposition(status({"echo": Counts(accepted=1)}), "")
    labels = {name for family in parse_text(body.decode()) for sample in family.samples for name in sample.labels}
    assert labels == {"version", "service", "transport", "reason", "le"}


def test_connections_to_targets_are_told_of_services_that_forward() -> None:
    handshakes = Counter({"forward_tls_handshakes": 4, "forward_tls_handshakes_resumed": 2})
    own = Counter({"forward_connects": 5, "forward_failures.refused": 3}) + handshakes
    answer = status({"web": Counts(own=own), "echo": Counts()}, forwards=["web"])
    found = samples(parse_text(exposition(answer, "")[0].decode()))
    assert found[key("forward_connects_total", service="web")] == 5
    assert {name: found[key(f"{name}_total", service="web")] for name in handshakes} == handshakes
    failures = {why: found[key("forward_failures_total", service="web", reason=why)] for why in get_args(Why)}
    assert failures == {**dict.fromkeys(get_args(Why), 0), "refused": 3}
    assert not [name for name, labels in found if "forward" in name and ("service", "echo") in labels]
    up = {
        url: found[key("forward_target_up", service="web", target=url)] for url in ("tcp://192.0.2.7:80", "unix:///x")
    }
    assert list(up.values()) == [1, 0]
    assert found[key("forward_target_connections", service="web", target="tcp://192.0.2.7:80")] == 3
    assert found[key("forward_target_failures_total", service="web", target="tcp://192.0.2.7:80")] == 1


def test_losses_of_workers_are_told_of_services_with_code_and_name_no_peer() -> None:
    answer = status({"greet": Counts(), "calm": Counts(), "echo": Counts()}, code=["greet", "calm"])
    del answer["services"][1]["crashes"]
    text = exposition(answer, "")[0].decode()
    found = samples(parse_text(text))
    for name, lost, resting in (("greet", 4, 1), ("calm", 0, 0)):
        assert found[key("service_workers_lost_total", service=name)] == lost
        assert found[key("service_resting", service=name)] == resting
    assert key("service_resting", service="echo") not in found
    assert "192.0.2.7" not in text


def test_handshakes_are_told_of_services_with_tls() -> None:
    counts = Counts(handshakes=5, handshakes_resumed=2, handshakes_failed=Counter(plain_text=3))
    answer = status({"web": counts, "echo": Counts()}, tls=["web"])
    found = samples(parse_text(exposition(answer, "")[0].decode()))
    assert found[key("tls_handshakes_total", service="web")] == 5
    assert found[key("tls_handshakes_resumed_total", service="web")] == 2
    assert found[key("tls_certificate_expiry_timestamp_seconds", service="web", file="/tls/web.pem")] == 1_800_000_000
    failures = {
        why: found[key("tls_handshakes_failed_total", service="web", reason=why)] for why in get_args(HandshakeFailure)
    }
    assert failures == {**dict.fromkeys(get_args(HandshakeFailure), 0), "plain_text": 3}
    assert not [name for name, labels in found if "tls" in name and ("service", "echo") in labels]


def test_programs_are_told_of_services_that_start_some() -> None:
    own = Counter({"programs_started": 5, "programs_not_started": 1, "programs_cpu_us": 2_500_000})
    own |= Counter({"programs_ended.failure": 3, "programs_error_lines": 7, "programs_durations.0.1": 3})
    answer = status({"agent": Counts(own=own), "echo": Counts()}, programs=["agent"])
    parse: Callable[[str], Iterable[Metric]] = parse_text
    found = samples(parse(exposition(answer, "")[0].decode()))
    wanted = {
        "programs_started_total": 5.0,
        "programs_not_started_total": 1,
        "programs_cpu_seconds_total": 2.5,
        "programs_error_lines_total": 7,
        "programs_duration_seconds_count": 3,
        "programs_duration_seconds_sum": 0,
        "programs_failing": 1,
    }
    assert {name: found[key(name, service="agent")] for name in wanted} == wanted
    ends = {how: found[key("programs_ended_total", service="agent", how=how)] for how in get_args(How)}
    assert ends == {"success": 0, "failure": 3, "signal": 0, "unknown": 0}
    assert found[key("programs_duration_seconds_bucket", service="agent", le="0.1")] == 3
    assert not [name for name, labels in found if "programs" in name and ("service", "echo") in labels]


def test_disabled_service_and_unhealthy_daemon_are_zero() -> None:
    answer = status(
        {"echo": Counts()}, enabled=False, healthy=False, ready=False, last_reload_successful=False, workers=[]
    )
    found = samples(parse_text(exposition(answer, "")[0].decode()))
    for name in ("daemon_healthy", "daemon_ready", "daemon_workers", "config_last_reload_successful"):
        assert found[key(name)] == 0
    assert found[key("service_enabled", service="echo")] == 0
    assert not [name for name, _ in found if name == "netd_service_sockets"]


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("application/openmetrics-text;q=0, text/plain", False),
        ("application/openmetrics-text; version=1.0.0; q=0.000", False),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", True),
        ("Application/OpenMetrics-Text ; Q=0.1", True),
        ("text/plain;q=0.9;x=y, application/openmetrics-text", True),
        ("application/openmetrics-text;q=2", False),
        ("application/openmetrics-text;q=x, text/plain;q=0.1", False),
    ],
)
def test_media_type_is_the_one_with_the_larger_weight(accept: str, is_open: bool) -> None:
    assert exposition(status({}), accept)[1].startswith("application/openmetrics-text;" if is_open else "text/plain;")


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/html", "text/plain;version=9;escaping=x", ",;=,;;", "application/openmetrics-text1", "ä"],
)
def test_accept_header_is_not_copied_into_the_media_type(accept: str) -> None:
    assert exposition(status({}), accept)[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_accept_header_for_openmetrics_is_not_copied_into_the_media_type() -> None:
    media_type = exposition(status({}), "application/openmetrics-text; version=7\x7f; escaping=evil, x")[1]
    assert media_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize("services", [{}, {"echo": Counts(accepted=3), "time": Counts()}], ids=["none", "two"])
def test_promtool_reports_no_problem(services: dict[str, Counts]) -> None:
    need("promtool")
    body, _ = exposition(status(services, programs=["time"]), "")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
