"""The cost of a request, counted and not timed: system calls by strace(1), and allocations."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need
from tests.support.sockets import read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """\
daemon: {heartbeat: 1h}
log: {connections: off}
services:
  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  pingpong: {listen: [tcp://127.0.0.1:0]}
"""
CONNECTIONS, ROUNDS = 32, 50


def calls(report: str) -> dict[str, int]:
    """How often each call was made, from the table that ``strace -c`` prints."""
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", report, re.MULTILINE)
    return {name: int(number) for number, name in rows if name != "total"}


class Strace:
    """Counts the system calls of a process inside a with statement."""

    def __init__(self, pid: int, report: Path) -> None:
        self._pid = pid
        self._report = report
        self.calls: dict[str, int] = {}

    def __enter__(self) -> "Strace":
        command = ["strace", "-c", "-o", str(self._report), "-p", str(self._pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        assert "attached" in self._process.stderr.readline()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)
        self.calls = calls(self._report.read_text())


@pytest.mark.parametrize(("service", "data"), [("echo", b"x" * 64), ("pingpong", b"ping 1\n")])
def test_request_over_tcp_costs_two_system_calls_and_a_share_of_epoll_wait(
    tmp_path: Path, service: str, data: bytes
) -> None:
    need("strace")
    with daemon(CONFIG, tmp_path) as running:
        connections = [socket.create_connection(("127.0.0.1", running.port(service)), 20) for _ in range(CONNECTIONS)]
        until(lambda: running.ask("connections")["total"] == CONNECTIONS)
        with Strace(running.worker, tmp_path / "report") as strace:
            for _ in range(ROUNDS):
                for connection in connections:
                    connection.sendall(data)
                for connection in connections:
                    assert read_exactly(connection, 7 if service == "pingpong" else 64)
        requests = CONNECTIONS * ROUNDS
        assert strace.calls.pop("recvfrom") == requests
        assert strace.calls.pop("sendto") == requests
        # The scheduler decides how many requests one wait finds.
        assert strace.calls.pop("epoll_wait") <= requests + 50
        assert sum(strace.calls.values()) < 100, strace.calls
        for connection in connections:
            connection.close()


def test_batch_of_datagrams_costs_two_system_calls(tmp_path: Path) -> None:
    need("strace")
    with daemon(CONFIG, tmp_path) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", running.port("echo", "udp")))
        with Strace(running.worker, tmp_path / "report") as strace:
            for _ in range(20):
                # A stopped worker cannot receive them one by one.
                subprocess.run(["kill", "-STOP", str(running.worker)], check=True)
                for _ in range(64):
                    client.send(b"x" * 64)
                subprocess.run(["kill", "-CONT", str(running.worker)], check=True)
                for _ in range(64):
                    assert client.recv(100)
        assert strace.calls["recvmmsg"] <= 20 + 5
        assert strace.calls["sendmmsg"] <= 20 + 5


def test_idle_worker_makes_no_system_calls(tmp_path: Path) -> None:
    need("strace")
    config = CONFIG + "  metrics: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, socket.create_connection(("127.0.0.1", running.port("echo"))):
        for _ in range(5):  # it may have something left to do at first
            with Strace(running.worker, tmp_path / "report") as strace:
                time.sleep(1.5)  # no wait for a condition: the test is that nothing happens
            if sum(strace.calls.values()) <= 2:
                break
        else:
            pytest.fail(f"{strace.calls}")


# Counts allocations, in memory that the test shares.
COUNT = """
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static uint64_t none, *count = &none;
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("NETD_COUNT"), O_RDWR);
    void *found = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) count = found;
}
void *malloc(size_t n) { ++*count; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { ++*count; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { ++*count; return __libc_realloc(p, n); }
"""


@pytest.mark.parametrize(
    ("service", "data", "most"), [("echo", b"x" * 64, 10), ("pingpong", b"ping 1\n", 18)], ids=["echo", "pingpong"]
)
def test_request_allocates_little(tmp_path: Path, service: str, data: bytes, most: int) -> None:
    need("cc")
    (tmp_path / "count.c").write_text(COUNT)
    library = str(tmp_path / "count.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, str(tmp_path / "count.c")], check=True)
    count = tmp_path / "count"
    count.write_bytes(bytes(8))
    (tmp_path / "netd.yaml").write_text(CONFIG)
    with Daemon(
        "-c",
        str(tmp_path / "netd.yaml"),
        LD_PRELOAD=library,
        NETD_COUNT=str(count),
        PYTHONMALLOC="malloc",  # each object by itself
    ) as running:
        running.event("netd_started")
        with socket.create_connection(("127.0.0.1", running.port(service)), 20) as connection:

            def ask(number: int) -> int:
                before = int.from_bytes(count.read_bytes(), sys.byteorder)
                for _ in range(number):
                    connection.sendall(data)
                    assert read_exactly(connection, len(data)) in (data, b"pong 1\n")
                return int.from_bytes(count.read_bytes(), sys.byteorder) - before

            ask(100)
            allocated = round(ask(1000) / 1000)  # rounded, since the timer wheel allocates too
        assert running.stop() == 0
    assert 1 <= allocated <= most, "a higher limit needs a reason"
