"""Processes of netd are killed and stopped under load: no client is refused."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.attack.conftest import Row
from tests.attack.load import load
from tests.attack.processes import ready, requests
from tests.daemon.clients import echoes
from tests.daemon.configs import write
from tests.daemon.processes import alive, workers
from tests.support.daemon import Daemon
from tests.support.sockets import free_port
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"


def _config(port: int, number: int, path: str) -> str:
    return (
        f"daemon: {{workers: {number}}}\nlog: {{level: warning}}\nservices:\n"
        f"  echo: {{listen: [tcp://{LOOPBACK}:{port}, udp://{LOOPBACK}:{port}, 'unix://{path}']}}\n"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_each_worker_is_killed_once(tmp_path: Path, row: Row, number: int) -> None:
    port = free_port()
    (tmp_path / "netd.yaml").write_text(_config(port, number, f"{tmp_path}/s"))
    total: dict[str, int] = {}
    tried, slowest = [0, 0], 0.0
    for _ in range(6):
        with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
            until(lambda daemon=running: ready(daemon), 20)  # type: ignore[misc]
            with load([(LOOPBACK, port)], [(LOOPBACK, port)]) as outcomes:
                for pid in workers(running):
                    before = requests(running)
                    until(lambda: requests(running) > before + 100, 20)  # noqa: B023
                    os.kill(pid, signal.SIGKILL)
                    until(lambda gone=pid: _replaced(running, gone, number), 20)  # type: ignore[misc]
            assert running.stop() == 0
        for name, value in outcomes.lost.items():
            total[name] = total.get(name, 0) + int(value)
        tried[0] += outcomes.number("tcp_done", "tcp_reset")
        tried[1] += outcomes.number("udp_done", "udp_lost")
        slowest = max(slowest, outcomes["slowest"])
    row(
        f"{6 * number} kills, {tried[0]:,} connections, {tried[1]:,} datagrams",
        f"{total or 'none lost'}; slowest connection {slowest:.2f} s",
    )
    # A connection that a killed worker serves is lost, and so is a datagram that it has received: two clients of each.
    assert set(total) <= {"tcp_reset", "udp_lost"}
    assert total.get("tcp_reset", 0) <= 6 * number * 2
    assert total.get("udp_lost", 0) <= 6 * number * 2


def _replaced(running: Daemon, pid: int, number: int) -> bool:
    left = workers(running)
    return pid not in left and len(left) == number


def test_worker_that_is_stopped_is_replaced(tmp_path: Path, row: Row) -> None:
    port = free_port()
    (tmp_path / "netd.yaml").write_text(
        "daemon: {heartbeat: 1s, workers: 2}\n"
        + _config(port, 2, "x").split("\n", 1)[1].replace("unix://x", f"unix://{tmp_path}/s")
    )
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        until(lambda: ready(running), 20)
        with load([(LOOPBACK, port)], [(LOOPBACK, port)]) as outcomes:
            for pid in workers(running):
                os.kill(pid, signal.SIGSTOP)
                until(lambda gone=pid: _replaced(running, gone, 2), 30)  # type: ignore[misc]
        row(f"2 workers stopped, {outcomes.tried}", outcomes.seen)
        assert set(outcomes.lost) <= {"tcp_reset", "udp_lost", "tcp_timed_out"}
        assert sum(outcomes.lost.values()) <= 8, "no more than the clients of the stopped workers"
        assert running.stop() == 0


def test_supervisor_is_killed_and_started_again(tmp_path: Path, row: Row) -> None:
    """Its workers end at once, and what is left behind keeps no start from succeeding."""
    port = free_port()
    (tmp_path / "netd.yaml").write_text(_config(port, 2, f"{tmp_path}/s"))
    slowest = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETD_CONTROL", f"{tmp_path}/control.sock")
        for _ in range(5):
            with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=f"{tmp_path}/control.sock") as running:
                until(lambda daemon=running: ready(daemon), 20)  # type: ignore[misc]
                assert echoes(port)
                pids = workers(running)
                running.process.kill()
                start = time.monotonic()
                until(lambda left=pids: not any(alive(pid) for pid in left))  # type: ignore[misc]
                slowest = max(slowest, time.monotonic() - start)
    row("5 kills", f"workers gone within {slowest:.2f} s; each start succeeded")


@pytest.mark.parametrize(("number", "kills"), [(1, 5), (3, 12)])
def test_workers_are_killed_again_and_again(tmp_path: Path, row: Row, number: int, kills: int) -> None:
    """One is killed every 0.3 seconds, with a reload after every third; netd starts the next ones after a back-off."""
    port = free_port()
    config = _config(port, number, f"{tmp_path}/s")
    write(tmp_path, config)
    accepted = 0
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        until(lambda: ready(running), 20)
        with load([(LOOPBACK, port)], [(LOOPBACK, port)]) as outcomes:
            for turn in range(kills):
                # With one worker there is none for as long as the back-off lasts.
                until(lambda: bool(workers(running)), 60)
                os.kill(workers(running)[-1], signal.SIGKILL)
                if turn % 3 == 0:
                    write(tmp_path, config.replace("echo: {", f"echo: {{limits: {{line: {1000 + turn}}}, "))
                    answer = running.ask("reload")
                    assert answer["ok"], answer
                    accepted += 1
                time.sleep(0.3)  # the interval under test
            until(lambda: len(workers(running)) == number, 60)
        row(f"{kills} kills, {outcomes.tried}", f"{accepted} of {accepted} reloads accepted; {outcomes.seen}")
        # The clients of a killed worker; and those that wait longer than they can while there is no worker.
        assert set(outcomes.lost) <= {"tcp_reset", "udp_lost", "tcp_timed_out"}
        assert sum(outcomes.lost.values()) <= kills * 4
        assert running.stop() == 0
