"""What is said of the certificates in force."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netd.config.loader import load
from netd.daemon.supervisor.certificates import Certificates
from netd.daemon.supervisor.state import State
from netd.telemetry.daemon_events import DaemonEvents
from tests.support.certificates import Authority


def test_end_of_a_certificate_is_told_once_thirty_days_before(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    authority = Authority(tmp_path)
    for name, days in (("long", 31.0), ("soon", 29.0)):
        authority.issue(name, days=(-1, days))
    file = tmp_path / "netd.yaml"
    file.write_text(
        f"""services:
  echo: {{listen: [tls://127.0.0.1:1], tls: {{certificate: {tmp_path}/long.pem, key: {tmp_path}/long.key}}}}
  upper: {{listen: [tls://127.0.0.1:2], tls: {{certificate: {tmp_path}/soon.pem, key: {tmp_path}/soon.key}}}}
  time: {{listen: [tls://127.0.0.1:3], tls: {{certificate: {tmp_path}/soon.pem, key: {tmp_path}/soon.key}}}}
  whoami: {{listen: [tcp://127.0.0.1:4]}}
"""
    )
    state = State(load(file))
    certificates = Certificates(state, DaemonEvents())
    for _ in range(2):
        certificates.warn()
    [line] = [line for line in log if line["event"] == "expiry_neared"]
    assert (line["file"], line["level"]) == (f"{tmp_path}/soon.pem", "warning")
    echo, *_, whoami = state.config.services
    [reported] = certificates.report(echo)["certificates"]
    assert (reported["file"], reported["names"]) == (f"{tmp_path}/long.pem", ["localhost"])
    assert line["expires"] < f"{datetime.fromtimestamp(reported['expires'], UTC):%Y-%m-%d}"
    assert certificates.report(whoami) == {}
    authority.issue("soon", days=(-1, 90))
    state.apply(load(file), {})
    certificates.warn()
    authority.issue("soon", days=(-1, 2))
    state.apply(load(file), {})
    certificates.warn()
    assert len([line for line in log if line["event"] == "expiry_neared"]) == 2
