"""Chat rooms of a thousand members, over TCP, UDP and both: each message reaches each member, and others are served."""

import contextlib
import select
import socket
from pathlib import Path

import pytest

from tests.attack.conftest import Row
from tests.attack.crowds import Crowd
from tests.attack.echoes import Echoes, descriptors_for
from tests.attack.processes import descriptors, failures, megabytes, memory
from tests.daemon.clients import talking
from tests.daemon.processes import workers
from tests.support.daemon import daemon
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
MESSAGES = 100
SPARE = 8  # descriptors that the client of Echoes takes, and those that a worker opens once
CONFIG = (
    "log: {{connections: off}}\ndefaults: {{limits: {{rate: off}}}}\nservices:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n"
    "  chat: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], options: {{max_members: {0}}}}}\n"
)


@pytest.mark.parametrize(("streams", "datagrams"), [(1024, 0), (0, 1024), (512, 512)])
def test_room_of_a_thousand_members(tmp_path: Path, row: Row, streams: int, datagrams: int) -> None:
    """Each join is announced to all; later all leave and join again. Over TCP all do so at once."""
    with descriptors_for(3000), daemon(CONFIG.format(1024), tmp_path) as running:
        with talking(running.port("echo")):  # the worker is ready, and has the descriptors that it reserves
            worker, before = running.worker, descriptors(running.worker)
        with (
            Echoes(running.port("echo")) as echoes,
            Crowd(running.port("chat"), running.port("chat", "udp")) as crowd,
        ):
            crowd.join(streams, datagrams)
            crowd.speak(MESSAGES)
            grown = memory(worker)
            crowd.leave()
            until(lambda: descriptors(worker) <= before + SPARE, 30)
            crowd.join(streams, datagrams)
            crowd.speak(1)
        until(lambda: descriptors(worker) <= before + SPARE, 30)
        row(
            f"{streams} members over TCP, {datagrams} over UDP; {MESSAGES} messages, all left and joined again",
            f"{crowd.received:,} of {crowd.expected:,} deliveries; {megabytes(grown)} in the worker; {echoes.seen}",
        )
        assert crowd.received == crowd.expected
        assert workers(running) == [worker]
        assert failures(running) == []


def test_a_thousand_members_that_join_and_close_at_once(tmp_path: Path, row: Row) -> None:
    """With short heartbeats, which the worker has to answer meanwhile."""
    rounds = 5
    with descriptors_for(3000), daemon("daemon: {heartbeat: 1s}\n" + CONFIG.format(1024), tmp_path) as running:
        with talking(running.port("echo")):
            worker, before = running.worker, descriptors(running.worker)
        with Echoes(running.port("echo")) as echoes:
            for _ in range(rounds):
                with Crowd(running.port("chat"), running.port("chat", "udp")) as crowd:
                    crowd.join(1024, 0)
                until(lambda: descriptors(worker) <= before + SPARE, 30)
        row(f"1024 members over TCP that join at once and close at once, {rounds} times", echoes.seen)
        assert workers(running) == [worker]
        assert failures(running) == []


def test_members_that_do_not_read(tmp_path: Path, row: Row) -> None:
    """And speakers with names that are escape sequences; one member reads, and sees no control character."""
    names = [b"\x1b[31mred", b"\x1b]0;title\x07", b"bell\x07", "\u202egnp".encode(), "a\u200bb".encode(), b"\x9b2J"]
    lines, speakers = 100, 37
    with descriptors_for(1000), daemon(CONFIG.format(1024), tmp_path) as running, contextlib.ExitStack() as stack:
        port, worker = running.port("chat"), running.worker

        def member() -> socket.socket:
            one = stack.enter_context(socket.socket())
            one.settimeout(60)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((LOOPBACK, port))
            return one

        with Echoes(running.port("echo")) as echoes:
            for _ in range(256):
                member().sendall(b"deaf\n")
            reader = member()
            reader.sendall(b"reader : hello\n")
            shown = b""
            said = 0
            speaking = [member() for _ in range(speakers)]
            for number, one in enumerate(speaking):
                one.sendall(names[number % len(names)] + b" : hello\n")
            # A member that floods the room is not shown, so each speaks when all have read what came.
            while b"the end" not in shown:
                while ready := select.select([*speaking, reader], [], [], 0.02)[0]:
                    for one in ready:
                        piece = one.recv(65536)
                        assert piece, "netd closed the connection of a member that reads"
                        shown += piece if one is reader else b""
                said += 1
                for one in speaking:
                    one.sendall(b"to all %d\n" % said if said <= lines else b"the end\n")
        row(
            f"256 members that do not read, {speakers} speakers, {speakers * lines:,} messages",
            f"{len(shown):,} octets to one that reads, none a control character; {megabytes(memory(worker))} in the "
            f"worker; {echoes.seen}",
        )
        assert shown.count(b"to all") > speakers * lines // 2
        text = shown.decode()
        assert all(one.isprintable() or one in "\r\n" for one in text.replace("\ufffd", "")), text[:2000]
        assert workers(running) == [worker]
        assert failures(running) == []
