"""deploy/haproxy: both files as they stand, at the addresses that they name."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.hosts import (
    CLIENT,
    COMMANDS,
    PROXY,
    named_by,
    netds,
    ping,
    proxy,
    served_requests,
    through_the_proxy,
)
from tests.source_tree import ROOT
from tests.support.namespaces import in_namespace
from tests.support.programs import need
from tests.support.sockets import read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # two daemons and HAProxy

CONFIG = ROOT / "deploy" / "haproxy" / "haproxy.cfg"


def test_haproxy_finds_no_fault() -> None:
    done = subprocess.run([need("haproxy"), "-c", "-f", CONFIG], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_clients_of_haproxy_are_named_and_move_to_the_other_netd_when_one_stops(tmp_path: Path) -> None:
    haproxy = need("haproxy")
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG.read_text().replace("bind :8888", f"bind {PROXY}:8888").replace("inter 2s", "inter 500ms"))

    def run() -> None:
        with netds("haproxy/netd.yaml", tmp_path) as running, proxy(8888, haproxy, "-db", "-q", "-f", config):
            until(lambda: all(served_requests(netd, "metrics") for netd in running))  # its checks
            with through_the_proxy(8888) as connection:
                connection.sendall(b"ping 7\n")
                assert read_exactly(connection, 7) == b"pong 7\n"
                netd, *names = named_by(running, "pingpong")
                assert names == [CLIENT, PROXY]
                netd.process.terminate()
                netd.event("drain_started")
                assert [ping(8888) for _ in range(10)] == [b"pong 1\n"] * 10
                connection.sendall(b"ping 8\n")  # the netd that stops gives it time to finish
                assert read_exactly(connection, 7) == b"pong 8\n"

    in_namespace(run, *COMMANDS)
