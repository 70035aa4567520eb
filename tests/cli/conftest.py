"""Fixtures of the tests of `netd talk`."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon, daemon

CONFIG = """
services:
  echo:     {{listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{tmp}/echo", "unixgram://{tmp}/echo-gram"]}}
  upper:    {{listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://@{tmp}/upper", "unixgram://@{tmp}/upper-gram"]}}
  time:     {{listen: ["tcp://127.0.0.1:0"]}}
  daytime:  {{listen: ["tcp://127.0.0.1:0"]}}
  pingpong: {{listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}}
  chat:
    listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://{tmp}/chat"]
    options: {{announce: false}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    tmp = tmp_path_factory.mktemp("n")
    with daemon(CONFIG.format(tmp=tmp), tmp) as process:
        yield process


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server
