"""The alert rules and the dashboard in docs/, as Prometheus' own tools see them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from netd.shared.table import Counts
from netd.telemetry.exposition import exposition
from tests.support.programs import need
from tests.telemetry.statuses import status

DOCS = Path(__file__).parents[1] / "docs"
RULES = DOCS / "alerts.yaml"
DASHBOARD = json.loads((DOCS / "grafana.json").read_text())
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

# What each alert is about, minute by minute: (series, values) that raise it, and a similar one that does not.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "NetdDown": ({'up{job="netd"}': "0x180"}, {'up{job="netd"}': "1x180", 'up{job="other"}': "0x180"}),
    "NetdNotHealthy": ({"netd_daemon_healthy": "0x180"}, {"netd_daemon_healthy": "1x180"}),
    "NetdNotReady": ({"netd_daemon_ready": "0x180"}, {"netd_daemon_ready": "1x180"}),
    "NetdWorkersLost": ({"netd_workers_lost_total": "0x175 1x5"}, {"netd_workers_lost_total": "3x180"}),
    "NetdServiceCrashes": (
        {'netd_service_workers_lost_total{service="greet"}': "0x175 3x5"},
        {'netd_service_workers_lost_total{service="greet"}': "0x175 1x5"},
    ),
    "NetdConfigRejected": (
        {"netd_config_last_reload_successful": "1x170 0x10"},
        {"netd_config_last_reload_successful": "1x170 0x5 1x5", "netd_reloads_rejected_total": "0x170 1x10"},
    ),
    "NetdConversationsFail": (
        {'netd_conversations_failed_total{service="echo"}': "0x175 1x5"},
        {'netd_conversations_failed_total{service="echo"}': "5x180"},
    ),
    "NetdProgramsFail": (
        {'netd_programs_failing{service="agent"}': "0x170 1x10"},
        {'netd_programs_failing{service="agent"}': "1x170 0x7 1x3"},
    ),
    "NetdRefusalsRise": (
        {'netd_connections_refused_total{service="echo", reason="rate"}': "0+1x150 150+600x30"},
        {'netd_connections_refused_total{service="echo", reason="rate"}': "0+600x180"},
    ),
    "NetdDropsRise": (
        {'netd_datagrams_dropped_total{service="echo", reason="rate"}': "0+1x150 150+6000x30"},
        {'netd_datagrams_dropped_total{service="echo", reason="rate"}': "0+1x150 150+30x30"},
    ),
    "NetdCertificateExpires": (
        {'netd_tls_certificate_expiry_timestamp_seconds{service="echo", file="/tls/a.pem"}': "864000x180"},
        {'netd_tls_certificate_expiry_timestamp_seconds{service="echo", file="/tls/a.pem"}': "2160000x180"},
    ),
    "NetdLogLinesLost": ({"netd_log_lines_lost_total": "0x175 9x5"}, {"netd_log_lines_lost_total": "9x180"}),
}


def names() -> set[str]:
    """The names of all series there are."""
    body, _ = exposition(status({"echo": Counts()}, programs=["echo"], tls=["echo"], code=["echo"]), "")
    return {sample.name for family in text_string_to_metric_families(body.decode()) for sample in family.samples}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    need("promtool")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def test_rules_and_dashboard_name_series_that_exist() -> None:
    variables = [one["definition"] for one in DASHBOARD["templating"]["list"] if "definition" in one]
    for text in (RULES.read_text(), *expressions(), *variables):
        assert set(re.findall(r"\bnetd_\w+", text)) <= names(), text


def test_the_dashboard_takes_its_data_source_and_services_from_variables() -> None:
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "instance", "service"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for expression in expressions():
        for selector in re.findall(r"netd_\w+(\S*)", expression):
            assert selector.startswith('{instance=~"$instance"'), expression


def test_promtool_understands_the_dashboard(tmp_path: Path) -> None:
    values = {"$instance": ".*", "$service": ".*", "$__rate_interval": "5m", "$__range": "1h"}
    rules = []
    for number, expression in enumerate(expressions()):
        text = re.sub(r"\$\w+", lambda match: values[match[0]], expression)
        rules.append({"record": f"panel:{number}", "expr": text})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_understands_the_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(ALERTS) == set(CASES), "an alert without a test"


def firing(alert: str, series: dict[str, str], when: dict[str, bool]) -> dict[str, Any]:
    """A test for promtool: whether an alert fires at these times, where the series have these values by the minute."""
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": time, "exp_samples": [{"labels": "{}", "value": int(fires)}]}
            for time, fires in when.items()
        ],
    }


def check(tests: list[dict[str, Any]], directory: Path) -> None:
    """Have promtool run tests of the rules."""
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_is_raised_when_it_should_be_and_not_else(alert: str, tmp_path: Path) -> None:
    raised, calm = CASES[alert]
    check([firing(alert, raised, {"3h": True}), firing(alert, calm, {"3h": False})], tmp_path)


def test_a_rejected_config_is_told_of_until_one_is_in_force(tmp_path: Path) -> None:
    # A good reload after half an hour, a rejected one after 40 minutes, and the next good one after 160.
    series = {
        "netd_config_generation": "1x29 2x129 3x20",
        "netd_reloads_rejected_total": "0x39 1x140",
        "netd_config_last_reload_successful": "1x39 0x119 1x20",
    }
    when = {"35m": False, "40m": True, "95m": True, "159m": True, "160m": False}
    check([firing("NetdConfigRejected", series, when)], tmp_path)
