"""Signals, and the stop of netd: what is served until then, and what is cut off."""

import json
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.daemon.configs import THREE_SERVICES
from tests.daemon.processes import ECHO, processor_time
from tests.support.daemon import Daemon, daemon
from tests.support.services import install_service
from tests.support.sockets import read_exactly
from tests.support.waiting import until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_waits_for_open_connections_and_accepts_none(tmp_path: Path, number: int) -> None:
    with daemon(THREE_SERVICES.format(drain="60s", tmp=tmp_path), tmp_path) as running:
        address = ("127.0.0.1", running.port("echo"))
        with socket.create_connection(address) as live:
            live.sendall(b"before")
            assert read_exactly(live, 6) == b"before"
            running.process.send_signal(number)
            assert running.event("drain_started")["connections"] == 1
            until(lambda: not _accepts(address))
            live.sendall(b"still")
            assert read_exactly(live, 5) == b"still"
        assert running.process.wait(20) == 0
    assert [line["outcome"] for line in running.lines if line["event"] == "connection_closed"][-1] == "done"


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass  # it was queued at a listener that was closed meanwhile
    return True


@pytest.mark.slow
def test_connections_are_closed_when_the_drain_time_expires(tmp_path: Path) -> None:
    with daemon(THREE_SERVICES.format(drain="300ms", tmp=tmp_path), tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as live:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            assert running.stop() == 0
            assert live.recv(1) == b""
    assert [line["outcome"] for line in running.lines if line["event"] == "connection_closed"] == ["stopped"]


@pytest.mark.slow
def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    with daemon(THREE_SERVICES.format(drain="1h", tmp=tmp_path), tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as live:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            running.process.terminate()
            running.event("drain_started")
            assert running.stop(signal.SIGINT) == 0


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.0003, 0.001, 0.003, 0.01])
def test_two_signals_in_a_row_stop_as_cleanly_as_one(tmp_path: Path, pause: float) -> None:
    with daemon(THREE_SERVICES.format(drain="1s", tmp=tmp_path), tmp_path) as running:
        for _ in range(2):
            running.process.terminate()
            time.sleep(pause)  # the moment of the second signal differs
    assert [line["event"] for line in running.lines][-1] == "netd_stopped"


@pytest.mark.slow
def test_signals_that_come_early_are_handled_after_the_start(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f"log: {{file: {tmp_path}/log}}\n" + ECHO.format("off"))
    with Daemon("-c", str(file)) as starting:
        early = 1 << signal.SIGHUP - 1 | 1 << signal.SIGUSR1 - 1
        status = Path(f"/proc/{starting.process.pid}/status")

        def blocks_them() -> bool:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            return int(lines["SigBlk"], 16) & early == early

        until(blocks_them)
        starting.process.send_signal(signal.SIGHUP)
        starting.process.send_signal(signal.SIGUSR1)
        until(lambda: '"reload_applied"' in _text(tmp_path / "log"), 30)
        assert starting.stop() == 0
        events = [json.loads(line)["event"] for line in _text(tmp_path / "log").splitlines()]
        assert events.count("reload_applied") == events.count("log_reopened") == 1
        assert events.index("netd_started") < events.index("reload_applied")


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


STUCK = """
class Service:
    "Never comes back."
    def stream(self, peer):
        yield b"x"
        while True: pass
"""


@pytest.mark.slow
def test_worker_with_a_service_that_never_returns_is_aborted_at_the_stop(tmp_path: Path) -> None:
    path = install_service(tmp_path, "stuck", STUCK)
    file = tmp_path / "netd.yaml"
    file.write_text(f'daemon: {{drain: 100ms}}\nservices:\n  stuck: {{listen: ["unix://{tmp_path}/s"]}}\n')
    with Daemon("-c", str(file), PYTHONPATH=path) as running:
        running.event("netd_started")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "s"))
            until(lambda: processor_time(running.worker) > 1.0)
            assert running.stop() == 70
    [lost] = [line for line in running.lines if line["event"] == "worker_lost"]
    assert lost["reason"] == "signal SIGABRT"
    assert "netd_stuck.py" in lost["stack"]
    assert (lost["at"], lost["services"]) == ("netd_stuck.py:6 in stream", "stuck")
    assert not (tmp_path / "s").exists()
