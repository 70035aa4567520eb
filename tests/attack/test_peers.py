"""Many peers, slow ones, and ones that send nonsense over streams: the others are served as before."""

import contextlib
import socket
import struct
import threading
from pathlib import Path
from random import Random

import pytest

from tests.attack.conftest import Row
from tests.attack.echoes import Echoes, descriptors_for
from tests.attack.processes import failures, megabytes, memory
from tests.daemon.clients import talking
from tests.support.daemon import daemon
from tests.support.sockets import read_exactly
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
SERVICES = ("echo", "discard", "daytime", "chargen", "time", "upper", "pingpong", "reply", "qotd", "whoami", "chat")
CONFIG = "log: {connections: off}\ndefaults: {limits: {rate: off, connections: off}}\nservices:\n" + "".join(
    f"  {name}: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n" for name in SERVICES
)


def test_nine_thousand_connections_that_are_reset_at_once(tmp_path: Path, row: Row) -> None:
    with descriptors_for(9500), daemon(CONFIG, tmp_path) as running:
        port = running.port("echo")
        before = memory(running.worker)
        with Echoes(port) as echoes, contextlib.ExitStack() as stack:
            peers = []
            for number in range(9000):
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.bind((f"127.0.{number >> 8}.{number & 255 or 1}", 0))
                one.connect((LOOPBACK, port))
                one.sendall(b"x")
                peers.append(one)
            for one in peers:
                assert one.recv(1) == b"x"
            grown = memory(running.worker) - before
        until(lambda: running.ask("status")["services"][0]["connections"] == 0, 30)
        row("9,000 connections of 9,000 sources", f"0 failed; {megabytes(grown)} more; {echoes.seen}")
        assert failures(running) == []


def test_peers_that_never_read(tmp_path: Path, row: Row) -> None:
    with descriptors_for(1000), daemon(CONFIG, tmp_path) as running:
        before = memory(running.worker)
        with Echoes(running.port("echo")) as echoes, contextlib.ExitStack() as stack:
            for number in range(600):
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                one.connect((LOOPBACK, running.port("chargen" if number % 2 else "upper")))
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(8):
                        one.send(b"x\n" * 2**17)
            with talking(running.port("echo")):
                grown = memory(running.worker) - before
        row("600 peers with a closed window", f"{megabytes(grown)} more; {echoes.seen}")
        assert grown < 600 * 2**20, "the limit of each connection"
        assert failures(running) == []


def test_megabytes_with_urgent_segments_and_a_half_close(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running, socket.socket() as connection:
        connection.settimeout(60)
        connection.connect((LOOPBACK, running.port("echo")))
        data = Random(1).randbytes(20_000_000)

        def send() -> None:
            for place in range(0, len(data), 10_000):
                urgent = socket.MSG_OOB if place % 100_000 == 0 else 0
                piece = data[place : place + 10_000]
                while piece:
                    piece = piece[connection.send(piece, urgent) :]
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = read_exactly(connection, len(data))
        sender.join()
        assert connection.recv(1) == b""
        row("20 MB, of which a tenth urgent", "intact" if received == data else "NOT intact")
        assert received == data


NONSENSE = {
    "an endless line": b"x" * 65536,
    "telnet commands": b"\xff\xfd\x18" * 20_000,
    "a telnet subnegotiation": b"\xff\xfa\x18" + b"x" * 65536,
    "NULs": bytes(65536),
    "invalid UTF-8": b"\xc3\x28" * 30_000,
    "line ends": b"\r\n" * 10_000,
}


@pytest.mark.parametrize("name", NONSENSE)
def test_peer_that_sends_nonsense(tmp_path: Path, row: Row, name: str) -> None:
    with daemon(CONFIG, tmp_path) as running:
        before = memory(running.worker)
        with Echoes(running.port("echo")) as echoes:
            for service in SERVICES:
                for _ in range(3):
                    with socket.create_connection((LOOPBACK, running.port(service)), 20) as one:
                        with contextlib.suppress(OSError):
                            for _ in range(8):
                                one.settimeout(1)
                                one.sendall(NONSENSE[name])
        row(f"{name} to {len(SERVICES)} services", f"{megabytes(memory(running.worker) - before)} more; {echoes.seen}")
        assert failures(running) == []
        assert running.ask("status")["workers"][0]["pid"] == running.worker
