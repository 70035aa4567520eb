"""docs/json.md beside what netd answers: each field is described, and has the type that the page says."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.peer import Peer
from netd.shared.table import Counts
from netd.telemetry.exposition import exposition
from netd.transport.stream.proxy_header import proxy_header
from tests.daemon.clients import talking
from tests.daemon.configs import write
from tests.source_tree import ROOT
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until
from tests.telemetry.statuses import status

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
    for section in re.split(r"^## ", (ROOT / "docs" / "json.md").read_text(), flags=re.M)[1:]:
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
  web: {type: forward, listen: [tcp://127.0.0.1:0], options: {to: [unix:///no/such/socket]}}
  off: {type: upper, enabled: false, listen: [tcp://127.0.0.1:0]}
"""
    directory = tmp_path_factory.mktemp("n")
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


@pytest.mark.slow
def test_answers_have_the_fields_that_the_page_describes(running: Daemon, tmp_path: Path) -> None:
    def printed(*words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(running.netd(*words, "--json").stdout)
        return answer

    def asked(*words: str) -> dict[str, Any]:
        return {key: value for key, value in running.ask(*words).received.items() if key != "ok"}

    with talking(running.port("agent")):
        pass
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", running.port("web"))) as client:
        client.recv(1)  # a failure of its target
    until(lambda: asked("status", "service=agent")["services"][0]["counters"]["programs_ended"])
    header = proxy_header(1, Peer("tcp", "192.0.2.7", 4711, "192.0.2.1", 7))
    proxied = socket.create_connection(("127.0.0.1", running.port("proxied")), 20)
    with talking(running.port("echo")), talking(running.port("agent")), proxied:
        proxied.sendall(header + b"x")
        assert proxied.recv(1) == b"X"
        file = Path(printed("status")["config"])
        assert_described("status", [printed("status"), printed("status", "agent")])
        assert_described("connections", [printed("connections")])
        assert_described("peers", [asked("peers")])
        assert_described("/history.json", [asked("history")])
        assert_described("ban add", [printed("ban", "add", "192.0.2.7")])
        assert_described("ban list", [printed("ban", "list")])
        where = ("--to", "echo/tcp")
        assert_described("explain", [printed("explain", "--from", one, *where) for one in ("192.0.2.7", "192.0.2.8")])
        assert_described("ban remove", [printed("ban", "remove", "192.0.2.7")])
        assert_described("log-level", [printed("log-level"), printed("log-level", "INFO")])
        assert_described("enable", [printed("enable", "off"), printed("enable", "off")])
        assert_described("disable", [printed("disable", "off")])
        text = file.read_text()
        good = printed("check", "-c", str(file))
        file.write_text(text + "  more: {type: echo, listen: [tcp://127.0.0.1:0], limits: {idle: 1s}}\n")
        file.write_text(
            file.read_text().replace("rate: udp 1/d", "rate: udp 2/d") + "daemon: {drain: 7s, user: nobody}\n"
        )
        assert_described("diff", [printed("diff")])
        assert_described("reload", [printed("reload")], missing=("warnings[]",))  # of workers that are missing
        file.write_text("services: 7\n")
        broken = printed("check", "-c", str(file))
        file.write_text(text + "daemon: {beat: 1s}\n")
        renamed = printed("check", "-c", str(file))
        file.write_text(f"services: {{echo: {{listen: ['unix://{tmp_path}/none/s']}}}}\n")
        assert_described("check", [good, broken, renamed, printed("check", "-c", str(file), "--system")])
        file.write_text(text)
        assert_described("kick", [printed("kick", "--service", "echo")])
    assert_described("services", [printed("services")])


@pytest.mark.slow
def test_stop_prints_the_process_that_has_stopped(tmp_path: Path) -> None:
    with daemon("services: {}\n", tmp_path) as one:
        answer = json.loads(one.netd("stop", "--json").stdout)
        assert_described("stop", [answer])
        assert answer["pid"] == one.process.pid


def test_counters_are_those_of_the_metrics() -> None:
    text = exposition(status({"agent": Counts()}, programs=["agent"], forwards=["agent"]), "")[0].decode()
    families = {name.removesuffix("_total") for name in re.findall(r"# TYPE netd_(\w+)", text)}
    counters = {name.split(".")[1] for name in PAGE["status"] if name.startswith("counters.")}
    counters |= {name.split(".")[2] for name in PAGE["status"] if name.startswith("services[].counters.")}
    assert counters - families == {"own"}
