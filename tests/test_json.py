"""docs/reference/json.md beside what netd answers: each field is described, and has the type that the page says."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.daemon.supervisor.control import REQUESTS
from netd.peer import Peer
from netd.shared.table import Counts
from netd.telemetry.exposition import exposition
from netd.transport.stream.proxy_header import proxy_header
from tests.daemon.clients import talking
from tests.daemon.configs import write
from tests.source_tree import ROOT
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until
from tests.telemetry.statuses import status
from tools.reference.commands import commands

TYPES = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}
MAPS = {"REASON": r"[a-z_]+", "BOUND": r"[0-9.]+|\+Inf", "HOW": r"[a-z]+", "NAME": r"[a-z-]+"}
"""Stand-ins for the keys of an object in the page."""


def described() -> dict[str, dict[str, str]]:
    """The fields and types in each section of the page."""
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", (ROOT / "docs" / "reference" / "json.md").read_text(), flags=re.M)[1:]:
        rows = dict(re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", section, flags=re.M))
        for name in re.findall(r"`([^`]+)`", section.partition("\n")[0]):
            found[name.removeprefix("netd ")] = rows
    return found


PAGE = described()


def places(value: Any, at: str, fields: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """The places in an answer, as the page names them, and their values."""
    if at in fields and fields[at] == "object":
        yield at, value
    elif isinstance(value, list):
        for one in value:
            yield from places(one, f"{at}[]", fields)
    elif isinstance(value, dict):
        for key, one in value.items():
            inner = f"{at}.{key}" if at else key
            for stand_in, pattern in MAPS.items():
                if any(name.startswith(f"{at}.{stand_in}") for name in fields) and re.fullmatch(pattern, key):
                    inner = f"{at}.{stand_in}"
            yield from places(one, inner, fields)
    else:
        yield at, value


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config = """services:
  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], limits: {exempt: [], rate: udp 1/d}}
  upper: {listen: [tcp://127.0.0.1:0], access: {deny: [any]}}
  agent: {type: exec, listen: [tcp://127.0.0.1:0], options: {command: [/bin/cat]}}
  proxied: {type: upper, listen: [tcp://127.0.0.1:0], proxy_protocol: {from: [127.0.0.1]}}
  traced:
    type: pingpong
    listen: [tcp://127.0.0.1:0]
    proxy_protocol: {from: [127.0.0.1]}
    options: {framing: line}
  web: {type: forward, listen: [tcp://127.0.0.1:0], options: {to: [unix:///no/such/socket]}}
  secure: {type: upper, listen: [tls://127.0.0.1:0], tls: {certificate: $/server.pem, key: $/server.key}}
  off: {type: upper, enabled: false, listen: [tcp://127.0.0.1:0]}
  held: {type: python, isolate: true, listen: [tcp://127.0.0.1:0], options: {class: $/held.py:held}}
  lines:
    type: upper
    listen: [tcp://127.0.0.1:0]
    access:
      deny:
        - 192.0.2.3
        - 192.0.2.4
"""
    directory = tmp_path_factory.mktemp("n")
    Authority(directory).issue("server")
    config = config.replace("$", str(directory))
    (directory / "held.py").write_text("def held(request, client_address, server):\n    request.recv(1)\n")
    with daemon(config, directory) as process:
        write(directory, "services: 7\n")
        assert not process.ask("reload")["ok"]
        write(directory, config)
        for number in range(2):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x" * (number + 1), ("127.0.0.1", process.port("echo", "udp")))
        with socket.create_connection(("127.0.0.1", process.port("upper"))) as client:
            assert client.recv(1) == b""
        with talking(process.port("echo")):
            pass
        with socket.create_connection(("127.0.0.1", process.port("held"))):
            until(lambda: process.ask("status", "service=held")["services"][0]["counters"]["threads_active"])
            [own] = [one["pid"] for one in process.ask("status")["workers"] if one["service"]]
            os.kill(own, signal.SIGKILL)
            process.all_of("worker_lost", "worker_started")
        yield process


def assert_described(name: str, answers: list[dict[str, Any]], *, missing: tuple[str, ...] = ()) -> None:
    """All fields of the answers are on the page, with their types; those on the page but ``missing`` are in one."""
    fields = PAGE[name]
    found = {}
    for answer in answers:
        assert answer["format_version"] == 1
        for place, value in places(answer, "", fields):
            assert place in fields, place
            assert any(TYPES[kind](value) for kind in fields[place].split(" or ")), (place, value)
            found[place] = value
    assert fields.keys() - found.keys() == set(missing)


def printed(running: Daemon, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(running.netd(*words, "--json").stdout)
    return answer


@pytest.mark.slow
def test_answers_of_what_is_served_have_the_fields_that_the_page_describes(running: Daemon) -> None:
    def asked(*words: str) -> dict[str, Any]:
        return {key: value for key, value in running.ask(*words).received.items() if key != "ok"}

    with talking(running.port("agent")):
        pass
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", running.port("web"))) as client:
        client.recv(1)  # a failure of its target
    with socket.create_connection(("127.0.0.1", running.port("secure", "tls"))) as client:
        client.sendall(b"no TLS")
        assert client.recv(1) == b"", "a handshake that fails"
    until(lambda: asked("status", "service=agent")["services"][0]["counters"]["programs_ended"])
    header = proxy_header(1, Peer("tcp", "192.0.2.7", 4711, "192.0.2.1", 7))
    proxied = socket.create_connection(("127.0.0.1", running.port("proxied")), 20)
    with talking(running.port("echo")), talking(running.port("agent")), proxied:
        proxied.sendall(header + b"x")
        assert proxied.recv(1) == b"X"
        hanging = tuple(f"services[].hanging[].{name}" for name in ("at", "worker", "peer", "seconds", "cpu_seconds"))
        assert_described("status", [printed(running, "status"), printed(running, "status", "agent")], missing=hanging)
        assert_described("connections", [printed(running, "connections")])
        drained = printed(running, "target", "web", "drain", "unix:///no/such/socket")
        assert_described("target", [printed(running, "target", "web"), drained])
        assert_described("peers", [asked("peers")])
        assert_described("/history.json", [asked("history")])
        assert_described("kick", [printed(running, "kick", "--service", "echo")])


@pytest.mark.slow
def test_answers_to_orders_have_the_fields_that_the_page_describes(running: Daemon) -> None:
    assert_described("ban add", [printed(running, "ban", "add", "192.0.2.7")])
    assert_described("ban list", [printed(running, "ban", "list")])
    where = ("--to", "echo/tcp")
    explained = [printed(running, "explain", "--from", one, *where) for one in ("192.0.2.7", "192.0.2.8")]
    assert_described("explain", explained)
    assert_described("ban remove", [printed(running, "ban", "remove", "192.0.2.7")])
    assert_described("log-level", [printed(running, "log-level"), printed(running, "log-level", "INFO")])
    assert_described("enable", [printed(running, "enable", "off"), printed(running, "enable", "off")])
    assert_described("disable", [printed(running, "disable", "off")])
    assert_described("services", [printed(running, "services")])


@pytest.mark.slow
def test_answers_about_a_config_have_the_fields_that_the_page_describes(running: Daemon, tmp_path: Path) -> None:
    file = Path(running.ask("status").received["config"])
    text = file.read_text()
    good = printed(running, "check", "-c", str(file))
    more = text.replace("rate: udp 1/d", "rate: udp 2/d")
    more += "  more: {type: echo, listen: [tcp://127.0.0.1:0], limits: {idle: 1s}}\n"
    file.write_text(more + "daemon: {drain: 7s, user: nobody}\n")
    assert_described("diff", [printed(running, "diff")])
    given = printed(running, "config", "-c", str(file), "echo")
    assert_described("config", [printed(running, "config", "--defaults"), given])
    assert_described("reload", [printed(running, "reload")], missing=("warnings[]",))  # of workers that are missing
    file.write_text("services: 7\n")
    broken = printed(running, "check", "-c", str(file))
    file.write_text(text + "daemon: {beat: 1s}\n")
    renamed = printed(running, "check", "-c", str(file))
    file.write_text(f"services: {{echo: {{listen: ['unix://{tmp_path}/none/s']}}}}\n")
    assert_described("check", [good, broken, renamed, printed(running, "check", "-c", str(file), "--system")])
    file.write_text(text)


@pytest.mark.slow
def test_stop_prints_the_process_that_has_stopped(tmp_path: Path) -> None:
    with daemon("services: {}\n", tmp_path) as one:
        answer = json.loads(one.netd("stop", "--json").stdout)
        assert_described("stop", [answer])
        assert answer["pid"] == one.process.pid


@pytest.mark.slow
def test_lines_of_a_trace_have_the_fields_that_the_page_describes(running: Daemon) -> None:
    command = [sys.executable, "-m", "netd", "trace", "traced", "--json", "--control", running.control]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as trace:
        try:
            assert trace.stderr
            assert trace.stdout
            assert trace.stderr.readline().startswith("tracing traced")
            answers: list[dict[str, Any]] = []
            with socket.create_connection(("127.0.0.1", running.port("traced")), 20) as client:
                client.sendall(proxy_header(1, Peer("tcp", "192.0.2.7", 4711, "192.0.2.1", 7)) + b"x")
                while not answers or answers[-1]["what"] != "unanswered":
                    answers.append(json.loads(trace.stdout.readline()))
                client.sendall(b"\n")
                client.shutdown(socket.SHUT_WR)
                while answers[-1]["what"] != "closed":
                    answers.append(json.loads(trace.stdout.readline()))
        finally:
            trace.kill()
    assert {answer["what"] for answer in answers} >= {"opened", "in", "out", "end", "unanswered", "closed"}
    assert_described("trace", answers, missing=("skipped",))


@pytest.mark.slow
def test_a_probe_has_the_fields_that_the_page_describes(running: Daemon, tmp_path: Path) -> None:
    urls = [f"tcp://127.0.0.1:{running.port('echo')}", f"unix://{tmp_path}/none"]
    options = ["--count", "2", "--interval", "10ms", "--timeout", "5s", "--json"]
    answers = [json.loads(running.netd("probe", *urls, *options, *more).stdout) for more in ([], ["--warn", "rtt=9s"])]
    assert_described("probe", answers)


def test_every_command_with_json_has_a_shape() -> None:
    named = {command.name for command in commands() if command.has_json}
    assert {name for name in named if not any(shape == name or name.startswith(f"{shape} ") for shape in PAGE)} == set()


def test_every_control_command_but_talk_names_its_answer() -> None:
    page = (ROOT / "docs" / "reference" / "control.md").read_text()
    sections = dict(re.findall(r"(?ms)^## `([\w-]+)`\n(.*?)(?=^## |\Z)", page))
    assert sections.keys() == REQUESTS.keys()
    assert [name for name, text in sections.items() if "](json.md#" not in text] == []


def test_counters_are_those_of_the_metrics() -> None:
    text = exposition(status({"agent": Counts()}, programs=["agent"], forwards=["agent"], tls=["agent"]), "")[
        0
    ].decode()
    families = {name.removesuffix("_total") for name in re.findall(r"# TYPE netd_(\w+)", text)}
    counters = {name.split(".")[1] for name in PAGE["status"] if name.startswith("counters.")}
    counters |= {name.split(".")[2] for name in PAGE["status"] if name.startswith("services[].counters.")}
    assert counters - families == {"own"}


@pytest.mark.slow
def test_an_import_has_the_fields_that_the_page_describes(tmp_path: Path) -> None:
    file = tmp_path / "xinetd.conf"
    lines = (
        "type = UNLISTED",
        "port = 1",
        "protocol = tcp",
        "wait = no",
        "user = root",
        "server = /bin/cat",
        "mdns = no",
    )
    file.write_text("service x\n{\n" + "\n".join(lines) + "\n}\n")
    command = [sys.executable, "-m", "netd", "import", "xinetd", str(file), "--json"]
    assert_described("import", [json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)])
