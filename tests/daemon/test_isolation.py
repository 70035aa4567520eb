"""Services with a worker of their own, in a daemon."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from netd.client.control import Answer
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_exactly
from tests.support.waiting import until

CODE = """
import os
from netd.services.python.running import current

print("imported by", os.getpid())

class Pid:
    def stream(self, peer):
        while (yield):
            yield b"%d\\n" % os.getpid()
    def datagram(self, data, peer):
        return b"%d" % os.getpid()
"""


def config(file: Path, *, isolate: bool, workers: int = 1) -> str:
    return (
        f"daemon: {{workers: {workers}}}\nservices:\n"
        f"  echo: {{listen: ['tcp://127.0.0.1:0']}}\n"
        f"  pid: {{type: python, isolate: {str(isolate).lower()}, "
        f"listen: ['tcp://127.0.0.1:0', 'udp://127.0.0.1:0'], options: {{class: '{file}:Pid'}}}}\n"
    )


def own_worker(netd: Daemon) -> int:
    """The process id of the worker that serves `pid` alone; 0: there is none."""
    found = [one for one in netd.ask("status")["workers"] if one["service"] and not one["leaving"]]
    assert all(one["service"] == "pid" for one in found)
    return int(found[0]["pid"]) if found else 0


def counters(netd: Daemon) -> Answer:
    """The counters of `pid`."""
    [found] = [one for one in netd.ask("status")["services"] if one["service"] == "pid"]
    counted: Answer = found["counters"]
    return counted


def asked(client: socket.socket) -> int:
    """The process that serves this connection."""
    client.sendall(b"x")
    return int(client.makefile("rb").readline())


def connect(netd: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", netd.port("pid")), 10)


def asked_by_datagram(netd: Daemon) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", netd.port("pid", "udp")))
        client.send(b"x")
        return int(client.recv(100))


@pytest.fixture
def file(open_path: Path) -> Path:
    file = open_path / "pid.py"
    file.write_text(CODE)
    return file


@pytest.mark.slow
def test_isolated_service_is_served_by_its_own_worker_and_loaded_by_no_other(file: Path) -> None:
    with daemon(config(file, isolate=True, workers=2), file.parent) as netd:
        own = own_worker(netd)
        assert len(netd.ask("status")["workers"]) == 3
        imported = [line["line"] for line in netd.lines if line["event"] == "line_printed"]
        assert imported == [f"imported by {own}"]
        for _ in range(8):
            with connect(netd) as client:
                assert asked(client) == own
        assert asked_by_datagram(netd) == own
        with socket.create_connection(("127.0.0.1", netd.port("echo")), 10) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
        # It counts as ever, and commands reach it.
        counted = counters(netd)
        assert (counted["connections_accepted"], counted["datagrams_answered"]) == (8, 1)
        assert "pid: in a worker of its own" in netd.netd("status").stdout
        with connect(netd) as client:
            assert asked(client) == own
            assert netd.ask("connections")["total"] == 1
            assert netd.netd("kick", "--service", "pid").returncode == 0
            assert client.recv(1) == b""

        # It dies alone, and another one takes its place.
        with socket.create_connection(("127.0.0.1", netd.port("echo")), 10) as other:
            os.kill(own, 9)
            lost = netd.event("worker_lost")
            assert lost["services"] == "pid"
            netd.event("worker_started")
            with connect(netd) as client:
                assert asked(client) == own_worker(netd) != own
            other.sendall(b"y")
            assert read_exactly(other, 1) == b"y"


@pytest.mark.slow
def test_reload_moves_a_service_to_its_own_worker_and_back_without_a_lost_client(file: Path) -> None:
    directory = file.parent
    with daemon(config(file, isolate=False), directory) as netd, contextlib.ExitStack() as stack:
        shared = netd.worker
        clients: list[tuple[socket.socket, int]] = []
        for isolate in (False, True, False, True):
            if clients:
                (directory / "netd.yaml").write_text(config(file, isolate=isolate))
                done = netd.netd("reload")
                assert done.returncode == 0, done.stderr
                changed = f"isolate: {str(not isolate).lower()} -> {str(isolate).lower()}"
                assert netd.event("reload_applied")["changes"] == {"pid": "changed"}, changed
            own = own_worker(netd)
            assert bool(own) == isolate
            client = stack.enter_context(connect(netd))
            assert asked(client) == (own or shared)
            assert asked_by_datagram(netd) == (own or shared)
            clients.append((client, own or shared))
            for before, process in clients:
                assert asked(before) == process, "open connections stay where they are"
        assert counters(netd)["connections_active"] == 4
        leaving = [one["pid"] for one in netd.ask("status")["workers"] if one["leaving"]]
        assert leaving == [clients[1][1]]
        clients[1][0].close()
        until(lambda: not [one for one in netd.ask("status")["workers"] if one["leaving"]])


@pytest.mark.slow
def test_clients_that_connect_during_reloads_are_all_served(file: Path) -> None:
    directory = file.parent
    with daemon(config(file, isolate=False, workers=2), directory) as netd:
        served = []
        for number in range(4):
            (directory / "netd.yaml").write_text(config(file, isolate=not number % 2, workers=2))
            with contextlib.ExitStack() as stack:
                running = stack.enter_context(netd.begin("reload"))
                while running.poll() is None:
                    with connect(netd) as client:
                        served.append(asked(client))
                assert running.returncode == 0
        assert len(set(served)) >= 3
        assert counters(netd)["connections_accepted"] == len(served)


@pytest.mark.slow
def test_disabled_service_has_no_worker(file: Path) -> None:
    with daemon(config(file, isolate=True), file.parent) as netd:
        assert own_worker(netd)
        assert netd.netd("disable", "pid").returncode == 0
        assert own_worker(netd) == 0
        assert netd.netd("enable", "pid").returncode == 0
        until(lambda: own_worker(netd))
