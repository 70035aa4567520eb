"""Bans: by the workers' reports and by command, in a daemon of real processes; and invalid reports."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from netd.config.loader import load
from netd.daemon.messages.from_supervisor import SetBans
from netd.daemon.messages.from_worker import Offender
from netd.daemon.supervisor.bans import BanManager
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from tests.daemon.clients import answers, echoes
from tests.support.daemon import daemon
from tests.support.waiting import until

# By default, loopback is exempt from bans and limits.
BANNING = """
daemon: {workers: 2}
bans: {exempt: [], threshold: 5/m}
services:
  open: {type: echo, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  shut: {type: echo, listen: [tcp://127.0.0.1:0], access: {deny: [127.0.0.0/8]}}
"""


@pytest.mark.slow
def test_source_that_is_refused_too_often_is_banned_by_all_services_and_no_other_is(tmp_path: Path) -> None:
    with daemon(BANNING, tmp_path) as running:
        assert echoes(running.port("open"), "127.0.0.2")
        for _ in range(20):
            echoes(running.port("shut"), "127.0.0.2")
        banned = running.event("source_banned")
        assert (banned["source"], banned["seconds"], banned["by"]) == ("127.0.0.2", 60.0, "shut: access")
        until(lambda: not echoes(running.port("open"), "127.0.0.2"))  # the workers get the ban after the event
        assert echoes(running.port("open"), "127.0.0.3")
        assert answers(running.port("open", "udp"), "127.0.0.3")
        [ban] = running.ask("ban", "list")["bans"]
        assert (ban["source"], ban["times"], ban["why"]) == ("127.0.0.2", 1, "shut: access")
        assert running.ask("status")["banned_sources"] == 1

        # The ban stays in force after a reload, and in new workers.
        assert running.ask("reload")["ok"]
        assert not echoes(running.port("open"), "127.0.0.2")
        for worker in running.ask("status")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        running.all_of(*["worker_lost", "worker_started"] * 2)
        assert not echoes(running.port("open"), "127.0.0.2")

        assert running.ask("ban", "remove", "127.0.0.2")["ok"]
        assert echoes(running.port("open"), "127.0.0.2")
        assert running.ask("status")["banned_sources"] == 0
        status = {service["service"]: service for service in running.ask("status")["services"]}
        assert status["open"]["counters"]["connections_refused"]["banned"] >= 3
        assert status["shut"]["counters"]["connections_refused"]["access"] >= 6


@pytest.mark.slow
def test_datagrams_with_a_forged_source_do_not_ban_that_source(tmp_path: Path) -> None:
    config = BANNING.replace("udp://127.0.0.1:0]", 'udp://127.0.0.1:0], limits: {exempt: [], rate: "udp 1/h"}')
    with daemon(config, tmp_path) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.2", 0))
            for _ in range(1000):
                one.sendto(b"x", ("127.0.0.1", running.port("open", "udp")))
        until(lambda: running.ask("status")["services"][0]["counters"]["datagrams_dropped"].get("rate", 0) > 100)
        assert running.ask("ban", "list")["bans"] == []
        assert echoes(running.port("open"), "127.0.0.2")


@pytest.mark.slow
def test_ban_commands_add_list_and_remove(tmp_path: Path) -> None:
    with daemon("services: {echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n", tmp_path) as running:
        done = running.netd("ban", "list")
        assert (done.returncode, done.stdout) == (0, "no bans\n")
        done = running.netd("ban", "add", "127.0.0.9")
        assert (done.returncode, done.stderr) == (64, "netd: 127.0.0.9: listed in bans.exempt\n")
        done = running.netd("ban", "add", "2001:db8::7", "--for", "10m")
        assert (done.returncode, done.stdout, done.stderr) == (0, "2001:db8::/64 is banned for 10m0s\n", "")
        done = running.netd("ban", "list")
        assert done.stdout.splitlines()[0].split() == ["SOURCE", "LEFT", "TIMES", "WHY"]
        assert done.stdout.splitlines()[1].startswith("2001:db8::/64")
        answer = running.ask("ban", "add", "192.0.2.7", "soon")
        assert answer["error"].startswith("192.0.2.7: expected a duration such as 30s")
        for arguments, code, error in (
            (
                ("add", "10.0.0.0/8"),
                64,
                "expected an address or an IPv6 /64, got '10.0.0.0/8'; access.deny takes networks",
            ),
            (("remove", "192.0.2.7"), 1, "192.0.2.7 is not banned"),
            (("remove", "x y"), 64, "expected a word without blanks, got 'x y'"),
        ):
            done = running.netd("ban", *arguments)
            assert done.returncode == code
            assert done.stderr.startswith(f"netd: {error}")
        assert running.netd("ban", "remove", "2001:db8::/64").returncode == 0
        assert running.event("source_unbanned")["source"] == "2001:db8::/64"


@pytest.mark.slow
def test_ban_by_command_is_in_force_at_once_also_for_datagrams(tmp_path: Path) -> None:
    with daemon(BANNING.replace("workers: 2", "workers: 1"), tmp_path) as running:
        tcp, udp = running.port("open"), running.port("open", "udp")
        assert echoes(tcp, "127.0.0.5")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.5", 0))
            one.settimeout(20)
            one.sendto(b"x", ("127.0.0.1", udp))
            assert one.recv(1) == b"x"
            # The worker has cached that it admits this sender; the ban must remove that entry.
            assert running.ask("ban", "add", "127.0.0.5", "1h")["ok"]
            one.sendto(b"x", ("127.0.0.1", udp))
            until(lambda: running.ask("status")["services"][0]["counters"]["datagrams_dropped"])
        assert not echoes(tcp, "127.0.0.5")
        assert running.ask("status")["services"][0]["counters"]["datagrams_dropped"] == {"banned": 1}
        assert running.netd("ban", "remove", "127.0.0.5").returncode == 0
        assert answers(udp, "127.0.0.5")


def test_worker_that_reports_invalid_offenders_causes_no_ban_and_little_work(
    tmp_path: Path, log: list[dict[str, object]]
) -> None:
    (tmp_path / "netd.yaml").write_text("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    state = State(load(tmp_path / "netd.yaml"))
    loop = Loop()
    sent: list[SetBans] = []

    def send(message: SetBans) -> Result[object]:
        sent.append(message)
        result: Result[object] = Result()
        result.set(None)
        return result

    changes: list[int] = []
    manager = BanManager(state, DaemonEvents(), loop, send, lambda: changes.append(len(sent)))
    for number in range(5000):
        manager.record(Offender(f"c0{number:06x}", "echo", "rate"))
    loop.call(loop.stop)
    loop.run()
    assert len(sent) == 1
    assert changes == [1], "what depends on the bans is told once"
    assert len(state.bans.active(time.monotonic())) == 1000
    invalid = [
        Offender("c0ffffff", "other", "rate"),
        Offender("7f000001", "echo", "rate"),  # exempt
    ]
    for offender in invalid:
        manager.record(offender)
    loop._running = True
    loop.call(loop.stop)
    loop.run()
    loop.close()
    assert len(sent) == 1
    assert len(state.bans.active(time.monotonic())) == 1000
    assert len(log) == 1000
