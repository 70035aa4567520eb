"""Handlers that block, in a netd with two workers: how many threads they have, and what is said of one that hangs."""

import contextlib
import os
import re
import socket
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until

ECHO = """
import socketserver

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
"""


def threads(netd: Daemon) -> int:
    return int(netd.ask("status")["services"][0]["counters"]["threads_active"])


@pytest.mark.slow  # starts netd
def test_threads_are_as_many_as_the_config_in_force_says_in_all_workers(open_path: Path) -> None:
    file = open_path / "echo.py"
    file.write_text(ECHO)
    config = (
        "daemon: {workers: 2, threads: 4}\n"
        "services: {echo: {type: python, listen: ['tcp://127.0.0.1:0'], limits: {threads: 2}, "
        f"options: {{class: '{file}:Echo'}}}}}}"
    )
    with daemon(config, open_path) as netd, contextlib.ExitStack() as clients:
        port = netd.port("echo")

        def is_served() -> bool:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x\n")
                return client.recv(2) == b"x\n"
            return False

        assert [is_served() for _ in range(3)] == [True, True, False]
        (open_path / "netd.yaml").write_text(config.replace("{threads: 2}", "{threads: 100}"))
        assert netd.netd("reload").returncode == 0
        # The two of before have their threads still, and the daemon has four.
        assert [is_served() for _ in range(3)] == [True, True, False]
        assert threads(netd) == 4
        assert "4 of handlers" in netd.netd("status", "echo").stdout
        (open_path / "netd.yaml").write_text(config.replace("{threads: 2}", "{threads: 3}"))
        assert netd.netd("reload").returncode == 0
        clients.close()
        until(lambda: threads(netd) == 0)
        assert [is_served() for _ in range(4)] == [True, True, True, False]
        assert netd.refusals("echo") == 3


HANG = """
import socketserver, time

class Hang(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(10)
        time.sleep(600)
"""


@pytest.mark.slow  # waits until a handler hangs
def test_handler_that_hangs_is_in_the_log_and_the_status(open_path: Path) -> None:
    file = open_path / "hang.py"
    file.write_text(HANG)
    config = (
        "daemon: {heartbeat: 100ms, drain: 100ms}\n"
        "services: {hang: {type: python, listen: ['tcp://127.0.0.1:0'], "
        f"options: {{class: '{file}:Hang'}}}}}}"
    )
    with daemon(config, open_path) as netd:
        client = socket.create_connection(("127.0.0.1", netd.port("hang")), 10)
        with client:
            client.sendall(b"x")
            at = f"{file}:7 in handle"
            line = netd.event("handler_stalled")
            assert (line["service"], line["at"], line["cpu_seconds"]) == ("hang", at, 0.0)
            until(lambda: netd.ask("status")["services"][0]["hanging"])
            service = netd.ask("status")["services"][0]
            assert service["counters"]["handlers_hanging"] == 1
            [one] = service["hanging"]
            assert (one["worker"], one["at"], one["peer"]) == (0, at, "{}:{}".format(*client.getsockname()))
            assert re.search(rf"hanging: {re.escape(at)} for \d+s", " ".join(netd.netd("status").stdout.split()))
            assert at in netd.netd("status", "hang").stdout


ASYNC = """
import asyncio

async def wait(reader, writer):
    writer.write(b"x")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("cleaned up")
"""


@pytest.mark.slow  # starts netd
@pytest.mark.parametrize("words", [("disable", "wait"), ("stop",)], ids=["disable", "stop"])
def test_coroutine_has_the_time_of_drain_and_then_cleans_up(
    open_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_path / "wait.py"
    file.write_text(ASYNC)
    # The workers of root may be unable to read the library of this Python, but have what netd has imported.
    (open_path / "sitecustomize.py").write_text("import asyncio\n")
    monkeypatch.setenv("PYTHONPATH", f"{open_path}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    config = (
        "daemon: {drain: 100ms}\n"
        "services: {wait: {type: python, listen: ['tcp://127.0.0.1:0'], limits: {drain: 100ms}, "
        f"options: {{class: '{file}:wait'}}}}}}"
    )
    with daemon(config, open_path) as netd, socket.create_connection(("127.0.0.1", netd.port("wait")), 10) as client:
        assert client.recv(1) == b"x"
        assert netd.netd(*words).returncode == 0
        assert client.recv(1) == b""
        assert netd.event("line_printed")["line"] == "cleaned up"
