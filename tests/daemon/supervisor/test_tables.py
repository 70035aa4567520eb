"""The tables of counters in real processes: with the counters that a service type declares, also after reloads."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.shared.table import Layout, Table
from tests.daemon.clients import answers, echoes
from tests.shared.fills import FILLS
from tests.support.daemon import Daemon, daemon
from tests.support.descriptors import open_files
from tests.support.leftovers import is_stopped
from tests.support.services import install_service
from tests.support.sockets import read_exactly
from tests.support.waiting import until

FIRST = Layout(("started",))
SECOND = Layout(tuple(f"exited.{number}" for number in range(40)))
SERVICE = """
class Service:
    "Sends back what comes."
    counters = {}
    def stream(self, peer):
        while data := (yield): yield data
"""
# In a worker `inspect` is a method of its client of the status; in the process that reads the config it is a function.
FRAIL = """
from netd.values import Model
class Service:
    "Can be made in the process that reads the config, and in no worker."
    Options = Model
    def __init__(self, options, context):
        if hasattr(context.inspect, "__self__"): raise OSError("not in a worker")
    def stream(self, peer): yield
"""
CONFIG = """
log: {{connections: {access}}}
daemon: {{workers: 2, drain: 100ms}}
services:
  one: {{type: {type}, listen: [tcp://127.0.0.1:0]}}
  frail: {{enabled: {frail}, listen: [tcp://127.0.0.1:0]}}
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the service ``one`` of the type ``first``."""
    # The supervisor imports them all at the start: workers may not read the directory.
    install_service(tmp_path, "first", "import netd_second, netd_frail" + SERVICE.format(FIRST.own))
    install_service(tmp_path, "frail", FRAIL)
    path = install_service(tmp_path, "second", SERVICE.format(SECOND.own))
    write(tmp_path, "first")
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as started:
        started.event("netd_started")
        yield started
        assert started.stop() == 0, started.lines[-5:]


def write(tmp_path: Path, kind: str, frail: str = "false", access: str = "all") -> None:
    """Write a config in which ``one`` has this type."""
    (tmp_path / "netd.yaml").write_text(CONFIG.format(type=kind, frail=frail, access=access))


def tables(running: Daemon, layout: Layout) -> list[Table]:
    """The tables of this layout that the supervisor holds."""
    found = {}
    for path, target in open_files(running.process.pid).items():
        if target.startswith("/memfd:netd-counters"):
            with contextlib.suppress(ValueError):  # of another layout
                found[os.stat(path).st_ino] = Table(os.open(path, os.O_RDWR), layout)
    return list(found.values())


def mapped(running: Daemon) -> list[int]:
    """The number of tables that each worker has mapped."""
    return [
        Path(f"/proc/{worker['pid']}/maps").read_text().count("/memfd:netd-counters")
        for worker in running.ask("status")["workers"]
    ]


def connect(running: Daemon, worker: int) -> socket.socket:
    """A connection to the service, served by this one of the two workers."""
    other = next(one["pid"] for one in running.ask("status")["workers"] if one["worker"] != worker)
    os.kill(other, signal.SIGSTOP)
    # Before it has stopped, the kernel may wake it alone for the connection.
    until(lambda: is_stopped(other))
    try:
        connection = socket.create_connection(("127.0.0.1", running.port("one")), 20)
        talk(connection)
    finally:
        os.kill(other, signal.SIGCONT)
    return connection


def talk(connection: socket.socket) -> None:
    connection.sendall(b"hello")
    assert read_exactly(connection, 5) == b"hello"


def status(running: Daemon) -> dict[str, object]:
    """The counters of the service, without those of octets and times."""
    counters = running.ask("status")["services"][0]["counters"]
    names = {"accepted": "connections_accepted", "active": "connections_active", "closed": "connections_closed"}
    shown = {short: counters[name] for short, name in (names | {"own": "own"}).items()}
    return {name: value for name, value in shown.items() if value}


def test_service_has_a_table_with_the_counters_of_its_type_which_status_sums_up(running: Daemon) -> None:
    [table] = tables(running, FIRST)
    assert tables(running, SECOND) == []
    for process, number in ((0, 3), (1, 4)):
        table.column(process)[FIRST.cells["started"]] += number
    with connect(running, 0), connect(running, 1):
        assert status(running) == {"accepted": 2, "active": 2, "own": {"started": 7}}


@pytest.mark.slow
def test_service_of_another_type_counts_in_a_new_table_and_its_old_connections_in_the_old(
    running: Daemon, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(connect(running, worker)) for worker in (0, 1)]
        [table] = tables(running, FIRST)
        table.workers = 2
        table.column(1)[FIRST.cells["started"]] += 5
        before = mapped(running)
        write(tmp_path, "second")
        assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {"one": "changed"}
        assert status(running) == {}
        assert tables(running, FIRST) == [], "the supervisor closes a table that is not used"
        assert len(tables(running, SECOND)) == 1
        new = [stack.enter_context(connect(running, worker)) for worker in (0, 1)]
        for connection in old:
            talk(connection)
            connection.close()
        until(lambda: table.read().active == 0)
        counts = table.read()
        assert (counts.accepted, counts.closed, counts.bytes_in) == (2, {"done": 2}, 20)
        assert status(running) == {"accepted": 2, "active": 2}, "without the old connections"
        until(lambda: mapped(running) == before)
        worker = next(one["pid"] for one in running.ask("status")["workers"] if one["worker"] == 1)
        os.kill(worker, signal.SIGKILL)
        assert running.event("worker_lost")["connections"] == 1
        running.event("worker_started")
        until(lambda: status(running) == {"accepted": 2, "active": 1, "closed": {"lost": 1}})
        stack.enter_context(connect(running, 1))
        new[0].close()
        until(lambda: status(running) == {"accepted": 3, "active": 1, "closed": {"lost": 1, "done": 1}})


@pytest.mark.slow
def test_connections_of_the_old_type_are_among_those_that_a_stop_waits_for(running: Daemon, tmp_path: Path) -> None:
    with connect(running, 0):
        write(tmp_path, "second")
        running.ask("reload")
        with connect(running, 1):
            assert running.stop() == 0
    [event] = [line for line in running.lines if line["event"] == "drain_started"]
    assert event["connections"] == 2


@pytest.mark.slow
def test_summary_of_connections_counts_also_those_of_the_old_type(running: Daemon, tmp_path: Path) -> None:
    with connect(running, 0) as old:
        write(tmp_path, "second", access="summary")
        running.ask("reload")
        talk(old)
    event = running.event("connections_closed")
    assert (event["service"], event["number"], event["bytes_in"]) == ("one", 1, 10)


@pytest.mark.slow
def test_reload_that_is_rejected_drops_the_table_of_the_new_type_and_keeps_the_old_one(
    running: Daemon, tmp_path: Path
) -> None:
    with connect(running, 0) as first, connect(running, 1):
        [table] = tables(running, FIRST)
        table.column(0)[FIRST.cells["started"]] += 2
        before = mapped(running)
        for _ in range(3):
            write(tmp_path, "second", frail="true")
            done = running.netd("reload")
            assert (done.returncode, "services.frail: not in a worker" in done.stderr) == (71, True), done.stderr
            assert len(tables(running, FIRST)) == 1
            assert tables(running, SECOND) == []
        with connect(running, 1):
            assert status(running) == {"accepted": 3, "active": 3, "own": {"started": 2}}
        first.close()
        until(lambda: status(running) == {"accepted": 3, "active": 1, "closed": {"done": 2}, "own": {"started": 2}})
        assert mapped(running) == before
        write(tmp_path, "second")
        assert running.netd("reload").returncode == 0
        with connect(running, 0), connect(running, 1):
            assert status(running) == {"accepted": 2, "active": 2}


def fill_shared_memory(running: Daemon, fill: bytes) -> None:
    """Write this to all memory that the worker shares, as code in the worker could."""
    maps = [line.split() for line in Path(f"/proc/{running.worker}/maps").read_text().splitlines()]
    inodes = {
        int(words[4]) for words in maps if words[-2].startswith(("/memfd:netd-counters", "/memfd:netd-admission"))
    }
    for path, target in open_files(running.process.pid).items():
        if target.startswith("/memfd:netd-") and os.stat(path).st_ino in inodes:
            with open(path, "r+b") as memory:
                memory.write(fill * (os.fstat(memory.fileno()).st_size // len(fill)))


@pytest.mark.slow
@pytest.mark.parametrize("fill", FILLS)
def test_worker_that_fills_the_shared_memory_does_not_harm_its_successor(tmp_path: Path, fill: bytes) -> None:
    limits = "{connections: 10, per_source: 5, rate: 10/m, total_rate: 10/m, exempt: [192.0.2.0/24]}"
    config = f"services: {{echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], limits: {limits}}}}}"
    with daemon(config, tmp_path) as running:
        fill_shared_memory(running, fill)
        os.kill(running.worker, signal.SIGKILL)
        running.event("worker_started")
        assert echoes(running.port("echo"))
        assert answers(running.port("echo", "udp"))
        until(lambda: status(running).get("closed") == {"done": 1})
    assert [line["event"] for line in running.lines].count("worker_lost") == 1
