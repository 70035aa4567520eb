"""Reloads of real daemons: services that did not change are not affected, and a rejected config changes nothing."""

import contextlib
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.daemon.clients import echoed, echoes, refused, talking
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.directories import open_directory
from tests.support.services import install_service
from tests.support.sockets import free_port, read_exactly
from tests.support.waiting import until


@pytest.mark.slow
@pytest.mark.parametrize("way", ["netd reload", "SIGHUP"])
def test_reload_changes_only_services_that_differ(tmp_path: Path, way: str) -> None:
    before = f"""
services:
  alone:    {{type: echo, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  removed:  {{type: echo, listen: [tcp://127.0.0.1:0]}}
  disabled: {{type: echo, listen: [tcp://127.0.0.1:0]}}
  changed:  {{type: pingpong, listen: [tcp://127.0.0.1:0]}}
  unix:     {{type: echo, listen: ["unix://{tmp_path}/s"]}}
"""
    after = f"""
services:
  alone:    {{type: echo, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  disabled: {{type: echo, enabled: false, listen: [tcp://127.0.0.1:0]}}
  changed:  {{type: pingpong, listen: [tcp://127.0.0.1:0], options: {{framing: chunk}}}}
  unix:     {{type: echo, listen: ["unix://{tmp_path}/s"]}}
  added:    {{type: upper, listen: [tcp://127.0.0.1:0]}}
"""
    with daemon(before, tmp_path) as running, contextlib.ExitStack() as stack:
        ports = {name: running.port(name) for name in ("alone", "removed", "disabled")}
        live = {name: stack.enter_context(talking(port)) for name, port in ports.items()}
        live["unix"] = stack.enter_context(talking(f"{tmp_path}/s"))
        changed = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("changed"))))
        changed.sendall(b"ping\n")
        assert read_exactly(changed, 5) == b"pong\n"
        # Datagrams that wait in the socket while the config changes.
        os.kill(running.worker, signal.SIGSTOP)
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(20)
        client.connect(("127.0.0.1", running.port("alone", "udp")))
        for number in range(50):
            client.send(b"%d" % number)
        write(tmp_path, after)
        reloaded = threading.Thread(target=reload_by, args=(way, running))
        reloaded.start()
        os.kill(running.worker, signal.SIGCONT)
        reloaded.join()
        applied = running.event("reload_applied")
        assert applied["changes"] == {
            "added": "added",
            "changed": "changed",
            "disabled": "disabled",
            "removed": "removed",
        }
        assert [client.recv(100) for _ in range(50)] == [b"%d" % number for number in range(50)]
        for connection in live.values():
            echoed(connection, b"after\n")
        changed.sendall(b"pi")
        assert refused(ports["removed"])
        assert refused(ports["disabled"])
        with talking(ports["alone"]), talking(f"{tmp_path}/s"):
            rows = running.ask("connections")["connections"]
            assert len(rows) == 7
            assert {row["id"].partition("-")[0] for row in rows} == {"0"}
        with socket.create_connection(("127.0.0.1", running.port("changed"))) as new:
            new.sendall(b"ping")
            assert read_exactly(new, 4) == b"pong", "a new connection gets the new options"
        changed.sendall(b"ng\n")
        assert read_exactly(changed, 5) == b"pong\n", "an open connection keeps the old ones"
        with socket.create_connection(("127.0.0.1", running.port("added"))) as new:
            new.sendall(b"x\n")
            assert read_exactly(new, 2) == b"X\n"
        assert [line for line in running.lines if line["event"] == "worker_started"][1:] == []


def reload_by(way: str, running: Daemon) -> None:
    if way == "SIGHUP":
        running.process.send_signal(signal.SIGHUP)
    else:
        done = running.netd("reload")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "generation 2 of the config is in force"), done


HEIR = """
from netd.values import Model

class Service:
    "Fails to take over."
    class Options(Model):
        number: int = 0
    def __init__(self, options, context): ...
    def take_over(self, before): raise SystemExit("nothing there")
    def stream(self, peer): yield b"served"
"""


@pytest.mark.slow
def test_service_that_fails_to_take_over_is_logged_by_its_name_and_serves(tmp_path: Path) -> None:
    path = install_service(tmp_path, "heir", HEIR)
    config = "services:\n  one: {{type: heir, listen: [tcp://127.0.0.1:0], options: {{number: {}}}}}\n"
    write(tmp_path, config.format(1))
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_started")
        write(tmp_path, config.format(2))
        assert running.ask("reload")["changes"] == [
            {"service": "one", "what": "changed", "details": ["options.number"]}
        ]
        failed = running.event("inherit_failed")
        assert (failed["service"], failed["level"]) == ("one", "error")
        assert "SystemExit" in failed["exception"]
        with socket.create_connection(("127.0.0.1", running.port("one")), 20) as connection:
            assert connection.recv(10) == b"served"
        assert running.ask("status")["services"][0]["failed"] == 1
        assert running.stop() == 0


@pytest.mark.slow
def test_package_is_found_by_a_reload_and_changed_code_is_reported(tmp_path: Path) -> None:
    with open_directory() as packages:
        packages.chmod(0o755)  # as that of installed packages: the worker, another user, finds them too
        _install_and_change(tmp_path, packages)


def _install_and_change(tmp_path: Path, packages: Path) -> None:
    source = "class Service:\n    def stream(self, peer): yield b'one'\n"
    write(tmp_path, "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=f"{packages}{os.pathsep}{os.getcwd()}") as running:
        running.event("netd_started")
        install_service(packages, "late", source)
        write(tmp_path, "services:\n  late: {listen: [tcp://127.0.0.1:0]}\n")
        assert running.ask("reload")["restart_needed"] == []
        running.event("reload_applied")
        with socket.create_connection(("127.0.0.1", running.port("late")), 20) as connection:
            assert connection.recv(10) == b"one"
        (packages / "netd_late.py").write_text(source.replace("one", "another"))
        done = running.netd("reload")
        assert (done.returncode, done.stdout) == (
            0,
            "code of service type 'late': changed; needs a restart\ngeneration 3 of the config is in force\n",
        )
        assert running.stop() == 0


@pytest.mark.slow
def test_service_that_is_disabled_has_its_drain_time(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0], limits: {drain: 300ms}}\n"
    with daemon(config, tmp_path) as running, talking(running.port("echo")) as live:
        assert running.netd("disable", "echo").returncode == 0
        assert live.recv(1) == b""
        assert running.event("connection_closed")["outcome"] == "stopped"


@pytest.mark.slow
def test_config_with_problems_changes_nothing_and_all_of_them_are_reported(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, talking(running.port("echo")) as live:
        write(tmp_path, "services:\n  ecoh: {listen: [tcp://127.0.0.1:0]}\n  time: {listen: [tpc://*:37]}\n")
        for command in ("reload", "diff"):
            done = running.netd(command)
            assert done.returncode == 78
            assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
                f"{tmp_path}/netd.yaml:2:3",
                f"{tmp_path}/netd.yaml:3:19",
            ]
        assert all(running.event("reload_rejected")["problem"] for _ in range(2))
        running.process.send_signal(signal.SIGHUP)
        assert running.event("reload_rejected")["by"] == "SIGHUP"
        echoed(live, b"still\n")
        with talking(running.port("echo")):
            assert running.ask("status")["generation"] == 1

        # Status shows it until a config is in force; enabling or disabling a service does not clear it.
        assert running.netd("disable", "echo").returncode == 0
        assert [line for line in running.netd("status").stdout.splitlines() if line.startswith("reload rejected ")]
        write(tmp_path, config)
        assert running.netd("reload").returncode == 0
        shown = running.netd("status").stdout
        assert f"config {tmp_path}/netd.yaml, generation 2" in shown
        assert "rejected" not in shown


@pytest.mark.slow
def test_port_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, socket.socket() as holder, talking(running.port("echo")) as live:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        other = free_port()
        taken = holder.getsockname()[1]
        write(tmp_path, f"services:\n  upper: {{listen: [tcp://127.0.0.1:{other}, tcp://127.0.0.1:{taken}]}}\n")
        done = running.netd("reload")
        assert done.returncode == 71
        problem = f"services.upper.listen[1]: cannot listen on tcp://127.0.0.1:{taken}: Address already in use"
        assert re.match(rf"{tmp_path}/netd.yaml:\d+:\d+: {re.escape(problem)}", done.stderr)
        assert refused(other)
        echoed(live, b"still\n")
        with talking(running.port("echo")):
            pass


@pytest.mark.slow
def test_config_that_one_worker_cannot_serve_is_rejected(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the worker may read less than the supervisor")
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        quotes = tmp_path / "quotes"
        quotes.write_text("a quote\n")
        quotes.chmod(0o600)
        other = free_port()
        write(
            tmp_path,
            f"services:\n  qotd: {{listen: [tcp://127.0.0.1:{other}], options: {{file: {quotes}}}}}\n",
        )
        done = running.netd("reload")
        assert done.returncode == 71
        assert "worker (user nobody): services.qotd: " in done.stderr
        assert "Permission denied" in done.stderr
        assert refused(other)
        with talking(running.port("echo")):
            assert running.ask("status")["generation"] == 1


@pytest.mark.slow
def test_number_of_workers_changes_and_live_connections_stay(tmp_path: Path) -> None:
    config = "daemon: {{workers: {}}}\nservices:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n"
    with daemon(config.format(3), tmp_path) as running, contextlib.ExitStack() as stack:
        live = [stack.enter_context(talking(running.port("echo"))) for _ in range(30)]
        for number in (1, 2, 1, 3):
            write(tmp_path, config.format(number))
            assert running.netd("reload").returncode == 0
            serving = [worker for worker in running.ask("status")["workers"] if not worker["leaving"]]
            assert len(serving) == number
            assert running.ask("connections")["total"] == 30, "including those of draining workers"
            for connection in live:
                echoed(connection, b"still\n")
        assert running.ask("status")["services"][0]["connections"] == 30
        stack.close()
        until(lambda: running.ask("status")["services"][0]["connections"] == 0)


@pytest.mark.slow
def test_log_connections_changes_with_a_reload(tmp_path: Path) -> None:
    services = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"

    def connect(running: Daemon, number: int) -> None:
        before = running.ask("status")["services"][0]["counters"]["connections_closed"].get("done", 0)
        for _ in range(number):
            with socket.create_connection(("127.0.0.1", running.port("echo")), 20) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
        until(
            lambda: (
                running.ask("status")["services"][0]["counters"]["connections_closed"].get("done") == before + number
            )
        )

    with daemon("log: {connections: off}\n" + services, tmp_path) as running:
        connect(running, 6)
        for access in ("all", "sample 3", "off"):
            (tmp_path / "netd.yaml").write_text(f"log: {{connections: {access}}}\n{services}")
            assert running.ask("reload")["settings"][0].endswith(f"-> {access}")
            connect(running, 6)
    assert sum(line["event"] == "connection_closed" for line in running.lines) == 6 + 2


@pytest.mark.slow
def test_connection_log_of_a_service_overrides_that_of_all_and_changes_with_a_reload(tmp_path: Path) -> None:
    config = """
log: {{connections: {}}}
services:
  echo: {{listen: [tcp://127.0.0.1:0]}}
  noisy: {{type: echo, listen: [tcp://127.0.0.1:0], log_connections: {}}}
  metrics: {{listen: [tcp://127.0.0.1:0]}}
"""

    def connect(running: Daemon) -> None:
        def closed() -> list[int]:
            services = running.ask("status")["services"]
            return [sum(one["counters"].get("connections_closed", {}).values()) for one in services]

        before = closed()
        for name in ("echo", "noisy", "metrics"):
            with socket.create_connection(("127.0.0.1", running.port(name)), 20) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert connection.recv(1)

        until(lambda: closed() == [number + 1 for number in before])

    with daemon(config.format("all", "off"), tmp_path) as running:
        connect(running)
        (tmp_path / "netd.yaml").write_text(config.format("off", "all"))
        answer = running.ask("reload")
        assert [change["service"] for change in answer["changes"]] == ["noisy"]
        assert answer["settings"] == ["log.connections: all -> off"]
        connect(running)
        (tmp_path / "netd.yaml").write_text(config.format("off", "sample 2"))
        assert running.netd("diff").stdout.splitlines() == ["noisy: changed", "    log_connections: all -> sample 2"]
    closed = [line["service"] for line in running.lines if line["event"] == "connection_closed"]
    assert closed == ["echo", "noisy"]


@pytest.mark.slow
def test_log_reports_a_renamed_key_once_per_load(tmp_path: Path) -> None:
    def notices(running: Daemon) -> list[str]:
        return [line["notice"] for line in running.lines if line["event"] == "config_notice_issued"]

    services = "services: {echo: {listen: ['tcp://127.0.0.1:0']}}\n"
    file = tmp_path / "netd.yaml"
    with daemon("daemon: {workers: 2, beat: 1s}\n" + services, tmp_path) as running:
        expected = [f"{file}:1:22: daemon.beat: deprecated key, renamed to daemon.heartbeat"]
        assert notices(running) == expected
        file.write_text("daemon: {beat: 2s, workers: 2}\n" + services)
        assert "daemon.heartbeat: 1s -> 2s\n" in running.netd("diff").stdout
        assert "daemon.heartbeat: 1s -> 2s\n" in running.netd("reload").stdout
        running.event("reload_applied")
        expected += [f"{file}:1:10: daemon.beat: deprecated key, renamed to daemon.heartbeat"]
        assert notices(running) == expected
        file.write_text("daemon: {heartbeat: 2s, workers: 2}\n" + services)
        assert running.netd("diff").stdout == "nothing would change\n"
        assert running.netd("reload").stdout == "generation 3 of the config is in force\n"
        running.event("reload_applied")
        assert notices(running) == expected


@pytest.mark.slow
def test_new_rules_apply_to_new_connections_and_a_new_port_is_guarded_at_once(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(20)
        port = probe.getsockname()[1]
        echo = ("127.0.0.1", running.port("echo", "udp"))
        probe.sendto(b"x", echo)
        assert probe.recv(1) == b"x"
        with socket.create_connection(("127.0.0.1", running.port("echo")), 20) as old:
            old.sendall(b"x")
            assert old.recv(1) == b"x"
            # The port of the probe, on another address, becomes one of our own.
            more = f"  more: {{type: echo, listen: ['udp://127.0.0.2:{port}']}}\n"
            (tmp_path / "netd.yaml").write_text(config.replace("[tcp", "[tcp") + more)
            assert running.ask("reload")["changes"] == [{"service": "more", "what": "added", "details": []}]
            probe.sendto(b"x", echo)
            until(lambda: running.ask("status")["services"][0]["counters"]["datagrams_dropped"] == {"source_port": 1})
            denied = config.replace("]}", "], access: {deny: [127.0.0.1]}}")
            (tmp_path / "netd.yaml").write_text(denied)
            done = running.netd("diff")
            assert "    access.deny: [] -> [127.0.0.1]\n" in done.stdout
            assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {
                "echo": "changed",
                "more": "removed",
            }
            old.sendall(b"y")
            assert old.recv(1) == b"y"
        assert not echoes(running.port("echo"))
        assert echoes(running.port("echo"), "127.0.0.2")
