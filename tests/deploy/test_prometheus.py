"""deploy/prometheus: the files as they stand, in Prometheus and blackbox_exporter, at the addresses that they name."""

import contextlib
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.deploy.hosts import COMMANDS, NETDS, PROXY
from tests.source_tree import ROOT
from tests.support.daemon import daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import need, started
from tests.support.waiting import until

FILES = ROOT / "deploy" / "prometheus"
CONFIG: dict[str, Any] = yaml.safe_load((FILES / "prometheus.yml").read_text())
ALERTS = yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())["groups"]
NETD = f"""
services:
  metrics: {{{{listen: [tcp://{{address}}:7090], access: {{{{allow: [{PROXY}]}}}}}}}}
  pingpong: {{{{listen: [tcp://{{address}}:8888]}}}}
"""


def output(*command: object) -> str:
    """What a command prints, which has to end with code 0."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    shutil.copy(FILES / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "docs" / "alerts.yaml", tmp_path / "netd-alerts.yaml")
    shown = output(need("promtool"), "check", "config", tmp_path / "prometheus.yml")
    assert "1 rule files found" in shown


def test_alerts_are_about_the_job_that_asks_netd() -> None:
    assert 'up{job="netd"}' in (ROOT / "docs" / "alerts.yaml").read_text()
    assert CONFIG["scrape_configs"][0]["job_name"] == "netd"


def test_exporter_finds_no_fault_and_has_the_modules_that_are_asked_for() -> None:
    modules = yaml.safe_load((FILES / "blackbox.yml").read_text())["modules"]
    assert set(CONFIG["scrape_configs"][1]["params"]["module"]) <= modules.keys()
    output(need("prometheus-blackbox-exporter"), f"--config.file={FILES}/blackbox.yml", "--config.check")


def api(path: str) -> Any:
    """What Prometheus answers; None while it does not."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}", timeout=10) as answer,
    ):
        return json.load(answer)["data"]
    return None


def values(query: str) -> dict[str, str]:
    """The values of a query, by the instance that each is of."""
    found = api(f"query?query={quote(query)}") or {"result": []}
    return {one["metric"]["instance"]: one["value"][1] for one in found["result"]}


def alerts_of_instances() -> set[tuple[str, str]]:
    """The alerts that Prometheus has now: the name of each and the instance that it is of."""
    labels = [one["labels"] for one in api("alerts")["alerts"]]
    return {(one["alertname"], one["instance"]) for one in labels}


def health_of_rules() -> dict[str, str]:
    """Whether Prometheus could evaluate each alert."""
    return {rule["name"]: rule["health"] for group in api("rules")["groups"] for rule in group["rules"]}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_prometheus_watches_two_netds_and_their_answers(tmp_path: Path) -> None:
    prometheus, exporter = need("prometheus"), need("prometheus-blackbox-exporter")
    text = (FILES / "prometheus.yml").read_text().replace(": 15s", ": 1s")
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(ROOT / "docs" / "alerts.yaml", tmp_path / "netd-alerts.yaml")
    commands = (
        (exporter, f"--config.file={FILES}/blackbox.yml", "--web.listen-address=127.0.0.1:9115"),
        (prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"),
    )

    def run() -> None:
        with contextlib.ExitStack() as stack:
            running = []
            for address in NETDS:
                (own := tmp_path / address).mkdir()
                running.append(stack.enter_context(daemon(NETD.format(address=address), own)))
            for command in commands:
                stack.enter_context(started(*command, cwd=tmp_path, stderr=subprocess.DEVNULL))
            metrics, answers = ([f"{address}:{port}" for address in NETDS] for port in (7090, 8888))
            both = dict.fromkeys(metrics, "1")
            until(lambda: values('up{job="netd"}') == both, 40)
            until(lambda: values("netd_daemon_ready") == both, 40)
            until(lambda: values("probe_success") == dict.fromkeys(answers, "1"), 40)
            alerts = {rule["alert"]: "ok" for group in ALERTS for rule in group["rules"]}
            until(lambda: health_of_rules() == alerts, 40)
            until(lambda: api("alerts")["alerts"] == [], 40)  # a check that takes a second begins one
            running[0].stop()
            until(lambda: values("probe_success") == {answers[0]: "0", answers[1]: "1"}, 40)
            until(lambda: alerts_of_instances() == {("NetdDown", metrics[0])}, 40)

    in_namespace(run, *COMMANDS)
