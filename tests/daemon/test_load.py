"""The daemon under load and idle: memory, descriptors, wake-ups, fairness, reloads."""

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.clients import echoed, refused, talking
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.descriptors import open_files
from tests.support.sockets import free_port, read_exactly
from tests.support.waiting import until

EVERYTHING = """
log: {level: warning}
defaults: {limits: {connections: off}}
services:
""" + "".join(
    f"  {name}: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n"
    for name in (
        "echo",
        "discard",
        "daytime",
        "chargen",
        "time",
        "upper",
        "pingpong",
        "reply",
        "qotd",
        "whoami",
        "chat",
    )
)


def memory(pid: int) -> int:
    """Octets of private memory of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) * 1024


def listening(pid: int, kind: str) -> list[int]:
    """The ports on which the process listens, in the order they were opened."""
    inodes = {target: int(os.path.basename(path)) for path, target in open_files(pid).items()}
    state = "0A" if kind == "tcp" else "07"
    ports = {}
    for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == state and (found := inodes.get(f"socket:[{fields[9]}]")):
            ports[found] = int(fields[1].rpartition(":")[2], 16)
    return [ports[descriptor] for descriptor in sorted(ports)]


@contextlib.contextmanager
def many(address: tuple[str, int], number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(number)]


QUIET = EVERYTHING.replace("level: warning", "level: info")


@pytest.mark.slow
@pytest.mark.parametrize("service", ["echo", "pingpong"])
def test_ten_thousand_idle_connections_cost_under_1500_octets_each(tmp_path: Path, service: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11_000:
        pytest.fail(f"this machine allows {hard} descriptors, and the test needs 11,000: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with daemon(QUIET, tmp_path) as running:
            pid = running.worker
            address = ("127.0.0.1", running.port(service))
            with many(address, 100) as warm:
                for connection in warm:
                    connection.sendall(b"ping\n")
                    assert read_exactly(connection, 5)
            before = memory(pid)
            with many(address, 10_000) as connections:
                for connection in (connections[0], connections[5000], connections[9999]):
                    connection.sendall(b"ping\n")
                    assert read_exactly(connection, 5) in (b"ping\n", b"pong\n")
                each = (memory(pid) - before) / 10_000
                assert each < 1500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_idle_daemon_uses_no_cpu_and_wakes_up_for_heartbeats_alone(tmp_path: Path) -> None:
    with daemon("daemon: {heartbeat: 1m}\n" + QUIET, tmp_path) as running:
        pids = (running.process.pid, running.worker)
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        running.event("connection_closed")
        until(lambda: _settled(pids))
        before = _activity(pids)
        time.sleep(10)  # no wait for a condition: the test is that nothing happens
        assert _activity(pids) == before


def _activity(pids: tuple[int, ...]) -> dict[str, list[str]]:
    """The context switches and CPU time of each thread."""
    found = {}
    for task in sorted(task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()):
        switches = [line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line]
        found[task.name] = [*switches, *(task / "stat").read_text().rpartition(")")[2].split()[11:13]]
    return found


def _settled(pids: tuple[int, ...]) -> bool:
    before = _activity(pids)
    time.sleep(0.3)  # longer than any timer of a closed connection
    return _activity(pids) == before


@pytest.mark.slow
def test_peers_that_send_and_never_read_cost_a_bounded_amount(tmp_path: Path) -> None:
    with daemon(QUIET, tmp_path) as running:
        pid = running.worker
        ports = {name: running.port(name) for name in ("echo", "upper", "pingpong", "time", "chargen")}
        before = memory(pid)
        with contextlib.ExitStack() as stack:
            greedy = []
            for port in ports.values():
                for _ in range(10):
                    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    connection.setblocking(False)
                    greedy.append(connection)
            stuck = 0
            while stuck < 3:
                moved = 0
                for connection in greedy:
                    with contextlib.suppress(BlockingIOError):
                        while moved < 2**26:
                            moved += connection.send(b"ping\n" * 10_000)
                # This echo only takes time, in which the daemon reads; the next round shows how much it read.
                with socket.create_connection(("127.0.0.1", ports["echo"])) as other:
                    other.sendall(b"still there")
                    assert read_exactly(other, 11) == b"still there"
                # chargen discards all input, so its peers can always send.
                stuck = stuck + 1 if moved < 2**26 * 0.9 else stuck + (moved > 0)
            assert memory(pid) - before < 50 * 2 * 65536 + 4 * 2**20


@pytest.mark.slow
def test_burst_of_a_hundred_datagrams_to_each_service(tmp_path: Path) -> None:
    with daemon(QUIET, tmp_path) as running:
        threads = len(os.listdir(f"/proc/{running.worker}/task"))
        for name in ("echo", "daytime", "time", "upper", "pingpong", "reply", "qotd", "whoami", "chargen"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", running.port(name, "udp")))
                for _ in range(100):
                    client.send(b"ping")
                assert sum(1 for _ in range(100) if client.recv(65536) is not None) == 100
        assert len(os.listdir(f"/proc/{running.worker}/task")) == threads


@pytest.mark.slow
def test_closed_connections_leave_no_descriptors_and_no_memory(tmp_path: Path) -> None:
    with daemon(EVERYTHING.replace("warning", "info"), tmp_path) as running:
        pid = running.worker
        ports = [running.port(name) for name in ("echo", "pingpong", "time", "upper")]

        def round_trip() -> None:
            for port in ports:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(b"ping\n")
                    assert connection.recv(100)

        def descriptors() -> int:
            """The number of different open files. The worker holds duplicates of its channel as a reserve."""
            return len(set(open_files(pid).values()))

        idle = descriptors()
        for _ in range(300):
            round_trip()
        until(lambda: descriptors() == idle)
        before = memory(pid)
        for _ in range(1000):
            round_trip()
        until(lambda: descriptors() == idle)
        assert memory(pid) - before < 2**20


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_four_hundred_reloads_under_load(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    config = (
        "daemon: {{workers: 2}}\nlog: {{level: warning}}\nservices:\n"
        "  echo: {{listen: [tcp://127.0.0.1:{0}, udp://127.0.0.1:{0}]}}\n"
        "  upper: {{enabled: {1}, listen: [tcp://127.0.0.1:{2}]}}\n"
        "  pingpong: {{listen: [tcp://127.0.0.1:0], limits: {{line: {3}}}}}\n"
    )
    (tmp_path / "netd.yaml").write_text(config.format(port, "true", other, 100))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        failures: list[str] = []
        enough = threading.Event()
        done = [0, 0]

        def ask() -> None:
            while not enough.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", port), 20) as connection:
                        connection.sendall(b"hello")
                        assert read_exactly(connection, 5) == b"hello"
                        done[0] += 1
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", port))
                while not enough.is_set():
                    try:
                        client.send(b"x")
                        assert client.recv(9) == b"x"
                        done[1] += 1
                    except (OSError, AssertionError) as error:
                        failures.append(repr(error))

        try:
            until(lambda: os.path.exists(running.control) and not refused(port), 20)
            until(lambda: running.ask("status")["workers"])
            threads = [threading.Thread(target=work) for work in (ask, ask, send)]
            with talking(port) as live:
                for thread in threads:
                    thread.start()
                for number in range(1, 401):
                    write(tmp_path, config.format(port, str(number % 2 == 0).lower(), other, 100 + number))
                    assert running.ask("reload")["ok"]
                    assert refused(other) == (number % 2 == 1)
                    if number == 200:  # by now each process has copied the pages it shared since the fork
                        before = _cost(running)
                after = _cost(running)
                echoed(live, b"still\n")
            enough.set()
            for thread in threads:
                thread.join()
            assert failures == []
            assert min(done) > 100
            for (pid, descriptors, memory), (same, more, grown) in zip(before, after, strict=True):
                assert pid == same, "a process was replaced"
                assert more - descriptors <= 6, "descriptors leak"  # of connections that are open just now
                assert grown - memory < 2**20, "memory leaks"
        finally:
            enough.set()
            assert running.stop() == 0, running.lines[-5:]


def _cost(running: Daemon) -> list[tuple[int, int, int]]:
    """The process id, number of descriptors and octets of private memory of each process."""
    pids = [running.process.pid, *(worker["pid"] for worker in running.ask("status")["workers"])]
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    # The process that read the config may not have exited yet: what the supervisor shares with it is not private.
    until(lambda: len(children.read_text().split()) == len(pids) - 1)
    found = []
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own = sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
        found.append((pid, len(os.listdir(f"/proc/{pid}/fd")), own * 1024))
    return found
