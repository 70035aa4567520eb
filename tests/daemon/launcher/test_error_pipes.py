"""Standard error of programs that have a listener, and of programs after the end of their worker."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need_root
from tests.support.sockets import read_exactly
from tests.transport.stream.peers import connect

pytestmark = pytest.mark.slow  # daemons

REPEAT = "while read -r line; do echo $line >&2; echo $line; done"
HERE = ("tcp://127.0.0.1:0",)


def config(script: str, *listen: str, **options: Any) -> str:
    options["command"] = ["/bin/sh", "-c", script]
    return json.dumps({"services": {"it": {"type": "exec", "listen": listen or HERE, "options": options}}})


def kill_worker(running: Daemon) -> None:
    os.kill(running.worker, signal.SIGKILL)
    running.event("worker_started")


def test_standard_error_of_a_program_with_a_listener_is_logged(tmp_path: Path) -> None:
    script = "dd bs=99 count=1 status=none >&2; echo the end >&2"
    with daemon(config(script, "udp://127.0.0.1:0", mode="listener"), tmp_path) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello\n", ("127.0.0.1", running.port("it", "udp")))
        pid = running.event("program_started")["pid"]
        lines = [running.event("program_error") for _ in range(2)]
        assert [(line["service"], line["pid"], line["line"]) for line in lines] == [
            ("it", pid, "hello"),
            ("it", pid, "the end"),
        ]
    assert running.lines[-1]["event"] == "netd_stopped"


def test_program_of_a_killed_worker_goes_on_and_is_logged(tmp_path: Path) -> None:
    with daemon(config(REPEAT), tmp_path) as running, connect(("127.0.0.1", running.port("it"))) as client:
        for number in range(3):
            line = f"{number}\n".encode()
            client.sendall(line)
            assert read_exactly(client, 2) == line
            assert running.event("program_error")["line"] == str(number)
            kill_worker(running)
        client.close()
        assert running.event("program_ended")["code"] == 0


def test_listener_program_is_logged_by_the_next_worker(tmp_path: Path) -> None:
    script = "exec /usr/bin/python3 -c 'import os\nwhile True: os.write(2, os.read(0, 99))'"
    with (
        daemon(config(script, "udp://127.0.0.1:0", mode="listener"), tmp_path) as running,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        for number in range(3):
            client.sendto(f"{number}\n".encode(), ("127.0.0.1", running.port("it", "udp")))
            assert running.event("program_error")["line"] == str(number)
            kill_worker(running)


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_program_of_another_user_may_open_its_standard_error(listen: str, tmp_path: Path) -> None:
    need_root()
    script = "echo hello > /dev/stderr; dd bs=99 count=1 status=none"
    datagrams = listen.startswith("udp")
    options = {"user": "daemon", "mode": "listener" if datagrams else "connection"}
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    with daemon(config(script, listen, **options), tmp_path) as running, socket.socket(socket.AF_INET, kind) as client:
        client.connect(("127.0.0.1", running.port("it", listen[:3])))
        client.send(b"x\n")
        assert running.event("program_error")["line"] == "hello"
