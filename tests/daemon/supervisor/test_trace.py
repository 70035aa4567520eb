"""`netd trace` with real daemons: several workers, the loss of one, a reload, a flood, and the end of a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netd.client.control import follow
from tests.daemon.clients import ask
from tests.support.daemon import Daemon, daemon
from tests.support.programs import started
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """\
daemon: {{workers: {workers}, heartbeat: 100ms}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  upper: {{listen: [tcp://127.0.0.1:0]}}
"""


@contextmanager
def trace(running: Daemon, *words: str) -> Iterator[Any]:
    """The lines of a trace, from its start."""
    lines = follow([running.control], ["trace", *words])
    try:
        assert next(lines)["ok"]
        yield lines
    finally:
        lines.close()  # type: ignore[attr-defined]


def until_closed(lines: Iterator[dict[str, Any]], number: int = 1) -> list[dict[str, Any]]:
    """The lines until so many connections are closed."""
    seen = []
    while number:
        seen.append(next(lines))
        number -= seen[-1].get("what") == "closed"
    return seen


def data(lines: list[dict[str, Any]], what: str) -> list[bytes]:
    return [bytes.fromhex(line["data"]) for line in lines if line["what"] == what]


def test_trace_shows_one_service_and_peer_of_two_workers(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=2), tmp_path) as running:
        with trace(running, "service=upper", "peer=127.0.0.2") as lines:
            for number in range(20):
                ask(running.port("echo"), b"not this")
                ask(running.port("upper"), b"nor this")
                ask(running.port("upper"), b"from %d" % number, "127.0.0.2")
            seen = until_closed(lines, 20)
        assert sorted(data(seen, "in")) == sorted(b"from %d" % number for number in range(20))
        assert sorted(data(seen, "out")) == sorted(b"FROM %d" % number for number in range(20))
        assert {line["peer"].partition(":")[0] for line in seen} == {"127.0.0.2"}
        assert [line["what"] for line in seen].count("opened") == 20


def test_trace_shows_datagrams(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        with trace(running, "service=echo") as lines, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", running.port("echo", "udp")))
            client.send(b"hello \x1b[31m")
            first, second = next(lines), next(lines)
        assert (first["what"], first["size"], bytes.fromhex(first["data"])) == ("in", 11, b"hello \x1b[31m")
        assert (second["what"], second["peer"]) == ("out", first["peer"])


def test_trace_tells_how_many_octets_get_no_answer_and_why(tmp_path: Path) -> None:
    with daemon("services: {pingpong: {listen: [tcp://127.0.0.1:0], options: {framing: line}}}", tmp_path) as running:
        with trace(running, "service=pingpong") as lines:
            with socket.create_connection(("127.0.0.1", running.port("pingpong"))) as client:
                client.sendall(b"ping")
                while (line := next(lines))["what"] != "unanswered":
                    pass
        assert line.keys() == {"time", "what", "peer", "size", "text"}
        assert line["size"] == 4
        assert line["text"].startswith("4 octets without a line end; framing: ")


def test_trace_names_the_proxy_of_a_peer(tmp_path: Path) -> None:
    config = "services: {upper: {listen: [tcp://127.0.0.1:0], proxy_protocol: {from: [127.0.0.1], others: direct}}}"
    with daemon(config, tmp_path) as running:
        with trace(running, "service=upper") as lines:
            ask(running.port("upper"), b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nhello")
            named = until_closed(lines)
            ask(running.port("upper"), b"PROXY", "127.0.0.2")
            own = until_closed(lines)
    assert data(named, "in") == [b"hello"]
    assert {line["peer"] for line in named} == {"192.0.2.7:4711"}
    assert {line["via"].partition(":")[0] for line in named} == {"127.0.0.1"}
    assert (data(own, "in"), any("via" in line for line in own)) == ([b"PROXY"], False)


def test_trace_continues_after_the_exit_of_a_worker_and_a_reload(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        with trace(running, "service=echo") as lines:
            worker = running.worker
            subprocess.run(["kill", "-9", str(worker)], check=True)
            until(lambda: running.event("worker_started")["pid"] != worker)
            ask(running.port("echo"), b"another worker")
            assert data(until_closed(lines), "in") == [b"another worker"]
            config = CONFIG.format(workers=1).replace("echo: {", "echo: {limits: {idle: 1h}, ")
            (tmp_path / "netd.yaml").write_text(config)
            running.ask("reload")
            ask(running.port("echo"), b"another config")
            assert data(until_closed(lines), "in") == [b"another config"]


def test_trace_of_a_flood_shows_a_part_and_counts_the_rest(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1).replace("100ms", "1h"), tmp_path) as running:
        with trace(running, "service=echo") as lines, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(("127.0.0.1", running.port("echo", "udp")))
            for _ in range(20):
                os.kill(running.worker, signal.SIGSTOP)  # so that all of them wait for it, and come at once
                for _ in range(100):
                    client.send(bytes(100))
                os.kill(running.worker, signal.SIGCONT)
                for _ in range(100):
                    client.recv(200)
            counted = shown = 0
            while counted < 4000:
                line = next(lines)
                shown += "what" in line
                counted += line.get("skipped", 1)
        assert counted == 4000
        assert 0 < shown < 4000


def test_traces_are_stopped_when_their_client_disconnects(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        for _ in range(12):  # more than may run at one time
            with trace(running, "service=echo"):
                pass
            until(lambda: "connections" in running.ask("connections"))
        with trace(running, "service=echo") as lines:
            ask(running.port("echo"), b"hello")
            assert data(until_closed(lines), "in") == [b"hello"], "and once"


def test_trace_rejects_an_unknown_service_and_a_ninth_trace(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        done = running.netd("trace", "eco")
        assert (done.returncode, done.stderr) == (64, "netd: there is no service 'eco'; did you mean 'echo'?\n")
        traces = [follow([running.control], ["trace", "service=echo"]) for _ in range(8)]
        assert [next(one)["ok"] for one in traces] == [True] * 8
        done = running.netd("trace", "echo")
        assert (done.returncode, done.stderr) == (1, "netd: there are 8 traces already, which is the limit\n")
        for one in traces:
            one.close()  # type: ignore[attr-defined]
    assert running.netd("trace", "echo").returncode == 69


def command(running: Daemon, *arguments: str) -> "AbstractContextManager[subprocess.Popen[str]]":
    words = (sys.executable, "-u", "-m", "netd", "trace", "--control", running.control, *arguments)
    return started(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_trace_command_prints_data_escaped_or_in_hex(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        for options, expected in (
            (["upper"], ['< {} 8 "a\\x1b[31m\\"b"', '> {} 8 "A\\x1b[31M\\"B"']),
            (["upper", "--hex"], ['    0000  61 1b 5b 33 31 6d 22 62                          a.[31m"b\n']),
        ):
            with command(running, *options) as process:
                assert process.stdout
                assert process.stderr
                assert process.stderr.readline() == "tracing upper; press Ctrl-C to stop\n"
                assert process.stderr.readline().startswith("refused connections are not shown; ")
                ask(running.port("upper"), b'a\x1b[31m"b')
                lines: list[str] = []
                while not lines or " - " not in lines[-1]:
                    lines.append(process.stdout.readline())
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 0
                assert process.stderr.read() == ""
            peer = lines[0].split()[-1]
            text = "".join(lines)
            for one in expected:
                assert one.format(peer) in text
            assert "\x1b" not in text
            assert [line.split()[1] for line in lines if not line.startswith(" ")] == ["+", "<", ">", "|", "-"]


def test_trace_command_exits_with_netd(tmp_path: Path) -> None:
    with daemon(CONFIG.format(workers=1), tmp_path) as running:
        with command(running, "echo", "--json") as process:
            assert process.stdout
            assert process.stderr
            assert process.stderr.readline() == "tracing echo; press Ctrl-C to stop\n"
            assert process.stderr.readline().startswith("refused connections are not shown; ")
            ask(running.port("echo"), b"hello")
            assert json.loads(process.stdout.readline())["what"] == "opened"
            running.stop()
            assert process.wait(20) == 69
            assert process.stderr.read() == "netd: netd closed the control connection\n"
