"""Connections that netd passes on, under load: reloads, kills and stops of netd, and targets that come and go."""

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.attack.conftest import Row
from tests.attack.load import load
from tests.attack.processes import failures, ready
from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.daemon.processes import workers
from tests.support.daemon import Daemon
from tests.support.sockets import free_port
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"


def target(place: Path, port: int) -> Daemon:
    """Another netd, with the echo to which connections are passed on."""
    place.mkdir(exist_ok=True)
    limits = "{per_source: off, rate: off}"
    services = f"{{echo: {{listen: [tcp://{LOOPBACK}:{port}], limits: {limits}}}}}"
    (place / "netd.yaml").write_text(f"log: {{level: warning}}\nservices: {services}\n")
    running = Daemon("-c", str(place / "netd.yaml"))
    until(lambda: ready(running), 20)
    return running


def config(port: int, *to: int, number: int = 1, **options: Any) -> str:
    urls = [f"tcp://{LOOPBACK}:{one}" for one in to]
    service = {"type": "forward", "listen": [f"tcp://{LOOPBACK}:{port}"], "options": {"to": urls, **options}}
    return json.dumps({"daemon": {"workers": number}, "log": {"level": "warning"}, "services": {"web": service}})


def test_reloads_of_a_forward_under_load(tmp_path: Path, row: Row) -> None:
    """Targets, their order, one that is dead, the balance, options and the number of workers change."""
    port, a, b, dead = free_port(), free_port(), free_port(), free_port()
    configs = [
        config(port, a),
        config(port, a, b, number=2),
        config(port, b, dead, a, balance="first"),
        config(port, dead, b, balance="least", number=4),
        config(port, b, connect="1s"),
        config(port, a, b, dead, balance="source", number=2),
    ]
    with ExitStack() as stack:
        for one in (a, b):
            stack.enter_context(target(tmp_path / str(one), one))
        write(tmp_path, configs[0])
        running = stack.enter_context(Daemon("-c", str(tmp_path / "netd.yaml")))
        until(lambda: ready(running), 20)
        with talking(port) as live, load([(LOOPBACK, port)]) as outcomes:
            for number in range(120):
                write(tmp_path, configs[number % len(configs)])
                answer = running.ask("reload")
                assert answer["ok"], answer
            echoed(live, b"still\n")
        assert failures(running) == []
        row(f"120 reloads, {outcomes.tried}", f"a connection through all of them is live; {outcomes.seen}")
        assert outcomes.lost == {}
        assert outcomes.number("tcp_done") > 500
        assert running.stop() == 0


def test_workers_of_a_forward_are_killed_under_load(tmp_path: Path, row: Row) -> None:
    port, a = free_port(), free_port()
    with target(tmp_path / "a", a):
        write(tmp_path, config(port, a, number=2))
        with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
            until(lambda: ready(running), 20)
            with load([(LOOPBACK, port)]) as outcomes:
                for _ in range(3):
                    for pid in workers(running):
                        os.kill(pid, signal.SIGKILL)
                        until(lambda gone=pid: gone not in workers(running) and len(workers(running)) == 2, 60)  # type: ignore[misc]
            row(f"6 kills, {outcomes.tried}", outcomes.seen)
            # The connections that a killed worker serves: two clients.
            assert set(outcomes.lost) <= {"tcp_reset"}
            assert outcomes.number("tcp_reset") <= 6 * 2
            until(lambda: running.ask("target", "web")["targets"][0]["connections"] == 0)
            assert running.stop() == 0


def test_stop_of_a_forward_under_load_ends_no_connection_that_is_served(tmp_path: Path, row: Row) -> None:
    port, a = free_port(), free_port()
    tried = 0
    with target(tmp_path / "a", a):
        for _ in range(10):
            write(tmp_path, config(port, a, number=2))
            with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
                until(lambda daemon=running: ready(daemon), 20)  # type: ignore[misc]
                with load([(LOOPBACK, port)]) as outcomes:
                    until(lambda daemon=running: daemon.ask("status")["services"][0]["requests"] > 200, 20)  # type: ignore[misc]
                    assert running.stop() == 0
            tried += outcomes.number("tcp_done")
            assert set(outcomes.lost) <= {"tcp_refused"}, "after the end"
    row(f"10 stops, {tried:,} connections", "none reset")


def test_targets_of_a_forward_come_and_go_under_load(tmp_path: Path, row: Row) -> None:
    """Of two targets each is killed in turn: what it serves is lost with it, and each new connection gets the other."""
    port, ports = free_port(), [free_port(), free_port()]
    with ExitStack() as stack:
        targets = [stack.enter_context(target(tmp_path / str(one), one)) for one in ports]
        write(tmp_path, config(port, *ports, number=2))
        running = stack.enter_context(Daemon("-c", str(tmp_path / "netd.yaml")))
        until(lambda: ready(running), 20)
        with load([(LOOPBACK, port)]) as outcomes:
            for turn in range(8):
                place = turn % 2
                until(lambda one=place: _state(running, one) == ("up", True), 60)  # type: ignore[misc]
                targets[place].process.kill()
                until(lambda one=place: _state(running, one)[0] == "resting", 20)  # type: ignore[misc]
                targets[place] = stack.enter_context(target(tmp_path / str(ports[place]), ports[place]))
        row(f"8 kills of a target, {outcomes.tried}", outcomes.seen)
        assert set(outcomes.lost) <= {"tcp_reset"}
        assert outcomes.number("tcp_reset") <= 8 * 2
        assert failures(running) == []
        assert running.stop() == 0


def _state(running: Daemon, place: int) -> tuple[str, bool]:
    """The state of a target, and whether it has a connection."""
    found = running.ask("target", "web")["targets"][place]
    return found["state"], found["connections"] > 0
