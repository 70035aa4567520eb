"""The cache of senders: when admission is asked, and how many are kept."""

import socket
import struct
import time
from typing import Any

import pytest

from netd.admission.bans import BanRules
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonBounds
from netd.admission.reply_guard import Loops
from netd.services.echo import Echo
from netd.transport.datagram import connected
from netd.transport.datagram.server import DatagramServer
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH, PlainEcho

KINDS = pytest.mark.parametrize("kind", [Echo, PlainEcho])


@BOTH
@KINDS
def test_verdict_is_dropped_at_once_when_bans_have_changed(server: Server, kind: type[Echo], batched: bool) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched)
    assert ask(address, b"x") == b"x"
    server.shared.apply(DaemonBounds(), BanRules(exempt=()))
    server.shared.ban(bytes([127, 0, 0, 1]), server.loop.now + 1000)
    server.loop.call(server.servers[0].forget_verdicts)  # type: ignore[union-attr]
    with client(address) as sock:
        sock.send(b"x")
        until(lambda: events.counters.dropped == {"banned": 1})


@BOTH
def test_verdict_is_asked_for_once_and_again_after_a_second(
    server: Server, monkeypatch: pytest.MonkeyPatch, batched: bool
) -> None:
    asked: list[bytes] = []
    judge = AdmissionControl.check_datagram

    def counted(admission: AdmissionControl, address: bytes, *arguments: Any, **options: Any) -> Any:
        asked.append(address)
        return judge(admission, address, *arguments, **options)

    monkeypatch.setattr(AdmissionControl, "check_datagram", counted)
    address, _ = server.add(PlainEcho(), "udp://127.0.0.1:0", batched=batched)
    with client(address) as sock:
        sock.send(b"x")
        assert sock.recv(1) == b"x"
        assert server.servers[0]._senders._until <= time.monotonic() + 1.0  # type: ignore[union-attr]
        server.servers[0]._senders._until = float("inf")  # type: ignore[union-attr]  # however long this takes
        for _ in range(100):
            sock.send(b"x")
            assert sock.recv(1) == b"x"
        assert len(asked) == (2 if batched is None else 1)  # one by one, and in a batch
        server.servers[0]._senders._until = 0.0  # type: ignore[union-attr]
        before = len(asked)
        sock.send(b"x")
        assert sock.recv(1) == b"x"
        assert len(asked) == before + 1


@pytest.mark.parametrize(
    ("exempt", "repeats", "connected", "number"),
    [
        (["local"], False, True, 2),
        (["local"], True, True, Loops.MOST + 1),
        (["local"], True, False, 400),  # it might be a service
        ([], False, True, 400),
    ],
)
def test_exempt_sender_is_fast_once_it_is_found_to_be_a_client(
    server: Server, monkeypatch: pytest.MonkeyPatch, exempt: list[str], repeats: bool, connected: bool, number: int
) -> None:
    looked: list[int] = []
    answer = DatagramServer._answer

    def counted(self: DatagramServer, *arguments: Any) -> Any:
        looked.append(1)
        return answer(self, *arguments)

    monkeypatch.setattr(DatagramServer, "_answer", counted)
    address, _ = server.add(Echo(), "udp://127.0.0.1:0", exempt=exempt, rate="100000/s")
    server.servers[-1]._senders._until = float("inf")  # type: ignore[union-attr]  # however long this takes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        if connected:
            sock.connect(address)
        for question in range(400):
            said = b"x" if repeats else b"%d" % question
            sock.sendto(said, address)
            assert sock.recv(9) == said
    assert len(looked) == number


def test_exempt_senders_of_all_servers_of_a_loop_cost_one_read_of_proc(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, tables = connected._read, list[str]()
    monkeypatch.setattr(connected, "_EVERY", float("inf"))  # however long this takes

    def counted(table: str) -> set[tuple[bytes, bytes]]:
        tables.append(table)
        return read(table)

    monkeypatch.setattr(connected, "_read", counted)
    for _ in range(2):
        address, _ = server.add(Echo(), "udp://127.0.0.1:0", exempt=["local"])
        for _ in range(3):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                for _ in range(Loops.MOST + 50):
                    sock.sendto(b"x", address)
                    assert sock.recv(9) == b"x"
    assert tables == list(connected._TABLES)


def test_sender_cache_is_bounded(server: Server) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0", exempt=[])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(6000):
            source = bytes([127, 1, *number.to_bytes(2)])
            message = (socket.IPPROTO_IP, 8, struct.pack("=i4s4s", 0, source, bytes(4)))
            sock.sendmsg([b"x"], [message], 0, address)
            if number % 50 == 0:
                server.settle()
    until(lambda: events.counters.datagrams_in > 5000)
    assert len(server.servers[0]._senders._entries) <= 1024  # type: ignore[union-attr]
