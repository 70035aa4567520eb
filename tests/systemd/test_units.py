"""netd under a real systemd, with the shipped units."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import faults_of_units, started
from tests.support.waiting import until
from tests.systemd.conftest import ROOT, Lab
from tests.systemd.load import Load

# Not for fixtures: the first run makes a tree, which takes half a minute, and much longer on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180, func_only=True)]

ECHO = "services:\n  echo: {listen: [tcp://*:7, udp://*:7, 'unix:///run/netd/echo.sock']}\n"

ASK = """
import socket
for url in {places!r}:
    family, kind, place = url
    s = socket.socket(getattr(socket, family), getattr(socket, kind))
    s.settimeout(20)
    s.connect(place)
    s.send(b"hello")
    print(s.recv(100).decode(), end=" ")
"""
EVERYWHERE = [
    ("AF_INET", "SOCK_STREAM", ("127.0.0.1", 7)),
    ("AF_INET6", "SOCK_STREAM", ("::1", 7)),
    ("AF_INET", "SOCK_DGRAM", ("127.0.0.1", 7)),
    ("AF_UNIX", "SOCK_STREAM", "/run/netd/echo.sock"),
]


def test_started_unit_listens_on_port_7_as_an_unprivileged_user(lab: Lab) -> None:
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    assert lab.python(ASK.format(places=EVERYWHERE)) == "hello hello hello hello"
    assert lab.show("StatusText").startswith("1 service, ")
    pid = lab.show("MainPID")
    for line in lab.run("ps", "-o", "uid=,pid=", "-C", "netd").splitlines():
        assert int(line.split()[0]) >= 61184, "DynamicUser= begins there (systemd.exec(5))"
    assert re.search(r"CapEff:\s+0000000000000400$", lab.run("cat", f"/proc/{pid}/status"), re.MULTILINE)
    worker = json.loads(lab.netd("status", "--json"))["workers"][0]["pid"]
    scores = [lab.run("cat", f"/proc/{process}/oom_score_adj").strip() for process in (pid, worker)]
    assert (scores, lab.show("OOMPolicy")) == (["0", "500"], "continue")
    ready = lab.wait_for("netd_started")
    assert (ready["journal"]["_SYSTEMD_UNIT"], ready["journal"]["_PID"]) == ("netd.service", pid)
    assert "pid" in json.loads(lab.netd("status", "--json"))


def test_watchdog_does_not_end_a_netd_that_reloads_continuously(lab: Lab) -> None:
    lab.config(ECHO)
    lab.drop_in("[Service]\nWatchdogSec=3\n")
    lab.run("systemctl", "start", "netd")
    pid = lab.show("MainPID")
    until_then = time.monotonic() + 9
    reloads = 0
    while time.monotonic() < until_then or reloads < 10:  # more frequent than heartbeats, but on a slow machine
        lab.run("systemctl", "reload", "netd")
        reloads += 1
    assert (lab.show("MainPID"), lab.show("NRestarts"), lab.show("ActiveState")) == (pid, "0", "active")


def test_journal_has_the_fields_of_events(lab: Lab) -> None:
    lab.config(ECHO.replace("services:\n", "services:\n  upper: {listen: [tcp://127.0.0.1:70]}\n"))
    lab.run("systemctl", "start", "netd")
    lab.python(
        "import socket\nfor port in (7, 7, 70):\n"
        "    with socket.create_connection(('127.0.0.1', port)) as one:\n        one.sendall(b'x'); one.recv(1)"
    )
    until(lambda: len(lab.events("connection_closed")) == 3)

    this = f"_SYSTEMD_INVOCATION_ID={lab.show('InvocationID')}"

    def select(*matches: str) -> list[dict[str, Any]]:
        text = lab.run("journalctl", "-o", "json", "--no-pager", this, *matches)
        return [json.loads(line) for line in text.splitlines()]

    until(lambda: len(select("NETD_SERVICE=echo", "NETD_EVENT=connection_closed")) == 2)
    closed = select("NETD_SERVICE=echo", "NETD_EVENT=connection_closed")
    assert len(select("NETD_SERVICE=upper", "NETD_EVENT=connection_closed")) == 1
    assert {entry["PRIORITY"] for entry in closed} == {"6"}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in closed} == {"netd"}
    assert {entry["_SYSTEMD_UNIT"] for entry in closed} == {"netd.service"}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", closed[0]["NETD_PEER"])
    assert closed[0]["MESSAGE"].startswith("connection_closed service=echo peer=127.0.0.1:")
    assert select("NETD_EVENT=netd_started")[0]["MESSAGE"] == "netd_started services=2 sockets=4"
    # The supervisor and its workers have their own pids, and events below the level are not logged.
    assert closed[0]["_PID"] != select("NETD_EVENT=netd_started")[0]["_PID"]
    assert select("PRIORITY=7", "SYSLOG_IDENTIFIER=netd") == []


def test_address_that_cannot_be_bound_fails_the_start(lab: Lab) -> None:
    lab.config("services:\n  echo: {listen: [tcp://192.0.2.1:7]}\n")
    lab.drop_in("[Service]\nRestart=no\n")
    lab.run("systemctl", "start", "netd", code=1)
    assert "cannot listen on tcp://192.0.2.1:7" in lab.run("journalctl", "-u", "netd", "-n", "20", "--no-pager")


def test_netd_with_problems_in_its_config_is_not_restarted(lab: Lab) -> None:
    lab.config("services:\n  ecoh: {listen: [tcp://*:7]}\n")
    lab.run("systemctl", "start", "netd", code=1)
    assert (lab.show("ExecMainStatus"), lab.show("ActiveState")) == ("78", "failed")


def test_reload_opens_a_privileged_port_and_a_reload_with_problems_changes_nothing(lab: Lab) -> None:
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    lab.config(ECHO + "  time: {listen: [tcp://*:37], options: {encoding: rfc868}}\n")
    lab.run("systemctl", "reload", "netd")
    assert lab.python("import socket; print(len(socket.create_connection(('127.0.0.1', 37)).recv(9)))") == "4"
    lab.config(ECHO + "  tiem: {listen: [tcp://*:38]}\n")
    lab.run("systemctl", "reload", "netd", code=1)
    assert "did you mean 'time'?" in lab.wait_for("reload_rejected")["problem"]
    assert lab.show("ActiveState") == "active"
    assert lab.python("import socket; print(len(socket.create_connection(('127.0.0.1', 37)).recv(9)))") == "4"


def test_reload_of_a_notify_reload_unit_is_reported(lab: Lab) -> None:
    if lab.suite == "host":
        pytest.skip("systemd 252 has no Type=notify-reload")
    lab.config(ECHO)
    lab.drop_in((ROOT / "systemd/netd.service.d/notify-reload.conf").read_text())
    lab.run("systemctl", "start", "netd")
    lab.config(ECHO + "  upper: {listen: [tcp://*:70]}\n")
    lab.run("systemctl", "reload", "netd")
    assert lab.events("reload_applied")[0]["by"] == "SIGHUP"
    lab.config("services: nonsense\n")
    lab.run("systemctl", "reload", "netd")
    assert lab.events("reload_rejected")
    assert lab.show("ActiveState") == "active"


def test_restart_under_load_refuses_no_connection_and_loses_no_datagram(lab: Lab) -> None:
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    first = lab.show("MainPID")
    with Load(lab) as load:
        for _ in range(3):
            lab.run("systemctl", "restart", "netd")
    assert load.result == "none failed True 0"
    assert lab.show("MainPID") != first
    # Datagrams wait in the socket while no process reads it.
    lab.run("systemctl", "kill", "-s", "STOP", "netd")
    lab.python(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5555))\n"
        "for n in range(10): s.sendto(b'%d' % n, ('127.0.0.1', 7))"
    )
    lab.run("systemctl", "kill", "-s", "KILL", "netd")
    until(lambda: lab.show("ActiveState") == "active" and lab.show("MainPID") != "0", 30)
    until(
        lambda: (
            "datagrams_received"
            in json.loads(lab.netd("status", "--json", code=None) or "{}").get("services", [{}])[0].get("counters", {})
        )
    )
    [service] = json.loads(lab.netd("status", "--json"))["services"]
    assert service["counters"]["datagrams_received"] == 10
    assert lab.python(ASK.format(places=EVERYWHERE)) == "hello hello hello hello"


def _workers(lab: Lab) -> list[int]:
    return [worker["pid"] for worker in json.loads(lab.netd("status", "--json"))["workers"]]


def _wait_for_another(lab: Lab, worker: int) -> None:
    until(lambda: _workers(lab) not in ([], [worker]))


def test_kill_9_of_a_worker_and_of_the_supervisor_under_load_refuses_no_connection(lab: Lab) -> None:
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    with Load(lab) as load:
        for _ in range(3):
            [worker] = _workers(lab)
            lab.run("kill", "-9", str(worker))
            _wait_for_another(lab, worker)
        pid = lab.show("MainPID")
        lab.run("kill", "-9", pid)
        until(lambda: lab.show("MainPID") not in (pid, "0") and lab.show("ActiveState") == "active", 30)
    assert load.result.startswith("none failed True")
    assert len(lab.events("worker_lost")) == 3
    assert lab.python(ASK.format(places=EVERYWHERE)) == "hello hello hello hello"


def test_worker_with_a_loop_that_hangs_is_replaced_and_its_stack_is_logged(lab: Lab) -> None:
    lab.write(
        "/usr/local/lib/netd/netd_stuck.py",
        "class Stuck:\n    'Never comes back.'\n"
        "    def stream(self, peer):\n        yield b'x'\n        while True: pass\n",
    )
    info = "/usr/local/lib/netd/netd_stuck-1.0.dist-info"
    lab.write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: netd-stuck\nVersion: 1.0\n")
    lab.write(f"{info}/entry_points.txt", "[netd.services]\nstuck = netd_stuck:Stuck\n")
    lab.config("daemon: {heartbeat: 500ms}\n" + ECHO + "  stuck: {listen: [tcp://*:9]}\n")
    lab.run("systemctl", "start", "netd")
    pid = lab.show("MainPID")
    lab.python("import socket; print(socket.create_connection(('127.0.0.1', 9)).recv(9))")
    lost = lab.wait_for("worker_lost")
    assert lost["reason"] == "signal SIGABRT"
    assert 'netd_stuck.py", line 5 in stream' in lost["stack"]
    assert lab.python(ASK.format(places=EVERYWHERE)) == "hello hello hello hello"
    assert (lab.show("MainPID"), lab.show("NRestarts")) == (pid, "0")


def test_supervisor_that_hangs_is_restarted_by_the_watchdog(lab: Lab) -> None:
    lab.config(ECHO)
    lab.drop_in("[Service]\nWatchdogSec=2\nTimeoutStopSec=2\n")
    lab.run("systemctl", "start", "netd")
    pid = lab.show("MainPID")
    # It runs for twice WatchdogSec=, so it has sent WATCHDOG=1.
    lab.run("sleep", "4")
    assert lab.show("MainPID") == pid
    lab.run("kill", "-STOP", pid)
    until(lambda: lab.show("NRestarts") == "1" and lab.show("ActiveState") == "active", 30)
    assert lab.python(ASK.format(places=EVERYWHERE)) == "hello hello hello hello"


def test_socket_activation_starts_netd_and_keeps_the_sockets(lab: Lab) -> None:
    lab.config("services:\n  echo: {listen: [systemd://echo]}\n")
    lab.run("systemctl", "start", "netd.socket")
    assert lab.show("ActiveState") == "inactive"
    places = [*EVERYWHERE[:3], ("AF_UNIX", "SOCK_STREAM", "/run/netd-echo.sock")]
    assert lab.python(ASK.format(places=places)) == "hello hello hello hello"
    assert lab.show("ActiveState") == "active"
    with Load(lab) as load:
        for _ in range(3):
            lab.run("systemctl", "restart", "netd")
    assert load.result == "none failed True 0"
    lab.config("services:\n  time: {listen: [tcp://*:37]}\n")
    lab.run("systemctl", "reload", "netd")
    lab.run("systemctl", "restart", "netd")
    assert {line["name"] for line in lab.events("socket_unclaimed")} == {"echo"}
    lab.config("services:\n  time: {listen: [systemd://tiem]}\n")
    lab.run("systemctl", "reload", "netd", code=1)
    assert "passed no socket named 'tiem'" in lab.events("reload_rejected")[-1]["problem"]


def test_stop_closes_conversations_after_the_drain_time(lab: Lab) -> None:
    lab.config("daemon: {drain: 1s, heartbeat: 200ms}\n" + ECHO)
    lab.run("systemctl", "start", "netd")
    nc = ("nsenter", "-t", lab.root.parts[2], "-n", "nc", "127.0.0.1", "7")
    with started(*nc, stdin=subprocess.PIPE, text=True) as held:
        assert held.stdin
        held.stdin.write("hello\n")
        held.stdin.flush()
        until(lambda: json.loads(lab.netd("connections", "--json"))["connections"])
        until(lambda: json.loads(lab.netd("connections", "--json"))["connections"][0]["sent_bytes"] == 6)
        until(lambda: lab.show("StatusText") == "1 service, 1 connection, 1 worker, config 1")
        lab.run("systemctl", "stop", "netd")
        # The journal may be delayed.
        assert lab.wait_for("connection_closed")["outcome"] == "stopped"
        assert lab.wait_for("netd_stopped")
        assert lab.show("Result") == "success"
        held.communicate(timeout=20)


def test_metrics_service_has_its_threads_and_files_under_the_unit(lab: Lab) -> None:
    lab.config("services:\n  metrics: {listen: [tcp://127.0.0.1:7090]}\n")
    lab.run("systemctl", "start", "netd")
    fetch = "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:7090%s', timeout=20).read())"
    for path, words in (
        ("/", "<title>netd"),
        ("/healthz", "healthy"),
        ("/metrics", "netd_daemon_healthy 1.0"),
        ("/status.json", '"service": "metrics"'),
    ):
        assert words in lab.python(fetch % path)


def test_instance_serves_the_config_of_its_name(lab: Lab) -> None:
    lab.config("services:\n  upper: {listen: [tcp://*:7]}\n", "lab")
    lab.run("systemctl", "start", "netd@lab")
    lab.run("systemctl", "reload", "netd@lab")
    status = json.loads(lab.netd("status", "--json", "--control", "/run/netd-lab/control.sock"))
    assert (status["config"], status["generation"]) == ("/etc/netd/lab.yaml", 2)
    assert json.loads(lab.netd("status", "--json", "-c", "/etc/netd/lab.yaml"))["pid"] == status["pid"]


def test_sysv_daemon_with_the_user_and_directory_of_the_package(lab: Lab) -> None:
    for kind in ("sysusers", "tmpfiles"):
        lab.write(f"/etc/{kind}.d/netd.conf", (ROOT / "systemd" / f"{kind}.d" / "netd.conf").read_text())
    assert lab.run("systemd-sysusers", "/etc/sysusers.d/netd.conf")
    lab.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/netd.conf")
    lab.config("log: {file: /var/log/netd.log}\nservices:\n  echo: {listen: [tcp://*:7]}\n")
    lab.netd("run", "--daemon")
    try:
        assert lab.python(ASK.format(places=EVERYWHERE[:2])) == "hello hello"
        [worker] = _workers(lab)
        assert lab.run("ps", "-o", "user=,group=", "-p", str(worker)).split() == ["netd", "netd"]
        assert lab.run("cat", "/run/netd/netd.pid") == f"{json.loads(lab.netd('status', '--json'))['pid']}\n"
        assert '"netd_started"' in lab.run("cat", "/var/log/netd.log")
    finally:
        lab.netd("stop")


def _shipped(directory: Path) -> list[Path]:
    files = []
    for file in (ROOT / "systemd").glob("netd*.*"):
        if file.is_file():
            text = file.read_text().replace("@PREFIX@/bin/netd", "/bin/true").replace("@SYSCONFDIR@", "/etc")
            files.append(directory / file.name.removesuffix(".in").replace("@.", "@lab."))
            files[-1].write_text(text)
    return files


def test_units_have_no_fault_and_a_low_exposure_for_systemd_analyze(tmp_path: Path) -> None:
    files = _shipped(tmp_path)
    assert {file.name for file in files} == {"netd.service", "netd@lab.service", "netd.socket"}
    assert faults_of_units(*files) == ""
    for file in files:
        if file.suffix == ".service":
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", "--threshold=13", file],
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-200:]


def test_fault_in_a_unit_is_found(tmp_path: Path) -> None:
    for file in _shipped(tmp_path):
        text = file.read_text()
        for line, fault in (
            ("\nKillMode=", "\nKilMode="),
            ("\nListenStream=", "\nListenStraem="),
            ("/bin/", "/proc/none/"),
        ):
            if line in text:
                file.write_text(text.replace(line, fault, 1))
                assert file.name in faults_of_units(file), fault


def test_instance_is_confined_like_the_service() -> None:
    one, other = (
        [line for line in (ROOT / "systemd" / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in ("netd.service.in", "netd@.service.in")
    )
    own = ("Description", "Documentation", "ExecStart", "ExecReload", "RuntimeDirectory=")
    assert [line for line in one if not line.startswith(own)] == [line for line in other if not line.startswith(own)]
