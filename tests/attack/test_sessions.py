"""Floods of forged sources through a forward of datagrams: a client that goes on asking keeps its session."""

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.conftest import Row
from tests.attack.processes import failures, megabytes, memory
from tests.support.daemon import daemon
from tests.support.programs import started
from tests.support.waiting import until
from tests.transport.datagram.forwards import asking, target

# Datagrams from each address from 127.1.0.0 upwards (IP_PKTINFO, ip(7)), as fast as Python sends.
FLOOD = """
import socket, struct, sys
port, number, each = map(int, sys.argv[1:])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 0))
for count in range(number):
    source = (0x7F010000 + count).to_bytes(4, "big")
    control = [(socket.IPPROTO_IP, 8, struct.pack("=i4s4s", 0, source, bytes(4)))]
    for _ in range(each):
        sock.sendmsg([b"x"], control, 0, ("127.0.0.1", port))
"""
SOURCES = 200_000
SESSIONS = 500


@contextlib.contextmanager
def answering(behind: socket.socket) -> Iterator[set[Any]]:
    """Have a target send everything back. Yields the addresses from which it gets what the client has sent."""
    seen: set[Any] = set()
    over = threading.Event()
    behind.settimeout(0.1)

    def answer() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                data, netd = behind.recvfrom(100)
                if data != b"x":
                    seen.add(netd)
                behind.sendto(data, netd)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("each", [1, 2])
def test_forged_sources_through_a_forward(tmp_path: Path, row: Row, each: int) -> None:
    """A datagram may be lost in a full queue of the kernel, and then the client asks again, as clients over UDP do."""
    limits = f"{{connections: {2 * SESSIONS}, rate: off, exempt: []}}"
    with (
        target() as (url, behind),
        answering(behind) as seen,
        daemon(
            "log: {connections: off}\nservices:\n"
            f"  web: {{type: forward, listen: [udp://127.0.0.1:0], limits: {limits}, options: {{to: ['{url}']}}}}\n",
            tmp_path,
        ) as running,
        asking(("127.0.0.1", running.port("web", "udp"))) as client,
    ):
        client.settimeout(0.1)

        def answered(question: bytes) -> bool:
            client.send(question)
            with contextlib.suppress(TimeoutError):
                while client.recv(100) != question:
                    pass
                return True
            return False

        until(lambda: answered(b"first"))
        until(lambda: answered(b"second"))  # from now on it is no client that has sent a single datagram
        before, questions, tries = memory(running.worker), 0, 0
        command = [sys.executable, "-c", FLOOD, str(running.port("web", "udp")), str(SOURCES // each), str(each)]
        with started(*command) as flood:
            while flood.poll() is None:
                questions += 1
                for _ in range(100):
                    tries += 1
                    if answered(b"%d" % questions):
                        break
                else:
                    raise AssertionError(f"question {questions} has no answer")
        until(lambda: answered(b"last"))
        grown = memory(running.worker) - before
        [service] = running.ask("status")["services"]
        counters = service["counters"]
        accepted, evicted = counters["connections_accepted"], counters["connections_closed"].get("evicted", 0)
        row(
            f"{SOURCES:,} datagrams of forged sources, {each} of each",
            f"{accepted:,} sessions, {evicted:,} evicted; "
            f"{service['connections']} open; {megabytes(grown)} more; {questions} questions of a client answered, "
            f"after {tries} tries, through {len(seen)} session(s)",
        )
        assert service["connections"] <= SESSIONS
        assert each > 1 or len(seen) == 1
        assert grown < 8e6
        assert failures(running) == []
