"""Reloads under load: no client is reset, no datagram is lost, nothing grows."""

import contextlib
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from netd.shared.memory import MOST_WORKERS
from tests.attack.conftest import Row
from tests.attack.load import load
from tests.attack.processes import descriptors, failures, megabytes, memory, ready
from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.daemon.processes import workers
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import free_port
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"


def test_reloads_of_every_kind_under_load(tmp_path: Path, row: Row) -> None:
    """Options, names, types, ports, transports and the number of workers change; every third time five SIGHUP come."""
    port, second, third = free_port(), free_port(), free_port()
    echo = f"  echo: {{listen: [tcp://{LOOPBACK}:{port}, udp://{LOOPBACK}:{port}]}}\n"
    other = [
        "  upper: {{listen: [tcp://127.0.0.1:{0}]}}\n  time: {{listen: [tcp://127.0.0.1:{1}]}}\n",
        "  upper: {{listen: [tcp://127.0.0.1:{0}], limits: {{line: 100}}}}\n",
        "  upper: {{listen: [tcp://127.0.0.1:{1}]}}\n  time: {{listen: [tcp://127.0.0.1:{0}]}}\n",
        "  big: {{type: upper, listen: [tcp://127.0.0.1:{0}]}}\n",
        "  big: {{type: discard, listen: [tcp://127.0.0.1:{0}]}}\n",
        "  big: {{type: discard, listen: ['unix://{2}/big']}}\n",
        "",
    ]
    configs = [
        f"daemon: {{workers: {1 if number % 2 else 4}}}\nlog: {{level: warning}}\nservices:\n"
        + echo
        + text.format(second, third, tmp_path)
        for number, text in enumerate(other)
    ]
    (tmp_path / "netd.yaml").write_text(configs[0])
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        until(lambda: ready(running), 20)
        with talking(port) as live, load([(LOOPBACK, port)], [(LOOPBACK, port)]) as outcomes:
            accepted = 0
            for number in range(200):
                write(tmp_path, configs[number % len(configs)])
                if number % 3 == 2:
                    for _ in range(5):
                        running.process.send_signal(signal.SIGHUP)
                else:
                    answer = running.ask("reload")
                    assert answer["ok"], answer
                    accepted += 1
            echoed(live, b"still\n")
        assert failures(running) == []
        row(f"200 reloads, {outcomes.tried}", f"{accepted} of {accepted} reloads accepted; {outcomes.seen}")
        assert outcomes.lost == {}
        assert outcomes.number("tcp_done") > 1000
        assert running.stop() == 0


@pytest.mark.parametrize("number", [1, 2])
def test_listener_that_moves_between_all_addresses_and_one(tmp_path: Path, row: Row, number: int) -> None:
    port = free_port()
    config = (
        f"daemon: {{{{workers: {number}}}}}\nlog: {{{{level: warning}}}}\nservices:\n"
        f"  echo: {{{{listen: ['tcp://{{0}}:{port}', 'udp://{{0}}:{port}'], limits: {{{{rate: off}}}}}}}}\n"
    )
    (tmp_path / "netd.yaml").write_text(config.format("*"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        until(lambda: ready(running), 20)
        with load([(LOOPBACK, port)], [(LOOPBACK, port)], threads=3) as outcomes:
            for turn in range(60):  # each serves handshakes under way for a second
                write(tmp_path, config.format(LOOPBACK if turn % 2 == 0 else "*"))
                assert running.ask("reload")["ok"]
        row(f"60 moves, {number} workers, {outcomes.tried}", outcomes.seen)
        assert outcomes.lost == {}
        assert outcomes.number("tcp_done") > 5000
        assert failures(running) == []
        assert running.stop() == 0


def test_five_hundred_reloads_that_add_and_remove_a_service_grow_nothing(tmp_path: Path, row: Row) -> None:
    base = f"services:\n  echo: {{listen: [tcp://{LOOPBACK}:0]}}\n"
    more = base + f"  chat: {{listen: [tcp://{LOOPBACK}:0, udp://{LOOPBACK}:0]}}\n"
    with daemon(base, tmp_path) as running:
        pids = [running.process.pid, running.worker]

        def reloads(times: int) -> list[tuple[int, int]]:
            for turn in range(times):
                write(tmp_path, base if turn % 2 else more)
                assert running.ask("reload")["ok"]
            return [(memory(pid), descriptors(pid)) for pid in pids]

        before, after = reloads(100), reloads(400)
        assert workers(running) == [running.worker]
        seen = [
            f"{name} {megabytes(old[0])} to {megabytes(new[0])}, {old[1]} to {new[1]} descriptors"
            for name, old, new in zip(("supervisor", "worker"), before, after, strict=True)
        ]
        row("500 reloads", "; ".join(seen))
        for old, new in zip(before, after, strict=True):
            assert new[1] <= old[1] + 1, "descriptors leak"
            assert new[0] - old[0] < 3e6, "memory leaks"


def _has_workers(running: Daemon, size: int) -> bool:
    """Whether so many workers serve, or as many as there is room for beside those that leave with a held connection."""
    leaving = [worker["leaving"] for worker in running.ask("status")["workers"]]
    return leaving.count(False) == min(size, MOST_WORKERS - leaving.count(True))


def test_number_of_workers_changes_under_load(tmp_path: Path, row: Row) -> None:
    port = free_port()
    config = (
        "daemon: {{workers: {0}, connections: 2000}}\nlog: {{level: warning}}\n"
        "defaults: {{limits: {{rate: off, idle: 1h}}}}\nservices:\n"
        f"  echo: {{{{listen: [tcp://{LOOPBACK}:{port}, udp://{LOOPBACK}:{port}]}}}}\n"
    )
    sizes = (16, 1, 64, 2, 16, 1, 8, 64, 63, 64, 1, 4)
    (tmp_path / "netd.yaml").write_text(config.format("auto"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running, contextlib.ExitStack() as stack:
        until(lambda: ready(running), 20)
        held = [stack.enter_context(talking(port)) for _ in range(64)]
        with load([(LOOPBACK, port)], [(LOOPBACK, port)], threads=1) as outcomes:
            for size in sizes:
                write(tmp_path, config.format(size))
                assert running.ask("reload")["ok"]
                until(partial(_has_workers, running, size), 60)
        for connection in held:
            echoed(connection, b"still\n")
        row(
            f"{len(sizes)} sizes, {outcomes.tried}",
            f"{len(held)} of {len(held)} held connections live; {outcomes.seen}",
        )
        assert outcomes.lost == {}
        stack.close()
        assert running.stop() == 0


@pytest.mark.parametrize(("services", "rules"), [(200, 3000), (2000, 0)])
def test_large_config_is_reloaded_and_ends_no_connection(tmp_path: Path, row: Row, services: int, rules: int) -> None:
    """``rules`` are deny rules of each service; with 0, there are 10,000 in the defaults."""

    def deny(number: int) -> str:
        return ", ".join(f"10.{place >> 8}.{place & 255}.0/24" for place in range(number))

    own = f", access: {{deny: [{deny(rules)}]}}" if rules else ""
    (tmp_path / "conf.d").mkdir()
    for first in range(0, services, 10):
        lines = [
            f"  s{place}: {{type: echo, listen: ['unix://{tmp_path}/{place}']{own}}}"
            for place in range(first, first + 10)
        ]
        (tmp_path / f"conf.d/{first}.yaml").write_text("\n".join(["services:", *lines, ""]))

    def config(level: str) -> str:
        defaults = "" if rules else f"defaults: {{access: {{deny: [{deny(10_000)}]}}}}\n"
        first = f"services: {{first: {{type: echo, listen: [tcp://{LOOPBACK}:{port}]}}}}\n"
        return f"include: [conf.d/*.yaml]\nlog: {{level: {level}}}\n{defaults}{first}"

    port = free_port()
    (tmp_path / "netd.yaml").write_text(config("warning"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running, contextlib.ExitStack() as stack:
        until(lambda: ready(running), 120)
        live = [stack.enter_context(talking(port)) for _ in range(50)]
        took = []
        with load([(LOOPBACK, port)], threads=1) as outcomes:
            for level in ("warning", "error"):  # unchanged, and changed
                write(tmp_path, config(level))
                start = time.monotonic()
                answer = running.netd("reload")
                assert answer.returncode == 0, answer
                took.append(time.monotonic() - start)
        for connection in live:
            echoed(connection, b"still\n")
        row(
            f"{services} services, {rules or '10,000 default'} rules, {outcomes.tried}",
            f"reload {took[0]:.1f} s unchanged, {took[1]:.1f} s changed; 50 of 50 live; {outcomes.seen}",
        )
        assert outcomes.lost == {}
        assert failures(running) == []
        stack.close()
        assert running.stop() == 0


def test_signals_before_netd_is_ready(tmp_path: Path, row: Row) -> None:
    """SIGTERM at any moment of the start ends it; twenty SIGHUP before do not."""
    path = f"{tmp_path}/echo.sock"
    file = tmp_path / "netd.yaml"
    file.write_text(f"services: {{echo: {{listen: ['unix://{path}']}}}}\n")
    codes: list[int] = []
    for turn in range(40):
        with Daemon("-c", str(file)) as running:
            time.sleep(turn * 0.0125)  # the moment under test
            codes.append(running.stop())
            assert not os.path.exists(path)
    for _ in range(15):
        with Daemon("-c", str(file)) as running:
            until(lambda process=running.process: _takes_hangup(process.pid))  # type: ignore[misc]
            for _ in range(20):
                running.process.send_signal(signal.SIGHUP)
                time.sleep(0.01)  # or the kernel makes one of two that are pending
            running.event("netd_started")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
            assert running.stop() == 0
    row("40 SIGTERM, 15 x 20 SIGHUP", f"exit codes {sorted(set(codes))}; no path left; each SIGHUP survived")
    assert set(codes) <= {0, -signal.SIGTERM, 128 + signal.SIGTERM}


def _takes_hangup(pid: int) -> bool:
    """Whether SIGHUP is blocked, caught or ignored; before that, Python has not begun to run netd."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn", "SigCgt", "SigBlk"))]
    return any(mask & 1 for mask in masks)
