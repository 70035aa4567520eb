"""Unsolicited datagrams: the destinations allowed, the source address, and the bound of the queue."""

import gc
import socket
import threading
import weakref
from typing import Any

import pytest

from netd.transport.datagram.server import DatagramServer
from tests.support.namespaces import in_namespace
from tests.support.server import Server
from tests.support.sockets import has_ipv6
from tests.support.waiting import until
from tests.transport.sample_services import Board


def ask(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.settimeout(10)
    client.send(data)
    return client.recv(100)


@pytest.mark.parametrize("batched", [True, False, None])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0", "udp://[::1]:0"])
def test_post_is_sent_from_the_destination_of_the_datagram(server: Server, url: str, batched: bool) -> None:
    if "::1" in url and not has_ipv6():
        pytest.skip("no IPv6")
    board = Board()
    address, events = server.add(board, url, batched=batched)
    hosts = {"udp://127.0.0.1:0": ["127.0.0.1"], "udp://*:0": ["127.0.0.1", "127.0.0.2"], "udp://[::1]:0": ["::1"]}
    for host in hosts[url]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((host, address[1]))  # it receives from that address alone
            assert ask(client) == b"in"
            post = board.posts[-1]
            assert post is not None
            assert post(b"unasked")
            assert client.recv(100) == b"unasked"
    server.settle()
    assert events.counters.datagrams_out == 2 * len(hosts[url])


@pytest.mark.parametrize("bound", [True, False])
def test_unix_sender_with_a_path_gets_posts(server: Server, tmp_path: Any, bound: bool) -> None:
    board = Board()
    address, _ = server.add(board, f"unixgram://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        if bound:
            client.bind(f"{tmp_path}/c")
        client.connect(address)
        client.send(b"hello")
        until(lambda: board.posts)
        [post] = board.posts
        assert (post is not None) == bound
        if post:
            assert client.recv(100) == b"in"
            assert post(b"unasked")
            assert client.recv(100) == b"unasked"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [({}, b"out"), ({"amplify": ["192.0.2.0/24"]}, b"in"), ({"reply_guard": False}, b"in")],
)
def test_source_that_may_be_forged_gets_no_posts(policy: dict[str, object], expected: bytes) -> None:
    def run() -> None:
        with Server() as server:
            board = Board()
            address, _ = server.add(board, "udp://0.0.0.0:0", policy=policy)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(("192.0.2.7", 0))
                client.connect(("192.0.2.7", address[1]))
                assert ask(client) == expected
                for post in board.posts:
                    if post:
                        assert post(b"unasked")
                        assert client.recv(100) == b"unasked"

    in_namespace(run, "addr add 192.0.2.7/32 dev lo")


def test_posts_that_wait_are_bounded_and_unsendable_ones_counted(server: Server, log: list[dict[str, Any]]) -> None:
    board = Board()
    address, events = server.add(board, "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address)
        assert ask(client) == b"in"
        post = board.posts[-1]
        assert post
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go_on.wait(20)

        server.loop.call(hold)
        assert held.wait(20)
        assert not post(bytes(300_000))
        assert post(bytes(70_000)), "longer than a datagram can be, which the kernel says"
        taken = sum(post(b"x") for _ in range(10_000))
        assert 1000 < taken < 5000
        go_on.set()
        server.settle()
        assert events.counters.dropped["unsendable"] == 1
        assert [line["peer"] for line in log] == [f"127.0.0.1:{client.getsockname()[1]}"]
        assert post(b"again")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address)
        assert ask(client) == b"in", "that the other one is gone does no harm"


def test_post_on_a_closed_socket_is_rejected() -> None:
    board = Board()
    with Server() as server:
        address, _ = server.add(board, "udp://127.0.0.1:0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(address)
            assert ask(client) == b"in"
    [post] = board.posts
    assert post
    assert not post(b"anybody there?")


def test_post_that_a_service_keeps_does_not_keep_a_released_server(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address)
        assert ask(client) == b"in"
    [kept] = board.posts
    assert kept is not None
    replaced = server.servers.pop()
    assert isinstance(replaced, DatagramServer)
    found = weakref.ref(replaced)
    gc.disable()
    try:
        server.loop.call(replaced.server_close)
        server.loop.call(replaced.release)
        server.settle()
        del replaced
        server.settle()
        assert found() is None
    finally:
        gc.enable()
    assert not kept(b"late")
