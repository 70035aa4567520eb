"""Datagrams of all sizes, and what netd could be made to send to others."""

import contextlib
import itertools
import socket
from pathlib import Path

import pytest

from tests.attack.conftest import Row
from tests.attack.processes import failures
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.forged import spoof
from tests.support.programs import need_root
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
SERVICES = ("echo", "daytime", "chargen", "time", "upper", "pingpong", "reply", "qotd", "whoami", "chat")


def test_datagrams_of_all_sizes(tmp_path: Path, row: Row) -> None:
    sizes = (0, 1, 1472, 8191, 8192, 8193, 8973, 9000, 65507)
    with daemon("services: {echo: {listen: [udp://127.0.0.1:0]}}\n", tmp_path) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.connect((LOOPBACK, running.port("echo", "udp")))
            for size in sizes:
                client.send(b"x" * size)
                assert len(client.recv(65536)) == size
        row(f"{len(sizes)} sizes up to {sizes[-1]:,} octets", "each echoed")


def test_answers_are_no_longer_than_questions(tmp_path: Path, row: Row) -> None:
    """But for 64 octets: a forged source gains an attacker nothing."""
    questions = (b"", b"x", b"\n", b"%Y", b"help\n", b"ping 1\n", b"x" * 63, b"%c" * 30, b"x" * 500, b"\xff" * 8192)
    listen = "".join(f"  {name}: {{listen: [udp://127.0.0.1:0]}}\n" for name in SERVICES)
    with daemon(f"services:\n{listen}", tmp_path) as running:
        answers = 0
        for name, question in itertools.product(SERVICES, questions):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(0.1)
                client.connect((LOOPBACK, running.port(name, "udp")))
                client.send(question)
                received = []
                with contextlib.suppress(TimeoutError):
                    while True:
                        received.append(client.recv(65536))
                assert len(received) <= 1, (name, question, received)
                assert all(len(answer) <= max(64, len(question)) for answer in received), (name, question)
                answers += len(received)
        row(f"{len(SERVICES)} services, {len(questions)} questions each", f"{answers} answers, none longer")


def _service_port() -> int:
    """A free port outside the range of clients (ip_local_port_range, ip(7)), as the port of a service is."""
    for port in itertools.count(20_000):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((LOOPBACK, port))
            return port
    raise AssertionError("no port is free")


def _sent(running: Daemon) -> int:
    return int(running.ask("status")["services"][0]["counters"].get("datagrams_answered", 0))


@pytest.mark.parametrize(
    "pair", [("echo", "echo"), ("echo", "upper"), ("upper", "reply"), ("time", "daytime")], ids="-".join
)
def test_forged_datagram_between_two_daemons_of_a_host(tmp_path: Path, row: Row, pair: tuple[str, str]) -> None:
    need_root()
    with contextlib.ExitStack() as stack:
        both, ports = [], []
        for number, name in enumerate(pair):
            place = tmp_path / str(number)
            place.mkdir()
            port = _service_port()
            write(place, f"services: {{{name}: {{listen: [udp://127.0.0.1:{port}]}}}}\n")
            running = stack.enter_context(Daemon("-c", str(place / "netd.yaml")))
            running.event("netd_started")
            both.append(running)
            ports.append(port)
        spoof((LOOPBACK, ports[0]), (LOOPBACK, ports[1]))
        until(lambda: _sent(both[1]) > 0)
        before = -1

        def at_rest() -> bool:
            nonlocal before
            after = sum(_sent(one) for one in both)
            same, before = after == before, after
            return same

        until(at_rest, 60)
        row(f"1 datagram between {pair[0]} and {pair[1]}", f"{before:,} answers until the loop ended")
        for one in both:
            assert failures(one) == []
            assert one.stop() == 0
