"""Programs that have a listening socket: each goes on when its launcher is killed, and no second one is started."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.leftovers import is_gone
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow

UDP = """
import os, signal, socket, time
udp = socket.socket(fileno=3)
def end(number, frame):
    time.sleep({seconds})
    os._exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    data, peer = udp.recvfrom(100)
    udp.sendto(b"%d" % os.getpid(), peer)
"""


def config(port: int, seconds: float = 0, **options: object) -> str:
    """A program that has a UDP socket, and takes so many seconds to end when it is told to."""
    command = [sys.executable, "-ISc", UDP.format(seconds=seconds)]
    # Python finds its library by argv0; and only root may be able to read this checkout.
    options |= {"command": command, "argv0": sys.executable, "mode": "listener"}
    if os.geteuid() == 0:
        options["user"] = "root"
    return json.dumps({"services": {"x": {"type": "exec", "listen": [f"udp://127.0.0.1:{port}"], "options": options}}})


def answering(port: int) -> int:
    """The process id of the program that answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        client.send(b"x")
        return int(client.recv(20))


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def kill_launcher(running: Daemon) -> None:
    """Kill the launcher that has started last, and wait until netd knows."""
    pid = [line["pid"] for line in running.lines if line["event"] == "launcher_started"][-1]
    os.kill(pid, signal.SIGKILL)
    running.event("launcher_lost")


def programs(running: Daemon) -> tuple[int, int]:
    """How many programs run, and how many have been started."""
    counters = running.ask("status")["services"][0]["counters"]
    return counters["connections_active"], counters["programs_started"]


@pytest.fixture
def port() -> int:
    return free_port(socket.SOCK_DGRAM)


def test_program_goes_on_alone_when_its_launcher_is_replaced(tmp_path: Path, port: int) -> None:
    with daemon(config(port), tmp_path) as running:
        first = answering(port)
        for _ in range(2):
            kill_launcher(running)
            running.event("launcher_started")
            os.kill(first, signal.SIGSTOP)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", port))
                client.send(b"x")  # it waits, and nothing else takes it
                for _ in range(3):
                    [row] = running.ask("connections")["connections"]
                    assert row["pid"] == first
                os.kill(first, signal.SIGCONT)
                assert int(client.recv(20)) == first
            assert programs(running) == (1, 1)
        os.kill(first, signal.SIGKILL)
        until(lambda: is_gone(first))
        second = answering(port)
        assert second != first
        assert programs(running) == (1, 2)
    assert is_gone(second)


def test_program_is_ended_also_while_it_has_no_launcher(tmp_path: Path, port: int) -> None:
    with daemon(config(port), tmp_path) as running:
        first = answering(port)
        for _ in range(3):  # the next one comes with a delay
            kill_launcher(running)
            running.event("launcher_started")
        kill_launcher(running)
        assert running.netd("disable", "x").returncode == 0
        assert is_gone(first)
        assert is_free(port)
        assert running.netd("enable", "x").returncode == 0
        assert answering(port) != first


def test_port_is_free_when_a_service_was_switched_off(tmp_path: Path, port: int) -> None:
    with daemon(config(port, seconds=0.5), tmp_path) as running:
        for _ in range(2):
            program = answering(port)
            assert running.netd("disable", "x").returncode == 0
            assert is_gone(program)
            assert is_free(port)
            assert running.netd("enable", "x").returncode == 0
        answering(port)


@pytest.mark.parametrize("options", [{"environment": {"A": "x"}}, {"no_new_privileges": False}])
def test_next_program_starts_when_the_one_before_has_ended(
    tmp_path: Path, port: int, options: dict[str, object]
) -> None:
    with daemon(config(port, seconds=0.5), tmp_path) as running:
        first = answering(port)
        write(tmp_path, config(port, seconds=0.5, **options))
        assert running.netd("reload").returncode == 0
        assert is_gone(first)
        second = answering(port)
        assert second != first
        assert {answering(port) for _ in range(5)} == {second}


def test_program_that_does_not_end_is_killed(tmp_path: Path, port: int) -> None:
    stop = {"after": "300ms"}
    with daemon(config(port, seconds=60, stop=stop), tmp_path) as running:
        first = answering(port)
        assert running.netd("disable", "x").returncode == 0
        assert is_gone(first)
        assert is_free(port)


def test_stop_ends_a_program_without_launcher(tmp_path: Path, port: int) -> None:
    with daemon(config(port), tmp_path) as running:
        first = answering(port)
        for _ in range(3):
            kill_launcher(running)
            running.event("launcher_started")
        kill_launcher(running)
    until(lambda: is_gone(first))
