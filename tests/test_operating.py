"""docs/operating.md: its checks by the plugins of Nagios, run as the page has them where they are installed."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()
CHECKS = re.findall(r"(?m)^    (check_.+)$", PAGE)
SERVICES = {"8888": "pingpong", "37": "time", "7090": "metrics"}

CONFIG = """
services:
  pingpong: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  time: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], options: {encoding: rfc868}}
  metrics: {listen: [tcp://127.0.0.1:0]}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(CONFIG, tmp_path_factory.mktemp("n")) as process:
        yield process


@pytest.mark.parametrize("check", CHECKS)
def test_check_of_the_page_is_ok(running: Daemon, check: str) -> None:
    name, *words = shlex.split(check)
    plugin = need(name)
    at = words.index("-p") + 1
    datagrams = name == "check_udp" or ("-u" in words[:-1] and name == "check_time")
    words[at] = str(running.port(SERVICES[words[at]], "udp" if datagrams else "tcp"))
    done = subprocess.run([plugin, *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout


def test_the_page_has_a_check_of_each_kind() -> None:
    assert {check.split()[0] for check in CHECKS} == {"check_tcp", "check_udp", "check_time", "check_http"}
