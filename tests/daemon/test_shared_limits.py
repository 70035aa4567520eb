"""Limits and counts hold over all workers together."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.daemon.clients import echoes
from tests.daemon.processes import ECHO, counters, workers
from tests.support.daemon import daemon
from tests.support.leftovers import is_stopped
from tests.support.programs import need
from tests.support.sockets import read_exactly
from tests.support.waiting import until


@pytest.mark.slow
def test_limit_of_connections_holds_across_workers(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 4}\n" + ECHO.format(10), tmp_path) as running, contextlib.ExitStack() as stack:
        served = 0
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("echo"))))
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
                served += connection.recv(1) == b"x"
        assert served == 10
        assert running.ask("status")["services"][0]["connections"] == 10
        assert counters(running)["connections_refused"] == {"connections": 50}


@pytest.mark.slow
def test_every_worker_accepts_from_the_same_listener(tmp_path: Path) -> None:
    with daemon("daemon: {workers: 2}\n" + ECHO.format("off"), tmp_path) as running, contextlib.ExitStack() as stack:
        for pid in workers(running):
            os.kill(pid, signal.SIGSTOP)
            until(partial(is_stopped, pid))
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("echo")), 20))
            connection.sendall(b"x")
            assert read_exactly(connection, 1) == b"x", "the other one serves"
            os.kill(pid, signal.SIGCONT)
        rows = running.ask("connections")["connections"]
        assert {row["id"][0] for row in rows} == {"0", "1"}


@pytest.mark.slow
def test_limit_of_a_source_holds_across_workers_and_affects_no_other(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for addresses that are not loopback")
    need("ip", "unshare")
    # In a network namespace, this host can have several addresses.
    script = (
        "ip link set lo up; for n in 1 2; do"
        " ip addr add 192.0.2.$n/32 dev lo; ip addr add 2001:db8::$n/128 dev lo nodad; done;"
        f" exec {sys.executable} {tmp_path}/ask.py {sys.executable} -m netd run -c {tmp_path}/netd.yaml"
    )
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{workers: 3, control: {tmp_path}/c}}\n"
        f"services:\n  echo: {{listen: [tcp://*:7], limits: {{per_source: 5}}}}\n"
    )
    (tmp_path / "ask.py").write_text(ASK_FROM)
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["5", "5", "0", "5", "20"], done.stderr


ASK_FROM = """
import contextlib, socket, subprocess, sys
netd = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE)
for line in netd.stderr:
    if b"netd_started" in line:
        break
held = []
def ask(source, family=socket.AF_INET):
    with contextlib.suppress(ConnectionError):
        s = socket.socket(family)
        s.settimeout(20)
        s.bind((source, 0))
        s.connect((source, 7))
        s.sendall(b"x")
        if s.recv(1) == b"x":
            held.append(s)
            return True
        s.close()
    return False
print(sum(ask("192.0.2.1") for _ in range(30)))
print(sum(ask("2001:db8::1", socket.AF_INET6) for _ in range(30)))
print(sum(ask("2001:db8::2", socket.AF_INET6) for _ in range(30)))
print(sum(ask("192.0.2.2") for _ in range(30)))
print(sum(ask("127.0.0.1") for _ in range(20)))
netd.terminate()
for s in held:
    s.close()
netd.wait()
"""


@pytest.mark.slow
def test_connections_of_all_services_together_are_bounded_across_workers(tmp_path: Path) -> None:
    config = (
        "daemon: {connections: 3, workers: 2}\n"
        "services:\n  a: {type: echo, listen: [tcp://127.0.0.1:0]}\n  b: {type: echo, listen: [tcp://127.0.0.1:0]}\n"
    )
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        for name in ("a", "b", "a"):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", running.port(name)), 20))
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        assert not echoes(running.port("b"))
        # The limit counts open connections, so a reload can raise it, and those of a killed worker are subtracted.
        (tmp_path / "netd.yaml").write_text(config.replace("connections: 3", "connections: 4"))
        assert running.ask("reload")["restart_needed"] == []
        assert echoes(running.port("b"))
        for worker in running.ask("status")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        running.all_of(*["worker_lost", "worker_started"] * 2)
        for _ in range(3):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("a")), 20))
            one.sendall(b"x")
            assert one.recv(1) == b"x"
