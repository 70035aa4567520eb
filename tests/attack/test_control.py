"""The control socket in the hands of local users: netd answers the next one."""

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import descriptors, failures
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until

CONFIG = "services: {echo: {listen: [tcp://127.0.0.1:0]}}\n"


def _dial(running: Daemon) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(running.control)
    return connection


def test_clients_that_say_nothing(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running, contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(_dial(running))
        start = time.monotonic()
        tries = 0
        while True:
            tries += 1
            with contextlib.suppress(OSError), _dial(running) as one:
                one.sendall(b"status\n")
                if one.recv(1) == b"{":
                    break
        took = time.monotonic() - start
        row("300 silent clients", f"status answered after {took:.1f} s and {tries} tries")
        assert failures(running) == []


def test_junk(tmp_path: Path, row: Row) -> None:
    junk = {
        "a line of 1 MB": b"x" * 2**20 + b"\n",
        "octets": os.urandom(65536),
        "50,000 empty lines": b"\n" * 50_000,
        "deep JSON": b"[" * 100_000 + b"\n",
        "10,000 words": b"status " * 10_000 + b"\n",
    }
    with daemon(CONFIG, tmp_path) as running:
        before = descriptors(running.process.pid)
        for data in junk.values():
            for _ in range(20):
                with _dial(running) as one, contextlib.suppress(OSError):
                    one.sendall(data)
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(65536):
                        pass
        assert running.ask("status")["ready"]
        until(lambda: descriptors(running.process.pid) <= before)
        row(f"20 times {', '.join(junk)}", "each answered or closed, no descriptor left")
        assert failures(running) == []


def test_flood_of_requests(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running:
        enough = threading.Event()
        answered = [0]

        def flood() -> None:
            while not enough.is_set():
                with contextlib.suppress(OSError), _dial(running) as one:
                    one.sendall(b"status\n")
                    one.shutdown(socket.SHUT_WR)
                    received = b""
                    while piece := one.recv(65536):
                        received += piece
                    answered[0] += bool(json.loads(received)["ok"])

        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        (tmp_path / "netd.yaml").write_text(CONFIG.replace("echo: {", "echo: {limits: {line: 100}, "))
        assert running.ask("reload")["ok"]
        until(lambda: answered[0] > 2000, 60)
        took = time.monotonic() - start
        enough.set()
        for thread in threads:
            thread.join()
        row(f"{answered[0]:,} requests of 4 clients in {took:.1f} s", "all answered, a reload between them")
        assert failures(running) == []
