"""Services in Python files: a class that changes while netd serves, in a worker, and without a config."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_exactly

GREET = """
import os
from netd.contract import Context, Conversation
from netd.lines import Lines
from netd.peer import Peer
from netd.values import Model

class Greet:
    class Options(Model):
        greeting: str = "hello"

    def __init__(self, options: Options, context: Context) -> None:
        self.text = f"{options.greeting} from {os.getuid()}".encode()

    def stream(self, peer: Peer) -> Conversation:
        lines = Lines(100)
        while (line := (yield from lines.read())) is not None:
            if line == b"fail":
                raise LookupError("a fault of the handler")
            yield self.text + b"\\n"
"""
UPPER = """
import socketserver

class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
"""


@pytest.mark.slow
def test_code_is_served_by_workers_and_changed_by_a_reload(open_path: Path) -> None:
    file = open_path / "greet.py"
    file.write_text(GREET)
    config = (
        "services: {greet: {type: python, listen: ['tcp://127.0.0.1:0'], "
        f"options: {{class: '{file}:Greet', greeting: moin}}}}}}"
    )
    with daemon(config, open_path) as netd, contextlib.ExitStack() as clients:

        def connect() -> socket.socket:
            return clients.enter_context(socket.create_connection(("127.0.0.1", port), 10))

        port = netd.port("greet")
        owner = Path(f"/proc/{netd.worker}/status").read_text().split("Uid:\t")[1].split()[0]
        first = connect()
        before = f"moin from {owner}\n".encode()

        def said(client: socket.socket) -> bytes:
            client.sendall(b"x\n")
            return client.makefile("rb").readline()

        assert said(first) == before

        # A change is in force for new connections, and old ones go on with theirs.
        file.write_text(GREET.replace(" from {", " again, {"))
        assert netd.netd("diff").stdout == "greet: changed; its live connection stays as it is\n    code\n"
        done = netd.netd("reload")
        assert done.stdout == "greet: changed\n    code\ngeneration 2 of the config is in force\n"
        assert netd.event("reload_applied")["changes"] == {"greet": "changed"}
        second = connect()
        after = before.replace(b" from ", b" again, ")
        assert said(second) == after
        assert said(first) == before

        # Code with an error changes nothing.
        file.write_text(f"{GREET}\n1 / 0\n")
        done = netd.netd("reload")
        assert done.returncode == 78
        line = GREET.count("\n") + 2
        assert f"{file}:{line}:1: services.greet.options.class: ZeroDivisionError: division by zero" in done.stderr
        assert said(second) == after

        # A fault ends one connection, and has its line in the code that is in force.
        second.sendall(b"fail\n")
        failed = netd.event("conversation_failed")
        assert (
            f'File "{file}", line 19, in stream\n    raise LookupError("a fault of the handler")' in failed["exception"]
        )
        assert second.recv(1) == b""
        assert said(first) == before

        # A worker that takes the place of a lost one has the code that is in force.
        first.close()
        second.close()
        os.kill(netd.worker, 9)
        netd.event("worker_started")
        assert said(connect()) == after


@pytest.mark.slow
def test_file_is_served_without_a_config(open_path: Path) -> None:
    (open_path / "upper.py").write_text(UPPER)
    with Daemon("--service", f"{open_path}/upper.py:Upper", "tcp://127.0.0.1:0") as netd:
        netd.event("netd_started")
        with socket.create_connection(("127.0.0.1", netd.port("upper")), 10) as client:
            client.sendall(b"abc\n")
            assert read_exactly(client, 4) == b"ABC\n"
        assert netd.ask("status")["config"] == f"{open_path}/upper.py"
        with Daemon("--service", f"{open_path}/upper.py:Upper", netd.url("upper")) as other:
            problem = other.event("start_failed")["problem"]
            assert problem.startswith(f"services.upper: cannot listen on {netd.url('upper')}: "), "no place in a config"
        assert netd.stop() == 0
