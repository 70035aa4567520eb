"""Checks of a real daemon: one run for all workers, programs that hang or are gone, reloads and killed workers."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.programs import launcher
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.stream.peers import connect

pytestmark = pytest.mark.slow  # daemons

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def config(*command: str, workers: int = 1, **options: Any) -> str:
    service = {"type": "check", "listen": ["tcp://127.0.0.1:0"], "options": {"command": command, **options}}
    return json.dumps({"daemon": {"workers": workers}, "services": {"health": service}})


def answer(netd: Daemon) -> bytes:
    with connect(("127.0.0.1", netd.port("health"))) as peer:
        peer.sendall(GET)
        return read_all(peer)


def starts(netd: Daemon) -> int:
    """How often the program was started."""
    [service] = netd.ask("status")["services"]
    return int(service["counters"]["programs_started"])


def test_fifty_peers_cost_one_run_for_all_workers(tmp_path: Path) -> None:
    with daemon(config("/bin/sh", "-c", "sleep 1; echo fine", workers=2, cache="1m"), tmp_path) as netd:
        answers: list[bytes] = []
        threads = [threading.Thread(target=lambda: answers.append(answer(netd))) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 50
        assert all(one.startswith(b"HTTP/1.1 200 OK\r\n") and one.endswith(b"\r\n\r\nfine\n") for one in answers)
        assert answer(netd).endswith(b"\r\n\r\nfine\n")
        assert starts(netd) == 1


def test_run_is_repeated_when_its_launcher_is_killed(tmp_path: Path, open_path: Path) -> None:
    go = open_path / "go"
    with daemon(config("/bin/sh", "-c", f"while [ ! -e {go} ]; do sleep 0.05; done; echo fine"), tmp_path) as netd:
        answers: list[bytes] = []
        asker = threading.Thread(target=lambda: answers.append(answer(netd)))
        asker.start()
        until(lambda: starts(netd) == 1)
        os.kill(launcher(netd), signal.SIGKILL)
        netd.event("launcher_lost")
        netd.event("launcher_started")
        go.touch()
        asker.join()
        [found] = answers
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")
        assert found.endswith(b"\r\n\r\nfine\n")
        assert starts(netd) == 2


def test_program_that_hangs_is_a_failure_in_time_and_does_not_pile_up(tmp_path: Path) -> None:
    script = "trap '' TERM; echo half; while :; do sleep 0.1; done"
    options: dict[str, Any] = {"timeout": "200ms", "cache": "100ms", "stop": {"after": "2s"}}
    with daemon(config("/bin/sh", "-c", script, **options), tmp_path) as netd:
        assert answer(netd).startswith(b"HTTP/1.1 503 ")
        bodies = set()
        while starts(netd) == 1:
            bodies.add(answer(netd).partition(b"\r\n\r\n")[2])
        assert bodies >= {b"timed out\n"}
        [service] = netd.ask("status")["services"]
        assert service["counters"]["programs_ended"] == {"signal": 1}, "the second one started before the first ended"


def test_program_that_is_gone_is_a_failure_until_it_is_back(tmp_path: Path, open_path: Path) -> None:
    program = open_path / "health"
    program.write_text("#!/bin/sh\necho fine\n")
    program.chmod(0o755)
    with daemon(config(str(program), cache="100ms"), tmp_path) as netd:
        assert answer(netd).endswith(b"fine\n")
        program.rename(open_path / "away")
        until(lambda: answer(netd).startswith(b"HTTP/1.1 503 "))
        assert answer(netd).endswith(b"\r\n\r\ncould not be started\n")
        (open_path / "away").rename(program)
        until(lambda: answer(netd).endswith(b"fine\n"))


def test_reload_changes_the_program_and_a_killed_worker_the_cache_alone(tmp_path: Path) -> None:
    with daemon(config("/bin/echo", "one", cache="1h"), tmp_path) as netd:
        assert answer(netd).endswith(b"one\n")
        os.kill(netd.worker, signal.SIGKILL)
        netd.event("worker_started")
        assert answer(netd).endswith(b"one\n")
        assert starts(netd) == 2
        (tmp_path / "netd.yaml").write_text(
            config("/bin/echo", "two", cache="1h").replace(":0", f":{netd.port('health')}")
        )
        assert netd.netd("reload").returncode == 0
        assert answer(netd).endswith(b"two\n")
