"""The operator talks to services through the control socket."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netd.client.control import follow
from tests.support import Daemon, daemon, until

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


class Visitor:
    """Somebody at the control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lines = connection.makefile("rb")

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def hear(self) -> dict[str, Any]:
        while not (line := self._lines.readline()).strip():
            assert line, "it has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._lines.close()
        self.connection.close()


@contextmanager
def visit(running: Daemon, service: str) -> Iterator[Visitor]:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(running.control)
    visitor = Visitor(connection)
    try:
        visitor.say(f"talk service={service}\n")
        yield visitor
    finally:
        visitor.close()


def test_the_operator_is_a_peer_like_any_other(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        with visit(running, "pingpong") as visitor:
            assert visitor.hear() == {"ok": True}
            visitor.say("ping 1\nhello\n")
            assert visitor.hear() == {"text": "pong 1\npong\n"}
            [row] = running.ask("connections")["connections"]
            assert (row["service"], row["transport"]) == ("pingpong", "unix")
            assert row["peer"].startswith(f"pid={running.process.pid},")
            visitor.say("status\n")
            assert visitor.hear() == {"text": "pong\n"}, "it is the service that is spoken to now"
        until(lambda: running.ask("connections")["total"] == 0)


def test_it_is_told_when_the_service_has_said_its_last_word(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        with visit(running, "reply") as visitor:
            assert visitor.hear() == {"ok": True}
            visitor.say("hello\n")
            assert visitor.hear() == {"text": "hi\n"}
            assert visitor.hear() == {"end": True}
            visitor.say("anybody there?\n")
        with visit(running, "pingpong") as visitor:
            assert visitor.hear() == {"ok": True}
            assert running.ask("kick", "service=pingpong")["number"] == 1
            assert visitor.hear() == {"end": True}


def test_where_the_operator_cannot_talk(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        for service, error in (
            ("pingpon", "there is no service 'pingpon'; did you mean 'pingpong'?"),
            ("off", "'off' is switched off"),
            ("closed", "'closed' refused the connection: see the log"),
        ):
            with visit(running, service) as visitor:
                answer = visitor.hear()
                assert (answer["ok"], answer["error"]) == (False, error)
        with visit(running, "echo") as visitor:
            assert visitor.hear() == {"ok": True}, "that it has no stream socket is no hindrance"
            visitor.say("hello")
            assert visitor.hear() == {"text": "hello"}


def test_netd_stops_while_somebody_talks(tmp_path: Path) -> None:
    with daemon("daemon: {drain: 100ms}\n" + CONFIG.partition("\n")[2], tmp_path) as running:
        with visit(running, "pingpong") as visitor:
            assert visitor.hear() == {"ok": True}
            assert running.stop() == 0


def test_what_comes_behind_talk_is_for_the_service_and_no_command(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(running.control)
        connection.sendall(b"talk service=pingpong\nping 1\nstop\n")
        visitor = Visitor(connection)
        assert visitor.hear() == {"ok": True}
        assert visitor.hear() == {"text": "pong 1\npong\n"}
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
        visitor.close()
        assert running.ask("status")["ready"]


def test_a_refused_visit_leaves_nothing_and_one_is_traced(tmp_path: Path) -> None:
    def pipes() -> int:
        found = [os.readlink(one) for one in Path(f"/proc/{first(running)}/fd").iterdir()]
        return sum(one.startswith("pipe:") for one in found)

    with daemon(CONFIG, tmp_path) as running:
        with visit(running, "closed") as visitor:
            assert not visitor.hear()["ok"]
        before = pipes()
        for _ in range(5):
            with visit(running, "closed") as visitor:
                assert not visitor.hear()["ok"]
        assert pipes() == before
        lines = follow([running.control], ["trace", "service=pingpong"])
        assert next(lines) == {"ok": True}
        with visit(running, "pingpong") as visitor:
            visitor.say("ping 2\n")
            assert [next(lines)["what"] for _ in range(3)] == ["opened", "in", "out"]
        lines.close()  # type: ignore[attr-defined]


def first(running: Daemon) -> int:
    """The process id of the first worker."""
    return next(int(line["pid"]) for line in running.lines if line["event"] == "worker_started" and line["worker"] == 0)


def test_a_visit_ends_with_its_service(tmp_path: Path) -> None:
    config = CONFIG.replace("pingpong: {", "pingpong: {limits: {drain: 100ms}, ")
    with daemon(config, tmp_path) as running:
        with visit(running, "pingpong") as visitor:
            assert visitor.hear() == {"ok": True}
            running.ask("disable", "pingpong")
            assert visitor.hear() == {"end": True}


def test_an_operator_who_does_not_read_holds_the_service_back(tmp_path: Path) -> None:
    config = CONFIG + "  gen: {type: chargen, listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running:
        with visit(running, "gen") as visitor:
            until(lambda: running.ask("connections", "service=gen")["total"] == 1)

            def sent() -> int:
                return int(running.ask("connections", "service=gen")["connections"][0]["bytes_out"])

            settled = [0, 0, 0, 0, 0]

            def stands_still() -> bool:
                settled.append(sent())
                return len(set(settled[-5:])) == 1 and settled[-1] > 0

            until(stands_still)
            said = ""
            assert visitor.hear() == {"ok": True}
            while len(said) < 1_000_000:
                said += visitor.hear()["text"]
            pattern = (said[:7030] * 150)[: len(said)]
            assert said == pattern, "and nothing is lost when it reads on"


def test_a_trace_shows_a_visit_that_begins_after_it(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        lines = follow([running.control], ["trace", "service=pingpong"])
        assert next(lines) == {"ok": True}
        with visit(running, "pingpong") as visitor:
            assert visitor.hear() == {"ok": True}
            visitor.say("ping 1\n")
            assert [next(lines)["what"] for _ in range(3)] == ["opened", "in", "out"]
        assert [next(lines)["what"] for _ in range(2)] == ["end", "closed"]
        lines.close()  # type: ignore[attr-defined]
