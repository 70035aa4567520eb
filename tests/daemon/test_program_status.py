"""What status, connections, metrics and trace tell of programs: of connections, of listeners, of a worker that died."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from netd.telemetry.throttle import LONGEST_LINE
from tests.daemon.processes import workers
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes


def config(*command: str, listen: str = "tcp://127.0.0.1:0", metrics: bool = False, **options: Any) -> str:
    agent = {"type": "exec", "listen": [listen], "options": {"command": command, **options}}
    services = {"agent": agent} | ({"metrics": {"listen": ["tcp://127.0.0.1:0"]}} if metrics else {})
    return json.dumps({"daemon": {"workers": 1}, "services": services})


def shell(script: str, **options: Any) -> str:
    return config("/bin/sh", "-c", script, **options)


def agent(netd: Daemon) -> dict[str, Any]:
    """The service in the status."""
    [found] = [one for one in netd.ask("status")["services"] if one["service"] == "agent"]
    assert isinstance(found, dict)
    return found


def told(netd: Daemon, *words: str) -> str:
    return " ".join(netd.netd(*words).stdout.split())


def connect(netd: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", netd.port("agent")), 20)


def call(netd: Daemon, line: bytes) -> bytes:
    """Send a line, and read until the program closes the connection."""
    with connect(netd) as client:
        client.sendall(line)
        return read_all(client)


def ended(netd: Daemon, number: int) -> None:
    until(lambda: sum(agent(netd)["counters"]["programs_ended"].values()) == number)


def row_of_the_program(netd: Daemon) -> dict[str, Any]:
    """The connection, once the worker knows its program."""
    until(lambda: "pid" in netd.ask("connections")["connections"][0])
    [row] = netd.ask("connections")["connections"]
    assert isinstance(row, dict)
    return row


def test_service_is_failing_from_a_program_that_fails_to_one_that_does_not(tmp_path: Path) -> None:
    with daemon(shell("read code; echo; exit $code", metrics=True), tmp_path) as netd:
        assert (agent(netd)["failing"], agent(netd)["failed_at"]) == ("", None)
        call(netd, b"0\n")
        ended(netd, 1)
        call(netd, b"3\n")
        ended(netd, 2)
        status = netd.ask("status")
        assert agent(netd)["failing"] == "exit code 3"
        assert status["started"] <= agent(netd)["failed_at"] <= status["started"] + status["uptime_seconds"] + 1
        assert re.search(r"agent: failing: exit code 3, \d+s ago", told(netd, "status"))
        assert "failing exit code 3" in told(netd, "status", "agent")
        assert re.search(
            r"programs 2 started, 0 running programs ended 2: success 1, failure 1; \d\S*s",
            told(netd, "status", "agent"),
        )
        with socket.create_connection(("127.0.0.1", netd.port("metrics")), 20) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            metrics = read_all(client).decode()
        assert 'netd_programs_failing{service="agent"} 1.0' in metrics
        assert 'netd_programs_ended_total{how="failure",service="agent"} 1.0' in metrics
        call(netd, b"0\n")
        ended(netd, 3)
        assert (agent(netd)["failing"], agent(netd)["failed_at"] is None) == ("", False)


def test_program_that_netd_has_ended_is_no_failure(tmp_path: Path) -> None:
    with daemon(config("/bin/cat"), tmp_path) as netd, connect(netd) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        netd.netd("kick", "--service", "agent")
        ended(netd, 1)
        assert agent(netd)["counters"]["programs_ended"] == {"signal": 1}
        assert agent(netd)["failing"] == ""


def test_program_that_cannot_be_started_makes_the_service_fail(tmp_path: Path, open_path: Path) -> None:
    program = open_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with daemon(config(str(program)), tmp_path) as netd:
        program.unlink()
        assert call(netd, b"") == b""
        until(lambda: agent(netd)["failing"] == "it could not be started")
        assert agent(netd)["counters"]["programs_not_started"] == 1
        assert "0 started, 0 running, 1 could not be started" in told(netd, "status", "agent")


def test_connection_shows_its_program(tmp_path: Path) -> None:
    with daemon(config("/bin/cat"), tmp_path) as netd, connect(netd) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        row = row_of_the_program(netd)
        assert Path(f"/proc/{row['pid']}/comm").read_text() == "cat\n"
        assert row["handed_over"] is True
        assert row["memory_bytes"] > 0
        assert row["cpu_seconds"] < 1
        assert "AGE PID CPU MEMORY" in told(netd, "connections")


@pytest.mark.parametrize("relay", [True, False])
def test_trace_needs_a_relay(relay: bool, tmp_path: Path) -> None:
    with daemon(config("/bin/cat", relay=relay), tmp_path) as netd:
        answer = netd.ask("trace", "service=agent")
        if relay:
            assert answer["ok"]
        else:
            assert answer["error"] == (
                "'agent' gives its connections to programs, so netd sees none of the data; "
                "with 'relay: true' in its options it does"
            )


def test_program_of_a_worker_that_was_killed_is_counted_until_its_end(tmp_path: Path) -> None:
    with daemon(config("/bin/cat"), tmp_path) as netd, connect(netd) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        row_of_the_program(netd)
        [worker] = workers(netd)
        os.kill(worker, signal.SIGKILL)
        netd.event("worker_started")
        until(lambda: agent(netd)["connections"] == 1)
        [row] = netd.ask("connections")["connections"]
        assert row["memory_bytes"] > 0
        assert told(netd, "status", "agent").count("1 started, 1 running") == 1
        client.shutdown(socket.SHUT_WR)
        ended(netd, 1)
        found = agent(netd)
        assert (found["connections"], found["counters"]["programs_started"]) == (0, 1)
        assert found["counters"]["programs_duration_seconds"]["count"] == 1
        assert found["counters"]["connections_closed"] == {"lost": 1}


def test_program_with_the_listener_is_counted(tmp_path: Path) -> None:
    script = "head -c 1 >/dev/null; read answer </dev/null; sleep 1000 & wait"
    with daemon(shell(script, mode="listener", listen="udp://127.0.0.1:0"), tmp_path) as netd:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", netd.port("agent", "udp")))
        until(lambda: agent(netd)["connections"] == 1)
        [row] = netd.ask("connections")["connections"]
        assert (row["peer"], row["handed_over"]) == ("", True)
        netd.netd("kick", "--service", "agent")
        ended(netd, 1)
        counters = agent(netd)["counters"]
        assert (counters["connections_active"], counters["programs_started"]) == (0, 1)
        assert counters["programs_ended"] == {"signal": 1}
        assert counters["programs_duration_seconds"]["sum"] > 0
        assert agent(netd)["failing"] == ""


def test_program_with_the_listener_that_fails_again_and_again_makes_the_service_fail(tmp_path: Path) -> None:
    with daemon(shell("exit 7", mode="listener"), tmp_path) as netd, connect(netd):
        until(lambda: agent(netd)["counters"]["programs_ended"].get("failure", 0) > 1)
        assert agent(netd)["failing"] == "exit code 7"
        assert "agent: failing: exit code 7" in told(netd, "status")


def test_program_with_the_listener_that_cannot_be_started_makes_the_service_fail(
    tmp_path: Path, open_path: Path
) -> None:
    program = open_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with daemon(config(str(program), mode="listener"), tmp_path) as netd:
        program.unlink()
        with connect(netd):
            until(lambda: agent(netd)["failing"] == "it could not be started")
            assert agent(netd)["counters"]["programs_not_started"] >= 1


@pytest.mark.parametrize("script", ["yes >&2", "cat /dev/zero >&2", "while cat /bin/sh; do :; done >&2"])
def test_program_that_fills_standard_error_waits_and_can_be_ended(script: str, tmp_path: Path) -> None:
    with daemon(shell(f"echo; {script}"), tmp_path) as netd, connect(netd) as client:
        assert client.recv(1) == b"\n"
        event = netd.event("program_error")
        assert len(event["line"]) <= LONGEST_LINE
        assert event["pid"] == row_of_the_program(netd)["pid"]
        if script.startswith("yes"):
            assert netd.event("program_errors_skipped")["number"] > 1
            logged = [line for line in netd.lines if line["event"] == "program_error"]
            assert len(logged) < agent(netd)["counters"]["programs_error_lines"]
        netd.netd("kick", "--service", "agent")
        ended(netd, 1)
        assert client.recv(1) == b""
