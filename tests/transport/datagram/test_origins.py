"""The source address of answers over UDP, with any control messages beside the questions."""

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from netd.endpoints import Endpoint
from netd.services.echo import Echo
from netd.transport.activation import Inherited, InheritedSocket
from netd.transport.datagram.origins import only_address
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import has_ipv6
from tests.support.veth import Far, asking, joined
from tests.support.waiting import until
from tests.transport.sample_services import BOTH, Board, PlainEcho
from tests.transport.taps import look, tap

KINDS = pytest.mark.parametrize("kind", [Echo, PlainEcho])
FREE: dict[str, object] = {"limits": {"exempt": ["any"]}, "amplify": ["any"]}
SO_TIMESTAMP, SO_RCVMARK, SO_MARK = 29, 75, 36  # asm-generic/socket.h
IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR = 12, 13, 20  # linux/in.h


def exchange(client: socket.socket, data: bytes, wanted: bytes) -> None:
    client.send(data)
    assert client.recv(100) == wanted


def bound_to_all(family: int) -> socket.socket:
    """A socket of one family, or of both, with options that netd does not set when it opens one."""
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.bind(("", 0))
    return opened


def handed_over(opened: socket.socket) -> Listener:
    """The socket as netd inherits it from a service manager; this process keeps it too."""
    inherited = Inherited([InheritedSocket("echo", opened)])
    [listener] = open_listeners([("test", Endpoint.parse("systemd://echo"))], lambda *skipped: None, inherited)
    opened.close()
    return listener


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", b"\x7f\0\0\1"),
        ("127.1.2.3", b"\x7f\1\2\3"),
        ("0.0.0.0", None),
        ("127.255.255.255", None),  # broadcast
        ("239.1.2.3", None),
    ],
)
def test_only_address_is_unicast(host: str, found: bytes | None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((host, 0))
        assert only_address(opened) == found


@BOTH
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("policy", [{}, FREE], ids=["rate", "free"])
def test_link_local_address_answers_by_its_interface(traced: bool, batched: bool, policy: dict[str, object]) -> None:
    services: list[tuple[Any, bytes, bytes]] = [
        (Echo(), b"hello", b"hello"),
        (service("pingpong"), b"ping 1\r\n", b"pong 1\r\n"),
    ]

    def run(far: Far) -> None:
        for built, said, wanted in services:
            with Server() as server:
                address, events = server.add(built, "udp://*:0", batched=batched, policy=policy)
                if traced:
                    look(server, [tap()])
                for asked in ("fe80::aa%ve0", "fd00::1", "10.0.0.2"):
                    for mine in ("fd00::9", "fe80::99%ve0") if ":" in asked else ("10.0.0.9",):
                        with asking(far, (asked, address[1]), mine) as client:
                            exchange(client, said, wanted)
                            exchange(client, said, wanted)
                assert events.counters.dropped == {}

    joined(run)


@BOTH
def test_post_to_a_link_local_address_arrives(batched: bool) -> None:
    def run(far: Far) -> None:
        with Server() as server:
            board = Board()
            address, events = server.add(board, "udp://*:0", batched=batched, policy=FREE)
            for asked, mine in (("fe80::aa%ve0", "fd00::9"), ("fe80::aa%ve0", "fe80::99%ve0"), ("fd00::1", "fd00::9")):
                with asking(far, (asked, address[1]), mine) as client:
                    exchange(client, b"hello", b"in")
                    post = board.posts[-1]
                    assert post
                    assert post(b"unasked")
                    assert client.recv(100) == b"unasked"
            assert events.counters.dropped == {}

    joined(run)


@BOTH
@KINDS
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_datagram_that_was_queued_before_is_answered_from_its_destination(
    family: int, kind: type[Echo], batched: bool
) -> None:
    def run(far: Far) -> None:
        opened = bound_to_all(family)
        port = opened.getsockname()[1]
        asked = ["10.0.0.2", "10.0.0.1"] if family == socket.AF_INET else ["10.0.0.2", "fe80::aa%ve0", "fd00::1"]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(asking(far, (host, port))) for host in asked]
            for client in clients:
                before = queued(opened)
                client.send(b"early")
                until(lambda before=before: queued(opened) > before)  # type: ignore[misc]
            server = stack.enter_context(Server())
            events = server.serve(kind(), handed_over(opened), batched=batched, policy=FREE)
            for client in clients:
                assert client.recv(100) == b"early"
                exchange(client, b"later", b"later")
            assert events.counters.dropped == {}

    joined(run)


@BOTH
@KINDS
def test_address_that_is_routed_here_is_the_source_of_its_answers(kind: type[Echo], batched: bool) -> None:
    def run(far: Far) -> None:
        with Server() as server:
            address, events = server.add(kind(), "udp://*:0", batched=batched, policy=FREE)
            for asked in ("10.9.1.2", "10.9.3.4", "fd09::5"):
                with asking(far, (asked, address[1])) as client:
                    exchange(client, b"x", b"x")
            assert events.counters.dropped == {}

    joined(
        run,
        "route add local 10.9.0.0/16 dev lo",
        "-6 route add local fd09::/64 dev lo",
        far=("route add 10.9.0.0/16 via 10.0.0.1", "-6 route add fd09::/64 via fd00::1"),
    )


@BOTH
@KINDS
@pytest.mark.parametrize("url", ["udp://*:0", "udp://0.0.0.0:0"])
def test_answer_from_a_removed_address_leaves_from_another(url: str, kind: type[Echo], batched: bool) -> None:
    def run(far: Far) -> None:
        with Server() as server:
            address, events = server.add(kind(), url, batched=batched, policy=FREE)
            with far(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
                client.settimeout(20)

                def ask() -> None:
                    for host in ("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"):
                        client.sendto(host.encode(), (host, address[1]))

                for wanted in ("10.0.0.2", "10.0.0.1"):

                    def ask_and_remove(wanted: str = wanted) -> None:
                        ask()
                        if wanted == "10.0.0.1":
                            subprocess.run(["ip", "addr", "del", "10.0.0.2/24", "dev", "ve0"], check=True)

                    meanwhile_here(server, ask_and_remove)
                    answers = [client.recvfrom(100) for _ in range(4)]
                    assert [data for data, _ in answers] == [b"10.0.0.1", b"10.0.0.2"] * 2
                    assert [place[0] for _, place in answers] == ["10.0.0.1", wanted] * 2
            assert events.counters.dropped == {}

    joined(run)


def meanwhile_here(server: Server, act: Callable[[], object]) -> None:
    """Call ``act`` in this thread, and so in this namespace, while the loop of the server is held."""
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go_on.wait(20)

    server.loop.call(hold)
    assert held.wait(20)
    try:
        act()
    finally:
        go_on.set()


OPTIONS = {
    "timestamp": [(socket.SOL_SOCKET, SO_TIMESTAMP, 1)],
    "mark": [(socket.SOL_SOCKET, SO_RCVMARK, 1)],
    "orders": [(socket.IPPROTO_IP, IP_RECVTTL, 1), (socket.IPPROTO_IP, IP_RECVTOS, 1)],
    "all": [
        (socket.SOL_SOCKET, SO_TIMESTAMP, 1),
        (socket.SOL_SOCKET, SO_RCVMARK, 1),
        (socket.IPPROTO_IP, IP_RECVTTL, 1),
        (socket.IPPROTO_IP, IP_RECVTOS, 1),
        (socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1),
    ],
}


@BOTH
@KINDS
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_control_messages_of_options_set_by_others_change_no_answer(
    server: Server, family: int, options: str, when: str, kind: type[Echo], batched: bool
) -> None:
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("no IPv6")
    opened = bound_to_all(family)
    port = opened.getsockname()[1]

    def switch_on() -> None:
        for level, name, value in OPTIONS[options]:
            if level == socket.IPPROTO_IPV6 and family == socket.AF_INET:
                continue
            listener.socket.setsockopt(level, name, value)

    listener = handed_over(opened)
    if when == "before":
        switch_on()
    events = server.serve(kind(), listener, batched=batched)
    with contextlib.ExitStack() as stack:
        # One client for two addresses: the packet information, which differs, comes after the unknown messages.
        four = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        four.bind(("127.0.0.1", 0))
        for name, value in ((socket.IP_TTL, 7), (socket.IP_TOS, 0x10), (IP_RECVTTL, 1), (IP_RECVTOS, 1)):
            four.setsockopt(socket.IPPROTO_IP, name, value)
        six = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        asked = [(four, "127.0.0.1"), (four, "127.0.0.2"), *([(six, "::1")] if family == socket.AF_INET6 else [])]
        for number in range(6):
            for client, host in [one for one in asked for _ in range(2)]:
                client.settimeout(20)
                client.sendto(b"%d" % number, (host, port))
                data, infos, _, place = client.recvmsg(100, 200)
                assert (data, place[0]) == (b"%d" % number, host)
                if client is four:
                    orders = {kind: int.from_bytes(value, "little") for _, kind, value in infos}
                    assert orders == {socket.IP_TTL: 64, socket.IP_TOS: 0}
            if when == "after" and number == 2:
                switch_on()
    server.settle()
    assert events.counters.dropped == {}


@BOTH
def test_worker_continues_after_unknown_control_messages(server: Server, batched: bool) -> None:
    opened = bound_to_all(socket.AF_INET6 if has_ipv6() else socket.AF_INET)
    port = opened.getsockname()[1]
    listener = handed_over(opened)
    server.serve(service("pingpong"), listener, batched=batched)
    listener.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)  # any process that has the socket can
    for host in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.connect((host, port))
            client.send(b"ping 1\n")
            assert client.recv(100) == b"pong 1\n"
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    with socket.create_connection(address, 20) as connection:
        connection.sendall(b"x")
        assert connection.recv(10) == b"x"


@BOTH
@KINDS
def test_non_unicast_datagram_is_answered_from_a_unicast_address(kind: type[Echo], batched: bool) -> None:
    def run(far: Far) -> None:
        with Server() as server:
            policy = FREE | {"reply_guard": False}
            address, events = server.add(kind(), "udp://*:0", batched=batched, policy=policy)
            with far(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
                client.settimeout(20)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                client.sendto(b"x", ("10.0.0.255", address[1]))
                assert client.recvfrom(10) == (b"x", ("10.0.0.1", address[1]))
            with far(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as client:
                client.settimeout(20)
                client.sendto(b"x", ("ff02::1", address[1], 0, far(lambda: socket.if_nametoindex("ve0"))))
                data, place = client.recvfrom(10)
                assert (data, place[0].partition(":")[0]) == (b"x", "fe80")
            assert events.counters.dropped == {}

    joined(run, far=("-6 route add multicast ff00::/8 dev ve0 table local",))


def queued(opened: socket.socket) -> int:
    """Octets of memory that the receive queue takes (SO_MEMINFO)."""
    return int(struct.unpack_from("I", opened.getsockopt(socket.SOL_SOCKET, 55, 36))[0])
