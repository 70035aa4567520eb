"""Floods of datagrams and connections from one source and from a million forged ones: other sources are served."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.echoes import Echoes, descriptors_for
from tests.attack.processes import failures, megabytes, memory
from tests.daemon.clients import answers, echoes
from tests.support.daemon import Daemon, daemon
from tests.support.programs import started
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
CONFIG = (
    "log: {connections: off}\nbans: {exempt: []}\ndefaults: {limits: {exempt: []}}\nservices:\n"
    "  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}\n"
    "  calm: {type: echo, listen: [tcp://127.0.0.1:0]}\n"
)
# One datagram from each address from 127.0.0.1 upwards (IP_PKTINFO, ip(7)), as fast as Python sends.
MILLION = """
import socket, struct, sys
port, number = int(sys.argv[1]), int(sys.argv[2])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 0))
for count in range(number):
    source = (0x7F000001 + count).to_bytes(4, "big")
    sock.sendmsg([b"x"], [(socket.IPPROTO_IP, 8, struct.pack("=i4s4s", 0, source, bytes(4)))], 0, ("127.0.0.1", port))
"""
FORGED = 1_000_000
# Connections of one source, of which the last hundred are open.
CONNECTIONS = """
import collections, socket, struct, sys
opened = collections.deque()
for _ in range(int(sys.argv[2])):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.bind(("127.0.0.2", 0))
    one.connect(("127.0.0.1", int(sys.argv[1])))
    opened.append(one)
    if len(opened) > 100:
        opened.popleft().close()
"""
FLOOD = 50_000


def _counters(running: Daemon) -> dict[str, int | dict[str, int]]:
    return dict(running.ask("status")["services"][0]["counters"])


def test_million_forged_sources(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running:
        pids = (running.worker, running.process.pid)
        before = [memory(pid) for pid in pids]
        command = [sys.executable, "-c", MILLION, str(running.port("echo", "udp")), str(FORGED)]
        with Echoes(running.port("calm")) as echoes_beside, started(*command) as flood:
            assert flood.wait(300) == 0
        until(lambda: answers(running.port("echo", "udp"), "127.255.255.1"), 30)
        grown = [memory(pid) - size for pid, size in zip(pids, before, strict=True)]
        received = int(str(_counters(running)["datagrams_received"]))
        row(
            f"{FORGED:,} datagrams of as many sources",
            f"{received:,} reached netd; {' and '.join(map(megabytes, grown))} more; {echoes_beside.seen}",
        )
        assert sum(grown) < 8e6
        assert failures(running) == []


def test_datagrams_of_one_source(tmp_path: Path, row: Row) -> None:
    number = 3000
    with daemon(CONFIG, tmp_path) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
        client.bind(("127.0.0.2", 0))
        client.connect((LOOPBACK, running.port("echo", "udp")))
        for _ in range(number):
            client.send(b"x")
        client.settimeout(1)
        answered = 0
        with contextlib.suppress(TimeoutError):
            while client.recv(10):
                answered += 1
        assert answers(running.port("echo", "udp"), "127.0.0.3"), "another source"
        row(f"{number:,} datagrams of one source", f"{answered} answered (50/s, burst 100); another source too")
        assert 0 < answered < number // 2
        assert failures(running) == []


def test_connections_of_one_source(tmp_path: Path, row: Row) -> None:
    """It is banned, and a second source is served meanwhile, twenty times a second."""
    with daemon(CONFIG, tmp_path) as running:
        port, served = running.port("echo"), [0, 0]
        over = threading.Event()

        def serve() -> None:
            while not over.wait(0.05):
                served[0] += 1
                with contextlib.suppress(OSError):
                    served[1] += echoes(port, "127.0.0.3")

        other = threading.Thread(target=serve)
        other.start()
        try:
            subprocess.run([sys.executable, "-c", CONNECTIONS, str(port), str(FLOOD)], check=True, timeout=300)
        finally:
            over.set()
            other.join()
        bans = running.ask("ban", "list")["bans"]
        counters = _counters(running)
        assert failures(running) == []
        lines = len(running.lines)
        row(
            f"{FLOOD:,} connections of one source, {served[0]} of another",
            f"{counters['connections_refused']} refused; {len(bans)} banned; {served[1]} of {served[0]} of the other "
            f"served; {lines} log lines",
        )
        assert [one["source"] for one in bans] == ["127.0.0.2"]
        assert served[0] == served[1] > 0
        assert lines < 100


def test_nine_thousand_connections_of_one_source(tmp_path: Path, row: Row) -> None:
    """Loopback is exempt from the limits of a source, as in the built-in config; all are reset at once."""
    config = "log: {connections: off}\ndefaults: {limits: {connections: 10000}}\n" + CONFIG[CONFIG.index("services") :]
    with descriptors_for(9500), daemon(config, tmp_path) as running:
        with Echoes(running.port("calm")) as echoes_beside, contextlib.ExitStack() as stack:
            for _ in range(9000):
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.settimeout(20)
                one.connect((LOOPBACK, running.port("echo")))
                one.sendall(b"x")
                assert one.recv(1) == b"x"
        until(lambda: running.ask("status")["services"][0]["connections"] == 0, 30)
        row("9,000 connections of one source", f"0 failed; {echoes_beside.seen}")
        assert failures(running) == []
