"""The metrics service in real daemons: it shows their counters, also after the loss of a worker and a reload."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.clients import echoed, load, talking
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """
daemon: {{workers: {workers}, heartbeat: {heartbeat}}}
log: {{connections: off}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  closed: {{type: echo, listen: [tcp://127.0.0.1:0], access: {{deny: [local]}}}}
  metrics: {{listen: [tcp://127.0.0.1:0]}}
"""


def get(running: Daemon, path: str) -> tuple[int, str]:
    """The status code and body of an answer."""
    url = f"http://127.0.0.1:{running.port('metrics')}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def numbers(running: Daemon, service: str = "echo") -> dict[str, float]:
    """The metrics of the daemon and of a service, by name and other labels: ``connections_closed_total.done``."""
    code, text = get(running, "/metrics")
    assert code == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("service", service) == service:
                found[".".join([sample.name.removeprefix("netd_"), *labels.values()])] = sample.value
    return found


def shows(running: Daemon, wanted: Mapping[str, float], service: str = "echo") -> None:
    """Wait until the numbers are these, all of them in one answer: each worker keeps its own for half a second."""
    until(lambda: wanted.items() <= numbers(running, service).items())


def test_metrics_count_a_known_load_across_a_lost_worker_and_a_reload(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, heartbeat="5s"), tmp_path) as running:
        load(running, 50)
        counted = {
            "connections_accepted_total": 50,
            "connections_active": 0,
            "connections_duration_seconds_count": 50,
            "connections_duration_seconds_bucket.+Inf": 50,
            "connections_closed_total.done": 50,
            "connections_closed_total.lost": 0,
            "datagrams_received_total": 50,
            "datagrams_answered_total": 50,
            "datagrams_dropped_total.rate": 0,
            "received_bytes_total": 500,
            "sent_bytes_total": 500,
            "daemon_workers": 2,
            "daemon_healthy": 1,
            "workers_lost_total": 0,
            "service_sockets.tcp": 1,
            "service_sockets.udp": 1,
        }
        shows(running, counted)
        shows(running, {"connections_refused_total.access": 50}, "closed")

        os.kill(running.worker, signal.SIGKILL)
        shows(running, {"workers_lost_total": 1, "daemon_workers": 2})
        load(running, 10)
        # The counts of the killed worker are kept.
        shows(running, {"connections_closed_total.done": 60, "datagrams_answered_total": 60})

        file = tmp_path / "netd.yaml"
        file.write_text(file.read_text() + "  discard: {listen: [tcp://127.0.0.1:0]}\n")
        assert running.netd("reload").returncode == 0
        shows(running, {"config_generation": 2, "config_last_reload_successful": 1})
        file.write_text("services: 7\n")
        assert running.netd("reload").returncode == 78
        after = {"reloads_rejected_total": 1, "config_last_reload_successful": 0}
        after |= {"config_generation": 2, "reloads_applied_total": 1}
        shows(running, after | {"connections_accepted_total": 60, "received_bytes_total": 600})
        shows(running, {"service_enabled": 1}, "discard")
        assert running.netd("disable", "discard").returncode == 0
        shows(running, {"service_enabled": 0}, "discard")


def test_traffic_of_open_connections_moves_and_is_counted_once(tmp_path: Path) -> None:
    config = CONFIG.format(workers=2, heartbeat="1m") + "  chargen: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(talking(running.port("echo"))) for _ in range(4)]
        for number in range(2, 5):
            for client in clients:
                echoed(client, b"hello\n")
            octets = 24 * number
            moved = {
                "connections_requests_total": 4 * number,
                "received_bytes_total": octets,
                "sent_bytes_total": octets,
            }
            shows(running, {**moved, "connections_active": 4, "connections_closed_total.done": 0})
            counters = running.ask("status")["services"][0]["counters"]
            assert (counters["connections_requests"], counters["received_bytes"], counters["sent_bytes"]) == (
                4 * number,
                octets,
                octets,
            )
        endless = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("chargen"))))
        read = 0
        for _ in range(3):
            read += len(read_exactly(endless, 500_000))
            assert running.ask("status")["services"][3]["counters"]["sent_bytes"] >= read
        stack.close()
        shows(running, {**moved, "connections_active": 0, "connections_closed_total.done": 4})


def test_status_json_is_the_report_of_netd_status(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1, heartbeat="100ms"), tmp_path) as running:
        load(running, 3)
        until(lambda: running.ask("status")["services"][0]["counters"]["connections_closed"] == {"done": 3})

        def stable(status: dict[str, Any]) -> dict[str, Any]:
            """The parts that do not change between two reports."""
            services = [one for one in status["services"] if one["service"] != "metrics"]
            kept = {
                key: value for key, value in status.items() if key not in ("ok", "started", "uptime_seconds", "workers")
            }
            return {**kept, "services": services, "workers": [one["pid"] for one in status["workers"]]}

        own = json.loads(running.netd("status", "--json").stdout)
        shown = json.loads(get(running, "/status.json")[1])
        assert stable(shown) == stable(own)
        assert shown.keys() == own.keys() - {"ok"}
        history = json.loads(get(running, "/history.json")[1])
        assert history["services"].keys() == {"echo", "closed", "metrics"}


def test_healthz_fails_while_a_worker_hangs(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2, heartbeat="1s"), tmp_path) as running:
        assert (get(running, "/healthz"), get(running, "/readyz")) == ((200, "healthy\n"), (200, "ready\n"))
        os.kill(running.worker, signal.SIGSTOP)
        until(lambda: get(running, "/healthz") == (503, "not healthy\n"))
        running.event("worker_aborted")
        running.event("worker_started")
        until(lambda: get(running, "/healthz") == (200, "healthy\n"))


def test_health_check_is_refused_while_netd_stops(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1, heartbeat="5s"), tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as live:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            running.process.send_signal(signal.SIGTERM)
            running.event("drain_started")

            def is_refused() -> bool:
                try:
                    get(running, "/readyz")
                except ConnectionError:
                    return False  # it came just before the sockets were closed
                except urllib.error.URLError as error:
                    return isinstance(error.reason, ConnectionRefusedError)
                return False

            until(is_refused)
            live.sendall(b"y")
            assert live.recv(1) == b"y", "open connections stay open"
        assert running.process.wait(20) == 0


def test_healthz_fails_while_the_supervisor_is_stopped(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1, heartbeat="1m"), tmp_path) as running:
        assert get(running, "/healthz")[0] == 200
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            until(lambda: get(running, "/healthz") == (503, "the supervisor does not answer\n"))
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        # The worker requests a report again after its time-out.
        until(lambda: get(running, "/healthz")[0] == 200)


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot takes root")
def test_metrics_in_a_chroot_serve_all_that_was_loaded_at_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    jail = tmp_path / "jail"
    jail.mkdir()
    config = CONFIG.format(workers=1, heartbeat="5s").replace("daemon: {", f"daemon: {{chroot: {jail}, ")
    with daemon(config, tmp_path) as running:
        for path in ("/", "/page.js", "/metrics", "/status.json"):
            assert get(running, path)[0] == 200
        # A worker in a chroot cannot import the libraries after its start; the reload is rejected with the reason.
    without = "".join(line for line in config.splitlines(keepends=True) if "metrics" not in line)
    with daemon(without, tmp_path) as running:
        (tmp_path / "netd.yaml").write_text(config)
        done = running.netd("reload")
        assert done.returncode != 0
        assert "a netd in a chroot has to be started with it" in done.stderr


LOADED = """
import sys, netd.daemon.start
from netd.config import loader
loader.load(sys.argv[1])
print(*sorted({"http.server", "prometheus_client"} & sys.modules.keys()))
"""


def test_netd_without_metrics_does_not_import_their_libraries(tmp_path: Path) -> None:
    config = CONFIG.format(workers=1, heartbeat="5s")
    without = "".join(line for line in config.splitlines(keepends=True) if "metrics" not in line)
    for text, loaded in ((config, "http.server prometheus_client\n"), (without, "\n")):
        (tmp_path / "netd.yaml").write_text(text)
        command = [sys.executable, "-c", LOADED, str(tmp_path / "netd.yaml")]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == loaded
