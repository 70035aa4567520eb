"""Datagram servers over real sockets, in batches and one by one."""

import contextlib
import os
import socket
import tempfile
import threading
from array import array
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.errors import PeerError
from netd.peer import Peer
from netd.services.echo import Echo
from netd.testing import PEER
from netd.transport.datagram import mmsg
from netd.transport.listen import open_listeners
from tests.support.descriptors import copies
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import has_ipv6
from tests.transport.peers import ask, client
from tests.transport.sample_services import BOTH, PlainEcho

AMPLIFY: dict[str, object] = {"amplify": ["any"]}

EXCHANGES: list[tuple[str, dict[str, Any], bytes]] = [
    ("echo", {}, b"hello"),
    ("echo", {}, b""),
    ("echo", {}, b"x" * 8192),
    ("daytime", {}, b""),
    ("time", {}, b"%H:%M"),
    ("time", {}, b"0\r\n"),
    ("time", {"encoding": "rfc868"}, b""),
    ("pingpong", {}, b"ping 1\n"),
    ("pingpong", {}, b""),
    ("upper", {}, b"hello"),
    ("reply", {}, b"hello\n"),
    ("qotd", {}, b""),
    ("chargen", {}, b""),
]


@BOTH
@pytest.mark.parametrize(
    "url", ["udp://127.0.0.1:0", "udp://[::1]:0", "udp://*:0", "unixgram://{tmp}/s", "unixgram://@netd-{tmp}"]
)
def test_answer_is_the_same_over_each_transport(server: Server, tmp_path: Any, url: str, batched: bool) -> None:
    if "[::1]" in url and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    for number, (name, options, said) in enumerate(EXCHANGES):
        place = url.format(tmp=tmp_path) + (str(number) if "unix" in url else "")
        address, events = server.add(service(name, **options), place, batched=batched, policy=AMPLIFY)
        if address[0] == "::" and not isinstance(address, bytes | str):
            address = ("127.0.0.1", address[1])
        wanted = service(name, **options).datagram(said, PEER)
        assert ask(address, said, tmp_path) == wanted, name
        server.settle()
        counters = events.counters
        assert (counters.datagrams_in, counters.datagrams_out) == (1, 1)
        assert (counters.bytes_in, counters.bytes_out) == (len(said), len(wanted))


@BOTH
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_burst_of_a_hundred_gets_a_hundred_answers(server: Server, kind: type[Echo], batched: bool) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched)
    sent = [b"%d " % number * (number % 7) for number in range(100)]
    with client(address) as sock:
        for data in sent:
            sock.send(data)
        assert [sock.recv(65536) for _ in sent] == sent
    server.settle()
    assert events.counters.datagrams_out == 100


@BOTH
def test_queue_is_answered_before_the_socket_is_closed(server: Server, batched: bool) -> None:
    address, _ = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
    [listening] = server.servers
    with client(address) as sock:

        def close() -> None:
            for number in range(150):
                sock.send(b"%d" % number)
            listening.server_close()

        server.loop.call(close)
        assert [sock.recv(10) for _ in range(150)] == [b"%d" % number for number in range(150)]
        server.settle()
        assert listening.socket.fileno() == -1


@BOTH
def test_burst_with_silence_in_between(server: Server, batched: bool) -> None:
    class Odd:
        """Answers a datagram that starts with 1, and raises `PeerError` for one that starts with 2."""

        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            if data.startswith(b"2"):
                raise PeerError("two")
            return data * 3 if data.startswith(b"1") else None

    address, events = server.add(Odd(), "udp://127.0.0.1:0", batched=batched)
    sent = [b"0", b"11", b"1", b"2", b"00", b"111", b"0", b"1"] * 20
    with client(address) as sock:
        for data in sent:
            sock.send(data)
        wanted = [b"error: two\r\n" if data == b"2" else data * 3 for data in sent if not data.startswith(b"0")]
        assert [sock.recv(65536) for _ in wanted] == wanted
    server.settle()
    assert (events.counters.datagrams_in, events.counters.datagrams_out) == (160, 100)


@BOTH
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_datagram_above_the_limit_is_dropped_and_the_rest_answered(
    server: Server, log: list[dict[str, Any]], kind: type[Echo], batched: bool
) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched, datagram=10)
    with client(address) as sock:
        for data in (b"x" * 10, b"x" * 11, b"x" * 60000, b"short"):
            sock.send(data)
        assert [sock.recv(65536), sock.recv(65536)] == [b"x" * 10, b"short"]
    server.settle()
    assert events.counters.dropped == {"too_long": 2}
    assert events.counters.datagrams_in == 2
    [event] = [event for event in log if event["event"] == "datagrams_dropped"]
    assert (event["reason"], event["peer"].partition(":")[0]) == ("too_long", "127.0.0.1")
    assert (event["endpoint"], "error" in event) == (f"udp://127.0.0.1:{address[1]}", False)


@BOTH
@pytest.mark.parametrize("length", [8_192, 8_193, 8_973, 9_000, 65_507])
def test_datagram_of_any_length_comes_back(server: Server, length: int, batched: bool) -> None:
    address, _ = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
    data = os.urandom(length)
    assert ask(address, data) == data


def test_servers_of_one_loop_share_the_memory_of_their_batches(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    make = mmsg.make_memory

    def count() -> Any:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(mmsg, "make_memory", count)
    addresses = [server.add(kind(), "udp://127.0.0.1:0")[0] for kind in (Echo, PlainEcho, Echo)]
    for length in (65_507, 10):
        for number, address in enumerate(addresses):
            assert ask(address, b"%d" % number * length) == b"%d" % number * length
    assert len(made) == 1


@BOTH
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_answer_is_sent_from_the_destination_of_the_question(server: Server, kind: type[Echo], batched: bool) -> None:
    for url in ("udp://*:0", "udp://0.0.0.0:0"):
        address, _ = server.add(kind(), url, batched=batched)
        for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
            assert ask((host, address[1]), b"x") == b"x"
    if has_ipv6():
        address, _ = server.add(kind(), "udp://[::]:0", batched=batched)
        assert ask(("::1", address[1]), b"x") == b"x"


@BOTH
def test_peers_and_local_addresses(server: Server, tmp_path: Any, batched: bool) -> None:
    hosts = {"udp://*:0": ["127.0.0.1", "127.0.0.2"], "udp://127.0.0.1:0": ["127.0.0.1"]}
    if has_ipv6():
        hosts |= {"udp://*:0?rcvbuf=65536": ["::1"], "udp://[::1]:0": ["::1"]}
    for url, asked in hosts.items():
        address, _ = server.add(service("whoami"), url, batched=batched, policy=AMPLIFY)
        for host in asked:
            with client((host, address[1])) as sock:
                sock.send(b"")
                family, shown = ("ipv6", f"[{host}]") if ":" in host else ("ipv4", host)
                mine = sock.getsockname()
                me = f"[{mine[0]}]:{mine[1]}" if ":" in mine[0] else f"{mine[0]}:{mine[1]}"
                wanted = f"peer={me} local={shown}:{address[1]} transport=udp family={family} ttl=64 size=0\r\n"
                assert sock.recv(1000) == wanted.encode()
    path, _ = server.add(service("whoami"), f"unixgram://{tmp_path}/s", batched=batched)
    with client(path, tmp_path) as sock:
        sock.send(b"")
        wanted = f"peer={sock.getsockname()} local={path} transport=unixgram family=unix size=0\r\n"
        assert sock.recv(1000) == wanted.encode()


class ReadTtl:
    """Sends the TTL of each datagram."""

    reads_ttl = True

    def datagram(self, data: bytes, peer: Peer) -> bytes:
        return str(peer.ttl).encode()


@BOTH
def test_each_datagram_has_its_own_ttl(server: Server, batched: bool) -> None:
    dual, _ = server.add(ReadTtl(), "udp://*:0", batched=batched)
    ipv4, _ = server.add(ReadTtl(), "udp://127.0.0.1:0", batched=batched)
    hosts = [("127.0.0.1", dual[1]), ipv4, *([("::1", dual[1])] if has_ipv6() else [])]
    for host, port in hosts:
        six = ":" in host
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
        with client((host, port)) as sock:
            for ttl in (77, 78, 77):
                sock.setsockopt(level, option, ttl)
                sock.send(b"x")
                assert sock.recv(10) == b"%d" % ttl


def test_socket_of_a_service_that_reads_no_ttl_does_not_tell_it(server: Server) -> None:
    """It may have been the socket of another service before a reload."""
    [listener] = open_listeners([("test", Endpoint.parse("udp://127.0.0.1:0"))], lambda *skipped: None)
    listener.socket.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    server.serve(Echo(), listener)
    assert listener.socket.getsockopt(socket.IPPROTO_IP, 12) == 0
    assert ask(listener.socket.getsockname(), b"y") == b"y"


def test_unix_peer_without_an_address_gets_no_answer(server: Server, tmp_path: Any) -> None:
    address, events = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", address)
    assert ask(address, b"y", tmp_path) == b"y"
    server.settle()
    assert events.counters.dropped == {"no_address": 1}


def test_descriptors_from_a_unix_peer_are_closed(server: Server, tmp_path: Any) -> None:
    address, _ = server.add(Echo(), f"unixgram://{tmp_path}/s")
    with client(address, tmp_path) as sock, tempfile.TemporaryFile() as file:
        for _ in range(50):
            sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file.fileno()] * 14))])
            assert sock.recv(10) == b"x"
        assert copies(file.fileno()) == 1


def test_many_sources_at_once(server: Server) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(address)) for _ in range(200)]
        for number, sock in enumerate(clients):
            sock.send(b"%d" % number)
        assert [sock.recv(100) for sock in clients] == [b"%d" % number for number in range(200)]
    server.settle()
    assert events.counters.datagrams_out == 200


def test_datagram_server_starts_no_thread(server: Server) -> None:
    address, _ = server.add(service("pingpong"), "udp://127.0.0.1:0")
    before = threading.active_count()
    with client(address) as sock:
        for number in range(300):
            sock.send(b"ping %d" % number)
            assert threading.active_count() == before
        assert sock.recv(100) == b"pong 0"
