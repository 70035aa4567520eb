"""Programs of a real daemon where something goes wrong: no descriptors left, peers that reset, reloads under load."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.sockets import free_port, read_all, read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow

_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def open_of(running: Daemon, service: str) -> int:
    """The open connections of a service, as `netd status` has them."""
    return int(next(one["connections"] for one in running.ask("status")["services"] if one["service"] == service))


def open_files(pid: int) -> int:
    """The files that a process has open: those that it reserves are copies of one."""
    names = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    return len({os.readlink(name) for name in names if os.path.islink(name)})


@pytest.mark.parametrize("relay", ["true", "false"])
def test_connection_for_which_no_descriptor_is_left_ends_alone(relay: str, tmp_path: Path) -> None:
    config = f"""
services:
  echo: {{listen: ['tcp://127.0.0.1:0']}}
  p:
    type: exec
    listen: ['tcp://127.0.0.1:0']
    options: {{command: [/bin/cat], wait_for_data: 300ms, relay: {relay}}}
"""
    with daemon(config, tmp_path, command=("prlimit", "--nofile=100:100")) as running:
        clients = [connect(running.port("echo"))]
        try:
            clients += [connect(running.port("p")) for _ in range(120)]
            until(lambda: running.refusals("p"), 20)
            clients[0].sendall(b"x")
            assert read_exactly(clients[0], 1) == b"x", "the worker is the same, and serves others"
        finally:
            for client in clients:
                client.close()
    assert not [line for line in running.lines if line["event"] in ("worker_lost", "conversation_failed")]


def test_program_of_a_relayed_client_that_resets_is_ended_and_has_its_place_until_then(tmp_path: Path) -> None:
    config = """
services:
  p:
    type: exec
    listen: ['tcp://127.0.0.1:0']
    limits: {connections: 2}
    options: {command: [/bin/sh, -c, "echo ready; trap '' TERM; sleep 100"], relay: true, stop: {after: 300ms}}
"""
    with daemon(config, tmp_path) as running:
        for _ in range(3):
            clients = [connect(running.port("p")) for _ in range(2)]
            for client in clients:
                assert read_exactly(client, 6) == b"ready\n"
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
            with connect(running.port("p")) as third:
                assert read_all(third) == b"", "the programs have their places until they have ended"
            until(lambda: not open_of(running, "p"), 20)


def test_reload_that_changes_the_identity_of_a_program_refuses_no_connection(tmp_path: Path) -> None:
    port = free_port()
    config = f"""
services:
  p:
    type: exec
    listen: ['tcp://127.0.0.1:{port}']
    options: {{command: [/bin/echo, hi], stderr: null, no_new_privileges: true}}
"""
    wrong: list[bytes] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            with connect(port) as client:
                if (answer := read_all(client)) != b"hi\n":
                    wrong.append(answer)

    with daemon(config, tmp_path) as running:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for number in range(6):
                text = config.replace("true", "false") if number % 2 == 0 else config
                (tmp_path / "netd.yaml").write_text(text)
                assert running.netd("reload").returncode == 0
        finally:
            is_over.set()
            for thread in threads:
                thread.join(30)
    assert wrong == []


def test_launcher_that_is_not_needed_any_more_leaves_no_descriptors(tmp_path: Path) -> None:
    echo = "services:\n  echo: {listen: ['tcp://127.0.0.1:0']}\n"
    both = echo + "  p: {type: exec, listen: ['tcp://127.0.0.1:0'], options: {command: [/bin/true]}}\n"

    def is_settled() -> bool:
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        return len(children) == 1  # the worker

    with daemon(echo, tmp_path) as running:
        numbers = []
        for _ in range(3):
            (tmp_path / "netd.yaml").write_text(both)
            assert running.netd("reload").returncode == 0
            (tmp_path / "netd.yaml").write_text(echo)
            assert running.netd("reload").returncode == 0
            until(is_settled, 30)
            numbers.append((open_files(running.process.pid), open_files(running.worker)))
        assert numbers[1:] == numbers[:1] * 2
