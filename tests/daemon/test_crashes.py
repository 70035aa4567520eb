"""Services that take their worker down again and again, in a daemon."""

import re
import socket
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_exactly
from tests.support.waiting import until

CODE = """
import ctypes, os, socketserver

class Loop:
    def stream(self, peer):
        while data := (yield):
            end(data)
            yield data

class Thread(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            end(data)
            self.request.sendall(data)

def end(data):
    if data == b"exit":
        os._exit(3)
    if data == b"crash":
        ctypes.string_at(0)
    while data == b"hang":
        pass
"""


def config(file: Path, name: str) -> str:
    return (
        "daemon: {heartbeat: 200ms}\nservices:\n"
        "  echo: {listen: ['tcp://127.0.0.1:0']}\n"
        f"  quiet: {{type: python, listen: ['tcp://127.0.0.1:0'], options: {{class: '{file}:Loop'}}}}\n"
        f"  loud: {{type: python, listen: ['tcp://127.0.0.1:0'], options: {{class: '{file}:{name}'}}}}\n"
    )


def says(netd: Daemon, service: str, data: bytes) -> bytes:
    """What the service answers, on a connection of its own."""
    with socket.create_connection(("127.0.0.1", netd.port(service)), 20) as client:
        client.sendall(data)
        try:
            return client.recv(100)
        except ConnectionResetError:
            return b""


def move(netd: Daemon, how: bytes) -> None:
    """Have `loud` take the worker down until it has one of its own."""
    for number in range(3):
        assert says(netd, "loud", how) == b""
        lost = netd.event("worker_lost")
        assert (lost["services"], lost["sources"]) == ("loud", "127.0.0.1")
        netd.event("worker_started" if number < 2 else "service_isolated")
    assert netd.lines[-1]["service"] == "loud"
    until(lambda: [one for one in netd.ask("status")["workers"] if one["service"] == "loud"])
    assert says(netd, "loud", b"fine") == b"fine"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), [("Loop", b"hang"), ("Thread", b"crash"), ("Thread", b"exit")])
def test_service_that_takes_its_worker_down_gets_one_of_its_own(open_path: Path, name: str, how: bytes) -> None:
    file = open_path / "end.py"
    file.write_text(CODE)
    with daemon(config(file, name), open_path) as netd:
        move(netd, how)
        with socket.create_connection(("127.0.0.1", netd.port("quiet")), 10) as other:
            assert says(netd, "loud", how) == b""
            assert netd.event("worker_lost")["services"] == "loud"
            other.sendall(b"x")
            assert read_exactly(other, 1) == b"x"


@pytest.mark.slow
def test_service_rests_in_its_own_worker_until_its_code_changes(open_path: Path) -> None:
    file = open_path / "end.py"
    file.write_text(CODE)
    with daemon(config(file, "Loop"), open_path) as netd:
        move(netd, b"exit")
        with socket.create_connection(("127.0.0.1", netd.port("quiet")), 10) as other:
            for delay in (0.0, 0.25, 1.0, 4.0, 15.0):  # the last one is longer than the commands below take
                assert says(netd, "loud", b"exit") == b""
                lost = netd.event("worker_lost")
                assert (lost["services"], lost["delay"]) == ("loud", delay)
                other.sendall(b"x")
                assert read_exactly(other, 1) == b"x"
            answer = netd.ask("status")
            assert (answer["ready"], answer["healthy"]) == (True, True)
            [loud] = [one for one in answer["services"] if one["service"] == "loud"]
            assert (loud["isolated"], loud["moved"]) == (True, True)
            assert (loud["crashes"]["number"], loud["crashes"]["sources"]) == (8, ["127.0.0.1"])
            assert loud["crashes"]["rests_until"]
            shown = netd.netd("status", "loud").stdout
            assert re.search("lost workers +8, the last .* ago", shown)
            assert re.search("while it served +127.0.0.1", shown)

            # A reload without a change leaves it there.
            assert netd.netd("reload").returncode == 0
            assert re.search("lost workers: 8, the last .* ago; rests for", netd.netd("status").stdout)

            # Changed code gets another chance, among the others.
            file.write_text(CODE.replace("os._exit(3)", "return"))
            assert netd.netd("reload").returncode == 0
            assert says(netd, "loud", b"exit") == b"exit"
            assert not [one for one in netd.ask("status")["workers"] if one["service"] and not one["leaving"]]
            other.sendall(b"z")
            assert read_exactly(other, 1) == b"z"
