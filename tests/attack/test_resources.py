"""Too few descriptors, a full disk, a log that is not read, little memory: netd serves, or says in one line why not."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netd.client.control import ask
from netd.errors import NotRunningError
from tests.attack.conftest import Row
from tests.attack.load import load
from tests.attack.processes import failures, ready
from tests.daemon.clients import echoes
from tests.support.daemon import Daemon
from tests.support.programs import need, need_root
from tests.support.sockets import free_port
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
CLIENTS = 200


def _write(tmp_path: Path, port: int, more: str = "") -> Path:
    file = tmp_path / "netd.yaml"
    file.write_text(f"{more}services: {{echo: {{listen: [tcp://{LOOPBACK}:{port}], limits: {{rate: off}}}}}}\n")
    return file


@pytest.mark.parametrize("limit", [16, 24, 32, 48, 64, 128])
def test_descriptors_run_out(tmp_path: Path, row: Row, limit: int) -> None:
    need("prlimit")
    port = free_port()
    with Daemon("-c", str(_write(tmp_path, port)), command=["prlimit", f"--nofile={limit}:{limit}"]) as running:
        until(lambda: running.process.poll() is not None or ready(running), 30)
        if code := running.process.poll():
            running.stop()
            row(f"RLIMIT_NOFILE {limit}", f"start refused, exit code {code}: {running.lines[-1]}")
            assert code == 71
            return
        with contextlib.ExitStack() as stack:
            for _ in range(CLIENTS):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex((LOOPBACK, port))
        served = 0
        for _ in range(20):
            until(lambda: echoes(port), 20)
            served += 1
        assert running.ask("reload")["ok"]
        row(f"RLIMIT_NOFILE {limit}, {CLIENTS} connections at once", f"{served} of 20 served afterwards, reload ok")
        assert failures(running) == []
        assert running.stop() == 0


@pytest.mark.parametrize("kind", ["full disk", "pipe that is not read", "pipe that is closed"])
def test_log_cannot_be_written(tmp_path: Path, row: Row, kind: str) -> None:
    port = free_port()
    log = tmp_path / "log"
    log.mkdir()
    where = f"log: {{file: {log}/netd.log}}\n" if kind == "full disk" else ""
    file = _write(tmp_path, port, where)
    with contextlib.ExitStack() as stack:
        if kind == "full disk":
            need_root()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "netd-test", log], check=True)
            stack.callback(subprocess.run, ["umount", str(log)], check=True)
        read, write = os.pipe()
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-m", "netd", "run", "-c", str(file)], stderr=write)
        )
        stack.callback(process.kill)
        os.close(write)
        if kind == "pipe that is closed":
            os.close(read)
        until(lambda: echoes_if_listening(port), 20)
        with load([(LOOPBACK, port)], threads=2) as outcomes:
            until(lambda: served() >= 1500, 60)
        process.terminate()
        assert process.wait(20) == 0
        if kind != "pipe that is closed":
            os.close(read)
    row(f"{kind}, {outcomes.tried}", outcomes.seen)
    assert outcomes.lost == {}


def served() -> int:
    return int(ask([os.environ["NETD_CONTROL"]], ["status"])["services"][0]["counters"]["connections_accepted"])


def is_ready() -> bool:
    with contextlib.suppress(NotRunningError):
        return bool(ask([os.environ["NETD_CONTROL"]], ["status"])["ready"])
    return False


def echoes_if_listening(port: int) -> bool:
    with contextlib.suppress(OSError):
        return echoes(port)
    return False


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_are_closed(tmp_path: Path, row: Row, closed: str) -> None:
    port = free_port()
    file = _write(tmp_path, port)
    command = f'exec "$0" -m netd run -c "$1" {closed}'
    with subprocess.Popen(["sh", "-c", command, sys.executable, str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            until(is_ready, 20)
            assert echoes(port)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
    row(closed, "serves, exit code 0")


@pytest.mark.parametrize("size", [60, 90, 120, 160, 300])
def test_address_space_runs_out(tmp_path: Path, row: Row, size: int) -> None:
    """Peers that do not read fill the memory of a worker up to its limit; it serves the next peer all the same."""
    need("prlimit")
    port, chargen = free_port(), free_port()
    file = tmp_path / "netd.yaml"
    file.write_text(
        f"daemon: {{heartbeat: 1s}}\nservices:\n  echo: {{listen: [tcp://{LOOPBACK}:{port}]}}\n"
        f"  chargen: {{listen: [tcp://{LOOPBACK}:{chargen}]}}\n"
    )
    with Daemon("-c", str(file), command=["prlimit", f"--as={size * 2**20}"]) as running:
        until(lambda: running.process.poll() is not None or ready(running), 30)
        if code := running.process.poll():
            running.stop()
            row(f"RLIMIT_AS {size} MiB", f"start refused, exit code {code}")
            assert code == 71
            assert not any("Traceback" in str(line) for line in running.lines)
            return
        with contextlib.ExitStack() as stack:
            for number in range(400):
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.settimeout(20)
                with contextlib.suppress(OSError):
                    one.connect((LOOPBACK, port if number % 2 else chargen))
                    one.setblocking(False)
                    one.send(b"x" * 2**20)
            until(lambda: echoes(port), 30)
        until(lambda: echoes(port), 30)
        lost = [line for line in failures(running) if "worker_lost" in line]
        row(f"RLIMIT_AS {size} MiB, 400 peers that do not read", f"{len(lost)} workers lost; the next peer is served")
        assert lost == []
        assert running.stop() == 0
