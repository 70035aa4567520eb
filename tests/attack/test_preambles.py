"""Sensors, banners and tcpmux before clients that are many, do not read, or do not say what they want."""

import contextlib
import socket
from pathlib import Path

from netd.admission import bans
from tests.attack.conftest import Row
from tests.attack.processes import failures, megabytes, memory
from tests.daemon.clients import echoes
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_all
from tests.support.waiting import until

VISITORS = 6000
SLOW = 500
CONFIG = """
log: {connections: off}
bans: {exempt: []}
defaults: {limits: {exempt: []}}
services:
  calm: {type: echo, listen: [tcp://127.0.0.1:0]}
  trap: {type: sensor, listen: [tcp://127.0.0.1:0], limits: {connections: off}}
  greeting: {type: echo, listen: ["tcp://127.0.0.1:0?sndbuf=4KiB"], banner: BANNER, limits: {connections: off}}
  mux: {type: tcpmux, listen: [tcp://127.0.0.1:0], limits: {connections: off}}
  upper: {tcpmux: true, banner: BANNER}
"""


def running(tmp_path: Path) -> contextlib.AbstractContextManager[Daemon]:
    return daemon(CONFIG.replace("BANNER", "x" * 4000), tmp_path)


def _from(number: int, base: int = 2) -> str:
    """One of as many sources as are asked for."""
    return f"127.{base}.{number // 250}.{1 + number % 250}"


def _connect(netd: Daemon, service: str, source: str) -> socket.socket:
    client = socket.socket()
    client.settimeout(60)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.bind((source, 0))
    client.connect(("127.0.0.1", netd.port(service)))
    return client


def test_visitors_of_a_sensor_from_more_sources_than_can_be_banned(tmp_path: Path, row: Row) -> None:
    with running(tmp_path) as netd:
        pids = (netd.worker, netd.process.pid)
        before = [memory(pid) for pid in pids]
        for number in range(VISITORS):
            with _connect(netd, "trap", _from(number)) as visitor:
                visitor.sendall(b"\xff\xfd\x18root\r\n\0" * 20)
        until(lambda: len(netd.ask("ban", "list")["bans"]) >= bans.MOST - bans.ROOM, 60)
        banned = len(netd.ask("ban", "list")["bans"])
        grown = [memory(pid) - size for pid, size in zip(pids, before, strict=True)]
        row(
            f"{VISITORS} visitors of a sensor, each from a source of its own",
            f"{banned} banned; {sum(grown) / 1e6:.1f} MB more",
        )
        assert banned <= bans.MOST
        assert sum(grown) < 16e6
        assert echoes(netd.port("calm"), "127.0.0.3")
        assert failures(netd) == []


def test_clients_that_read_no_banner_and_name_no_service(tmp_path: Path, row: Row) -> None:
    with running(tmp_path) as netd, contextlib.ExitStack() as stack:
        before = memory(netd.worker)
        for number in range(SLOW):
            stack.enter_context(_connect(netd, "greeting", _from(number, 3)))
            stack.enter_context(_connect(netd, "mux", _from(number, 4))).sendall(b"upp")
            stack.enter_context(_connect(netd, "mux", _from(number, 5))).sendall(b"upper\r\n")
        served = sum(echoes(netd.port("calm"), f"127.0.0.{3 + number}") for number in range(100))
        most = memory(netd.worker) - before
        endless = _connect(netd, "mux", "127.0.0.200")
        with endless, contextlib.suppress(ConnectionError):
            endless.sendall(b"x" * 2**20)
            assert b"+" not in read_all(endless)
        stack.close()
        until(lambda: not netd.ask("connections")["connections"], 60)
        row(
            f"{3 * SLOW} clients that do not read or do not go on",
            f"{served} of 100 others served; {megabytes(most)} more",
        )
        assert served == 100
        assert most < 3 * SLOW * 16 * 1024
        assert failures(netd) == []
