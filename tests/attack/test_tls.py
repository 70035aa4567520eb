"""Ten thousand TLS connections on which nothing moves: memory, a reload beside them, and what is left of them."""

import contextlib
import resource
import socket
import ssl
import time
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import descriptors, failures, megabytes, memory
from tests.daemon.configs import write
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon
from tests.support.tls import client_context
from tests.support.waiting import until

IDLE = 10_000
_MOST_EACH = 32 * 1024  # octets of a worker for one of them


def _connect(running: Daemon, context: ssl.SSLContext, number: int) -> ssl.SSLSocket:
    """A connection from one of 250 addresses, since one address has a limit."""
    at = ("127.0.0.1", running.port("echo", "tls"))
    bare = socket.create_connection(at, 60, (f"127.0.1.{1 + number % 250}", 0))
    return context.wrap_socket(bare, server_hostname="localhost")


def _answers(stream: ssl.SSLSocket) -> bool:
    stream.sendall(b"hello\n")
    return stream.recv(10) == b"hello\n"


def test_ten_thousand_idle_tls_connections(tmp_path: Path, row: Row) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("server")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= IDLE + 500, "RLIMIT_NOFILE"
    config = f"""
daemon: {{connections: {IDLE + 100}}}
log: {{connections: off}}
services:
  echo:
    listen: [tls://127.0.0.1:0]
    tls: {{certificate: {issued.certificate}, key: {issued.key}}}
    limits: {{connections: {IDLE + 100}, idle: 1h, rate: off}}
"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
            context = client_context(authority)
            with _connect(running, context, 0) as stream:
                assert _answers(stream)
            until(lambda: not running.ask("connections")["connections"])
            before = memory(running.worker), descriptors(running.worker)
            began = time.monotonic()
            idle = [stack.enter_context(_connect(running, context, number)) for number in range(IDLE)]
            took = time.monotonic() - began
            each = (memory(running.worker) - before[0]) / IDLE
            write(tmp_path, config.replace("idle: 1h", "idle: 2h"))
            assert running.ask("reload")["ok"]
            with _connect(running, context, 0) as stream:
                assert _answers(stream)
            lost = IDLE - sum(map(_answers, idle))
            stack.close()
            until(lambda: descriptors(running.worker) == before[1], 60)
            after = memory(running.worker)
            row(
                f"{IDLE} connections, made in {took:.0f} s, and a reload",
                f"{lost} lost; {each / 1024:.1f} KiB of the worker each; {megabytes(before[0])} before,"
                f" {megabytes(after)} after them",
            )
            assert lost == 0
            assert each < _MOST_EACH
            assert failures(running) == []
            assert running.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
