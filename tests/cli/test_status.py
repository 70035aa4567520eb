"""`netd status`: the request, the table of services, and the description of one."""

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from netd.admission.limits import Limits
from netd.cli.columns import daemon_lines
from netd.shared.table import Counts
from netd.telemetry.counters import published
from tests.cli.commands import run_with_answer
from tests.cli.top.answers import answer, service
from tests.daemon.clients import talking
from tests.support.daemon import daemon
from tests.support.waiting import until
from tests.terminal import Terminal


def test_each_further_endpoint_has_its_own_row(place: Path) -> None:
    given = answer(
        service("echo", endpoints=["tcp://127.0.0.1/a", "udp://127.0.0.1/a"], requests=12),
        service("off", endpoints=[], enabled=False, why="by the config"),
    )
    code, output, request = run_with_answer(place, given, "status", "--all")
    assert (code, request) == (0, "status")
    first, _, blank, *rows = output.splitlines()
    assert first.startswith("netd 0.1.0, pid 1, ")
    assert blank == ""
    assert [row.split() for row in rows] == [
        ["SERVICE", "ENDPOINT", "OPEN", "REQUESTS", "REFUSED", "DROPPED", "FAILED", "STATE"],
        ["echo", "tcp://127.0.0.1/a", "0", "12", "0", "0", "0", "on"],
        ["udp://127.0.0.1/a"],
        ["off", "-", "0", "0", "0", "0", "0", "off"],
        [],
        ["off", "(by", "the", "config):", "off"],
    ]
    assert json.loads(run_with_answer(place, given, "status", "--json")[1]) == given


def test_services_that_are_off_are_a_line_for_each_reason(place: Path) -> None:
    off = {"enabled": False, "why": "by the config"}
    disabled = {"enabled": False, "why": "by netd disable, until the next reload"}
    given = answer(service("a", **off), service("echo"), service("b", **disabled), service("c", **off))
    assert run_with_answer(place, given, "status")[1].splitlines()[-3:] == [
        "",
        "off (by the config): a, c",
        "off (by netd disable, until the next reload): b",
    ]
    enabled = answer(service("a", why="by netd enable, until the next reload"), service("b", **off))
    for words in (("status",), ("status", "--all")):
        assert run_with_answer(place, enabled, *words)[1].splitlines()[-2:] == [
            "on (by netd enable, until the next reload): a",
            "off (by the config): b",
        ]
    assert "no service is on" in run_with_answer(place, answer(service("a", **off)), "status")[1]


def test_reasons_of_refusals_and_drops_follow_the_table(place: Path) -> None:
    counters = {"connections_refused": {"access": 8, "rate": 60}, "datagrams_dropped": {"kernel": 2}}
    output = run_with_answer(place, answer(service("echo", refused=68, counters=counters), service("a")), "status")[1]
    assert output.endswith("\n\necho: refused: rate 60, access 8; dropped: kernel 2\n")


def test_description_of_a_service_has_its_reasons_and_limits(place: Path) -> None:
    counters = {
        "connections_accepted": 7,
        "connections_closed": {"done": 3, "reset": 1},
        "connections_refused": {"access": 8, "rate": 60},
        "connections_duration_seconds": {"count": 4, "sum": 360.0, "buckets": {}},
        "received_bytes": 500,
        "own": {"members": 2},
    }
    limits = {
        "connections": 64,
        "rate": "50/s burst 100",
        "exempt": ["local"],
        "idle": "5m",
        "bytes": 2**20,
        "line": 4100,
    }
    given = answer(service("echo", connections=3, requests=9, counters=counters, limits=limits))
    code, output, request = run_with_answer(place, given, "status", "echo")
    assert (code, request) == (0, "status service=echo")
    assert [line.split("  ", 1)[0] + ": " + line.split("  ")[-1].strip() for line in output.splitlines()] == [
        "echo: on",
        "sockets: tcp://127.0.0.1/echo",
        "connections: 3 open, 7 accepted",
        "without an octet: 0",
        "ended: 4: done 3, reset 1; 1m30s on average",
        "requests: 9",
        "octets: 500 received, 0 sent",
        "datagrams: 0 received, 0 answered",
        "refused: 68: rate 60, access 8",
        "dropped: 0",
        "failed: 0",
        "loops: 0",
        "members: 2",
        "limits.connections: 64",
        "limits.rate: 50/s burst 100",
        "limits.exempt: local",
        "limits.idle: 5m",
        "limits.bytes: 1MiB",
        "limits.line: 4100",
    ]


def test_service_that_is_failing_has_the_state_the_reason_and_the_time(place: Path) -> None:
    failing = service("agent", failing="signal SIGSEGV", failed_at=990.0)
    given = answer(failing, service("echo", failing="", failed_at=900.0), started=1000.0)
    output = run_with_answer(place, given, "status")[1]
    assert [line.split()[-1] for line in output.splitlines() if "tcp://" in line] == ["failing", "on"]
    assert output.endswith("\n\nagent: failing: signal SIGSEGV, 11s ago\n")
    long = answer(service("agent", failing="\x1b[2J" + "x" * 10_000, failed_at=None))
    assert len(run_with_answer(place, long, "status")[1]) < 500


def test_programs_of_a_service_are_described(place: Path) -> None:
    own = Counter({"programs_started": 12, "programs_not_started": 1, "programs_cpu_us": 1_234_567})
    own |= Counter({"programs_ended.success": 9, "programs_ended.signal": 1, "programs_error_lines": 7})
    own |= Counter({"programs_duration_us": 20_000_000, "programs_durations.10": 10})
    counters = published(Counts(own=own), programs=True)
    failing = {"failing": "exit code 3", "failed_at": 1.0}
    given = answer(service("agent", type="exec", counters=counters, limits={}, **failing), started=1.0)
    output = run_with_answer(place, given, "status", "agent")[1]
    lines = [line.split("  ", 1)[0] + ": " + line.split("  ")[-1].strip() for line in output.splitlines()]
    assert lines[:2] == ["agent: on, type exec", "failing: exit code 3, 1s ago"]
    assert lines[-4:] == [
        "programs: 12 started, 2 running, 1 could not be started",
        "programs ended: 10: success 9, signal 1; 2s on average",
        "processor time: 1.235s, of programs that have ended",
        "lines of errors: 7",
    ]


def test_certificates_of_a_service_are_described(place: Path) -> None:
    files = {"/tls/a.pem": time.time() + 9.5 * 86400, "/tls/b.pem": 0.0}
    certificates = [{"file": file, "names": ["a"], "expires": when} for file, when in files.items()]
    counters = published(Counts(handshakes=5, handshakes_resumed=2, handshakes_failed=Counter(plain_text=1)))
    given = answer(service("web", counters=counters, limits={}, certificates=certificates))
    output = run_with_answer(place, given, "status", "web")[1]
    lines = [re.split("  +", line.strip()) for line in output.splitlines()[-4:]]
    ends = datetime.fromtimestamp(files["/tls/a.pem"], UTC)
    assert lines == [
        ["TLS handshakes", "5, 2 of them resumed"],
        ["failed handshakes", "1: plain_text 1"],
        ["certificate", f"/tls/a.pem expires on {ends:%Y-%m-%d}, in 9 days"],
        ["certificate", "/tls/b.pem has expired on 1970-01-01"],
    ]


def test_handshakes_with_targets_are_described_where_there_are_such_targets(place: Path) -> None:
    own = Counter({"forward_connects": 4, "forward_tls_handshakes": 3, "forward_tls_handshakes_resumed": 2})
    counters = published(Counts(own=own), forwards=True)
    state = {"state": "up", "connections": 0, "connections_served": 0, "failures": 0, "since": None, "why": ""}
    for scheme, told in (("tcp", []), ("tls", [["handshakes with targets", "3, 2 of them resumed"]])):
        targets = [{"target": f"{scheme}://192.0.2.7:443", **state}]
        given = answer(service("web", counters=counters, limits={}, targets=targets))
        output = run_with_answer(place, given, "status", "web")[1]
        lines = [re.split("  +", line.strip()) for line in output.splitlines()]
        assert [line for line in lines if line[0].startswith("handshakes")] == told


def test_limits_of_a_service_are_described_as_in_the_config(place: Path) -> None:
    limits = Limits.model_validate({"bytes": "1MiB", "line": "8KiB", "datagram": "1KiB", "idle": "90s"})
    given = answer(service("echo", limits=limits.model_dump(mode="json")))
    lines = run_with_answer(place, given, "status", "echo")[1].splitlines()
    described = dict(line.removeprefix("limits.").split(maxsplit=1) for line in lines if line.startswith("limits."))
    assert described == {
        name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in limits.written().items()
    }


@pytest.mark.slow
def test_silent_worker_and_rejected_reload_are_shown(tmp_path: Path) -> None:
    with daemon(
        "daemon: {workers: 1, heartbeat: 1s}\nservices: {echo: {listen: ['tcp://127.0.0.1:0']}}\n", tmp_path
    ) as running:
        assert len(running.netd("status").stdout.partition("\n\n")[0].splitlines()) == 2
        (tmp_path / "netd.yaml").write_text("bogus: 1\n")
        assert running.netd("reload").returncode == 78
        rejected = f"reload rejected [0-9]+s ago: {re.escape(str(tmp_path))}/netd.yaml:1:1: bogus: .*"
        assert re.fullmatch(rejected, running.netd("status").stdout.splitlines()[2])
        worker = running.worker
        os.kill(worker, signal.SIGSTOP)
        silent = f"NOT HEALTHY: worker 0 \\(pid {worker}\\) silent for [0-9]+s"
        until(lambda: re.fullmatch(silent, daemon_lines(running.ask("status"))[-2]))
        running.event("worker_started")
        assert ", 1 worker lost, the last " in running.netd("status").stdout


@pytest.mark.slow
def test_tables_fit_a_terminal_and_are_whole_in_a_pipe(place: Path, tmp_path: Path) -> None:
    path = place / ("a" * (85 - len(str(place)))) / "echo.sock"
    path.parent.mkdir()
    config = f"""services:
  a-service-with-a-long-name: {{type: echo, listen: [tcp://127.0.0.1:0, 'unix://{path}']}}
  echo: {{listen: [tcp://127.0.0.1:0]}}
  upper: {{enabled: false, listen: [tcp://127.0.0.1:0]}}
"""
    with daemon(config, tmp_path) as running, talking(str(path)):
        running.ask("ban", "add", "2001:db8:1234:5678::/64", "1h")
        environment = {**os.environ, "TERM": "xterm", "NETD_CONTROL": running.control}
        for words in (
            ("status",),
            ("status", "--all"),
            ("status", "echo"),
            ("connections",),
            ("ban", "list"),
            ("services",),
        ):
            whole = running.netd(*words).stdout
            with contextlib.closing(Terminal([sys.executable, "-m", "netd", *words], 80, 60, environment)) as terminal:
                terminal.read_rest()
            lines = [line for line in terminal.output.decode().splitlines() if not line.startswith("config ")]
            assert len(lines) > 1, words
            assert max(map(len, lines)) <= 80, words
            if words[-1] in ("status", "--all", "connections"):
                assert str(path) in whole
