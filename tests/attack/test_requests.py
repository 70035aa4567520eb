"""Odd HTTP requests to metrics: each gets one answer, and nothing of it goes back; slow clients are closed."""

import contextlib
import re
import socket
import time
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import failures
from tests.support.daemon import daemon
from tests.support.sockets import read_all
from tests.support.waiting import until

CONFIG = "services: {metrics: {listen: [tcp://127.0.0.1:0]}}\n"
ODD = {
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n": 421,
    b"GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n": 421,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n": 400,
    b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n": 421,
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /": 405,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n": 200,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n": 200,
    b"GET /../../etc/passwd HTTP/1.0\r\n\r\n": 404,
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.0\r\n\r\n": 404,
    b"GET //etc/passwd HTTP/1.0\r\n\r\n": 404,
    b"GET /\x1b[31m\0 HTTP/1.0\r\n\r\n": 404,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    b"GET /" + b"x" * 9000 + b" HTTP/1.0\r\n\r\n": 431,
    b"GET / HTTP/1.0\r\n" + b"a: b\r\n" * 1500 + b"\r\n": 431,
    b"GET / HTTP/1.0\r\n folded: b\r\n\r\n": 0,
    b"hello\r\n": 400,
    b"\r\n" * 9000: 431,
}


def _code(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.0 (\d{3}) ", answer)
    assert found, answer[:100]
    return int(found[1])


def test_odd_requests(tmp_path: Path, row: Row) -> None:
    codes = []
    with daemon(CONFIG, tmp_path) as running:
        port = running.port("metrics")
        for request, wanted in ODD.items():
            with socket.create_connection(("127.0.0.1", port), 20) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(request)
                answer = read_all(connection)
            codes.append(_code(answer))
            assert wanted in (0, codes[-1]), (request[:60], answer[:100])
            assert answer.count(b"HTTP/1.0 ") == 1, "one answer"
            if codes[-1] != 200:
                assert not re.search(rb"evil|x{4}|\x1b|passwd|hello", answer)
        row(f"{len(ODD)} requests", f"one answer each: {sorted(set(codes))}")
        assert failures(running) == []


def test_slow_clients(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running, contextlib.ExitStack() as stack:
        port = running.port("metrics")
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)).sendall(b"G")
        start = time.monotonic()

        def healthy() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 20) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                return read_all(connection).startswith(b"HTTP/1.0 200")
            return False

        until(healthy, 60)
        row("40 clients of one octet", f"/healthz answered after {time.monotonic() - start:.1f} s")
        assert failures(running) == []
