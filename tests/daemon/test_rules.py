"""Access rules in shared memory: the memory that workers map, after reloads and with large configs."""

import socket
from pathlib import Path

import pytest

from tests.daemon.clients import echoes
from tests.support.daemon import daemon

CONFIG = """
defaults: {access: {deny: [127.0.0.9]}}
services:
  echo: {listen: [tcp://127.0.0.1:0]}
"""


def mapped(pid: int) -> int:
    """The number of access tables that a process has mapped."""
    return sum("memfd:netd-access" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())


@pytest.mark.slow
def test_unchanged_service_reads_its_rules_from_the_newest_memory(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        port = running.port("echo")
        for number in range(3):
            (tmp_path / "netd.yaml").write_text(
                f"{CONFIG}  more{number}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n"
            )
            change = {"service": f"more{number}", "what": "added", "details": []}
            assert change in running.ask("reload")["changes"]
            assert (echoes(port, "127.0.0.1"), echoes(port, "127.0.0.9")) == (True, False)
        # The first table, which the worker inherited at its fork, stays mapped in both beside the one in force.
        assert (mapped(running.process.pid), mapped(running.worker)) == (2, 2)


@pytest.mark.slow
def test_reload_with_hundreds_of_thousands_of_rules_keeps_connections(tmp_path: Path) -> None:
    for part in range(8):
        services = ""
        for number in range(15):
            rules = ", ".join(f"10.{n >> 8}.{n & 255}.{part * 15 + number}" for n in range(3000))
            services += (
                f"  s{part}-{number}: {{type: echo, listen: ['tcp://127.0.0.1:0'], access: {{deny: [{rules}]}}}}\n"
            )
        (tmp_path / f"part{part}.yaml").write_text(f"services:\n{services}")
    with daemon(CONFIG, tmp_path) as running:
        worker = running.worker
        with socket.create_connection(("127.0.0.1", running.port("echo")), 60) as live:
            (tmp_path / "netd.yaml").write_text(f"include: [part*.yaml]\n{CONFIG}")
            assert len(running.ask("reload")["changes"]) == 120
            assert [one["pid"] for one in running.ask("status")["workers"]] == [worker]
            live.sendall(b"x")
            assert live.recv(1) == b"x"
        assert not running.ask("explain", "from=10.0.5.7", "to=s0-7/tcp")["served"]
        assert running.ask("explain", "from=10.0.5.8", "to=s0-7/tcp")["served"]


@pytest.mark.slow
def test_rules_that_many_services_share_are_stored_once(tmp_path: Path) -> None:
    prefixes = ", ".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(10_000))
    services = "".join(f"  e{n}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n" for n in range(40))
    config = f"services:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n{services}"
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        worker = running.worker
        (tmp_path / "netd.yaml").write_text(f"defaults: {{access: {{deny: [{prefixes}]}}}}\n{config}")
        answer = running.ask("reload")
        assert len(answer["changes"]) == 41
        assert [one["pid"] for one in running.ask("status")["workers"]] == [worker]
        assert not running.ask("explain", "from=10.39.15.7", "to=e39/tcp")["served"]
        assert echoes(running.port("echo"))
