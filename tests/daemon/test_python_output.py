"""What the code of services prints and logs, in the log of a daemon."""

import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.sockets import read_exactly

CODE = """
import ctypes, logging, os, socketserver, sys

print("imported")

class Talk:
    def stream(self, peer):
        print("begun", end="")
        while data := (yield):
            print(" with", data.decode().strip())
            yield data

class Handle(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            logging.warning("handled %s", line.decode().strip())
            try:
                1 / 0
            except ZeroDivisionError:
                logging.getLogger("greet.parts").exception("cannot divide")
            self.wfile.write(line)

class Answer:
    def datagram(self, data, peer):
        sys.stderr.write("answered\\n")
        if data == b"descriptor":
            os.write(2, b"written to the descriptor\\n")
        if data == b"flood":
            for number in range(5000):
                print("line", number)
            os.write(1, bytes(60_000))
        return data
"""
CONFIG = """
services:
  talk: {{type: python, listen: ['tcp://127.0.0.1:0'], options: {{class: '{file}:Talk'}}}}
  handle: {{type: python, listen: ['tcp://127.0.0.1:0'], options: {{class: '{file}:Handle'}}}}
  answer: {{type: python, listen: ['udp://127.0.0.1:0'], options: {{class: '{file}:Answer'}}}}
"""


@pytest.mark.slow
def test_output_of_three_services_in_one_worker_is_told_by_service_and_peer(open_path: Path) -> None:
    file = open_path / "parts.py"
    file.write_text(CODE)
    with daemon(CONFIG.format(file=file), open_path) as netd:
        [imported] = [line for line in netd.lines if line["event"] == "line_printed"]
        assert (imported["service"], imported["line"]) == ("talk", "imported"), "it is executed once"
        clients = [socket.create_connection(("127.0.0.1", netd.port(name)), 10) for name in ("talk", "handle")]
        own = {}
        for client, data in zip(clients, (b"abc\n", b"def\n"), strict=True):
            client.sendall(data)
            assert read_exactly(client, 4) == data
            own[data] = "{}:{}".format(*client.getsockname())
        begun = netd.event("line_printed")
        assert (begun["service"], begun["stream"], begun["line"]) == ("talk", "stdout", "begun with abc")
        assert begun["peer"] == own[b"abc\n"]
        handled = netd.event("line_logged")
        assert (handled["service"], handled["level"], handled["line"]) == ("handle", "warning", "handled def")
        assert handled["peer"] == own[b"def\n"]
        failed = netd.event("line_logged")
        assert (failed["level"], failed["logger"], failed["line"]) == ("error", "greet.parts", "cannot divide")
        assert failed["exception"].endswith("ZeroDivisionError: division by zero")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(("127.0.0.1", netd.port("answer", "udp")))
            client.send(b"descriptor")
            assert client.recv(100) == b"descriptor"
            answered = netd.event("line_printed")
            assert (answered["service"], answered["stream"], answered["line"]) == ("answer", "stderr", "answered")
            written = netd.event("line_printed")
            assert (written["worker"], written["line"]) == (0, "written to the descriptor")
            # It is bounded, and nothing waits for it.
            client.send(b"flood")
            assert client.recv(100) == b"flood"
            assert netd.event("lines_skipped")["service"] == "answer"
            client.send(b"again")
            assert client.recv(100) == b"again"
        for client in clients:
            client.close()
    lines = [line for line in netd.lines if line["event"] == "line_printed" and line.get("service") == "answer"]
    assert 100 <= len(lines) < 300
    assert not [line for line in netd.lines if line["event"] == "not_json"]
    assert netd.output == ""


@pytest.mark.slow
def test_level_of_netd_is_that_of_logging(open_path: Path) -> None:
    file = open_path / "level.py"
    file.write_text(
        "import logging\nclass Level:\n    def datagram(self, data, peer):\n        logging.debug('detail')\n"
        "        return b'%d' % logging.getLogger().getEffectiveLevel()\n"
    )
    config = f"services: {{level: {{type: python, listen: ['udp://127.0.0.1:0'], options: {{class: '{file}:Level'}}}}}}"
    with daemon(config, open_path) as netd, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", netd.port("level", "udp")))
        client.send(b"x")
        assert client.recv(100) == b"20"
        assert netd.netd("log-level", "debug").returncode == 0
        client.send(b"x")
        assert client.recv(100) == b"10"
        assert netd.event("line_logged")["line"] == "detail"


@pytest.mark.slow
def test_process_that_code_forks_logs_its_own_lines_once(open_path: Path) -> None:
    file = open_path / "forks.py"
    file.write_text(
        "import os, signal, socketserver\n"
        "def fork():\n"
        "    if not (pid := os.fork()):\n"
        "        signal.alarm(60)\n"
        "        print('of the child')\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "class InLoop:\n"
        "    def stream(self, peer):\n"
        "        yield b'x'\n"
        "        fork()\n"
        "class InThread(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        self.request.sendall(b'x')\n"
        "        fork()\n"
    )
    names = ("InLoop", "InThread")
    services = [
        f"{name}: {{type: python, listen: ['tcp://127.0.0.1:0'], options: {{class: '{file}:{name}'}}}}"
        for name in names
    ]
    with daemon(f"log: {{connections: all}}\nservices: {{{', '.join(services)}}}", open_path) as netd:
        for name in names:
            clients = [socket.create_connection(("127.0.0.1", netd.port(name)), 10) for _ in range(20)]
            for client in clients:
                assert read_exactly(client, 1) == b"x"
                assert client.recv(1) == b""
                client.close()
    for name in names:
        events = Counter(line["event"] for line in netd.lines if line.get("service") == name)
        assert (events["connection_closed"], events["line_printed"]) == (20, 20), name
