"""`netd talk --service`: the operator at the control socket is connected to a service."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netd.client.control import follow
from tests.support.daemon import Daemon, daemon
from tests.support.descriptors import open_files
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """\
daemon: {workers: 2}
services:
  pingpong: {listen: [tcp://127.0.0.1:0]}
  echo: {listen: [udp://127.0.0.1:0]}
  reply: {listen: [tcp://127.0.0.1:0]}
  closed: {type: echo, listen: [tcp://127.0.0.1:0], access: {deny: [local, "uid:0"]}}
  off: {type: upper, enabled: false, listen: [tcp://127.0.0.1:0]}
"""


class Operator:
    """A client of the control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lines = connection.makefile("rb")

    def send(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def receive(self) -> dict[str, Any]:
        while not (line := self._lines.readline()).strip():
            assert line, "the connection is closed"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._lines.close()
        self.connection.close()


@contextmanager
def attached(running: Daemon, service: str) -> Iterator[Operator]:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(running.control)
    operator = Operator(connection)
    try:
        operator.send(f"talk service={service}\n")
        yield operator
    finally:
        operator.close()


def test_operator_is_a_peer_like_any_other(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        with attached(running, "pingpong") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            operator.send("ping 1\nhello\n")
            assert operator.receive() == {"text": "pong 1\npong\n"}
            [row] = running.ask("connections")["connections"]
            assert (row["service"], row["transport"]) == ("pingpong", "unix")
            assert row["peer"].startswith(f"pid={running.process.pid},")
            operator.send("status\n")
            assert operator.receive() == {"text": "pong\n"}, "the service receives it, not the control socket"
        until(lambda: running.ask("connections")["total"] == 0)


def test_operator_is_notified_when_the_service_closes_the_connection(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        with attached(running, "reply") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            operator.send("hello\n")
            assert operator.receive() == {"text": "hi\n"}
            assert operator.receive() == {"end": True}
            operator.send("more\n")  # discarded without an error
        with attached(running, "pingpong") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            assert running.ask("kick", "service=pingpong")["closed"] == 1
            assert operator.receive() == {"end": True}


def test_talkment_is_refused_with_the_reason(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        for service, error in (
            ("pingpon", "there is no service 'pingpon'; did you mean 'pingpong'?"),
            ("off", "'off' is switched off"),
            ("closed", "'closed' refused the connection: see the log"),
        ):
            with attached(running, service) as operator:
                answer = operator.receive()
                assert (answer["ok"], answer["error"]) == (False, error)
        with attached(running, "echo") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}, "also a service without a stream socket"
            operator.send("hello")
            assert operator.receive() == {"text": "hello"}


def test_netd_stops_while_the_operator_is_attached(tmp_path: Path) -> None:
    with daemon("daemon: {drain: 100ms}\n" + CONFIG.partition("\n")[2], tmp_path) as running:
        with attached(running, "pingpong") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            assert running.stop() == 0


def test_data_after_talk_is_for_the_service_and_no_command(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(running.control)
        connection.sendall(b"talk service=pingpong\nping 1\nstop\n")
        operator = Operator(connection)
        assert operator.receive() == {"ok": True, "format_version": 1}
        assert operator.receive() == {"text": "pong 1\npong\n"}
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
        operator.close()
        assert running.ask("status")["ready"]


def test_refused_attachment_leaves_no_descriptor_and_an_accepted_one_is_traced(tmp_path: Path) -> None:
    def pipes() -> int:
        return sum(one.startswith("pipe:") for one in open_files(first(running)).values())

    with daemon(CONFIG, tmp_path) as running:
        with attached(running, "closed") as operator:
            assert not operator.receive()["ok"]
        before = pipes()
        for _ in range(5):
            with attached(running, "closed") as operator:
                assert not operator.receive()["ok"]
        assert pipes() == before
        lines = follow([running.control], ["trace", "service=pingpong"])
        assert next(lines) == {"ok": True, "format_version": 1}
        with attached(running, "pingpong") as operator:
            operator.send("ping 2\n")
            assert [next(lines)["what"] for _ in range(3)] == ["opened", "in", "out"]
        lines.close()  # type: ignore[attr-defined]


def first(running: Daemon) -> int:
    """The process id of the first worker."""
    return next(int(line["pid"]) for line in running.lines if line["event"] == "worker_started" and line["worker"] == 0)


def test_talkment_is_closed_when_its_service_is_disabled(tmp_path: Path) -> None:
    config = CONFIG.replace("pingpong: {", "pingpong: {limits: {drain: 100ms}, ")
    with daemon(config, tmp_path) as running:
        with attached(running, "pingpong") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            running.ask("disable", "pingpong")
            assert operator.receive() == {"end": True}


def test_operator_that_does_not_read_makes_the_service_wait(tmp_path: Path) -> None:
    config = CONFIG + "  gen: {type: chargen, listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running:
        with attached(running, "gen") as operator:
            until(lambda: running.ask("connections", "service=gen")["total"] == 1)

            def sent() -> int:
                return int(running.ask("connections", "service=gen")["connections"][0]["sent_bytes"])

            counts = [0, 0, 0, 0, 0]

            def is_blocked() -> bool:
                counts.append(sent())
                return len(set(counts[-5:])) == 1 and counts[-1] > 0

            until(is_blocked)
            received = ""
            assert operator.receive() == {"ok": True, "format_version": 1}
            while len(received) < 1_000_000:
                received += operator.receive()["text"]
            pattern = (received[:7030] * 150)[: len(received)]
            assert received == pattern, "nothing is lost"


def test_trace_shows_an_attachment_that_begins_after_it(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        lines = follow([running.control], ["trace", "service=pingpong"])
        assert next(lines) == {"ok": True, "format_version": 1}
        with attached(running, "pingpong") as operator:
            assert operator.receive() == {"ok": True, "format_version": 1}
            operator.send("ping 1\n")
            assert [next(lines)["what"] for _ in range(3)] == ["opened", "in", "out"]
        assert [next(lines)["what"] for _ in range(2)] == ["end", "closed"]
        lines.close()  # type: ignore[attr-defined]
