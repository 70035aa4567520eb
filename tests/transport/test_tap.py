"""Taps: they record what a service receives and sends, bounded, and do not change how it is served."""

import os
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.upper import Upper
from netd.transport.tap import SHOWN, Tap
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import ABSTRACT, read_all, read_exactly
from tests.support.waiting import until
from tests.transport.sample_services import Board, Finger
from tests.transport.stream.peers import connect
from tests.transport.taps import look, tap

PEER = Peer("tcp", "192.0.2.7", 5)


def told(one: Tap) -> list[tuple[str, int, bytes]]:
    lines, skipped = one.take()
    assert skipped == 0
    return [(way, size, bytes.fromhex(data)) for _, way, _, size, data, _ in lines]


@given(st.lists(st.binary(max_size=1000), max_size=300))
def test_tap_keeps_a_bounded_part_and_counts_the_rest(pieces: list[bytes]) -> None:
    flushed: list[Tap] = []
    one = tap(flush=flushed.append)
    for piece in pieces:
        one.record(PEER, "in", len(piece), piece)
    lines, skipped = one.take()
    assert len(lines) + skipped == len(pieces)
    assert [(line[2:]) for line in lines] == [
        (PEER.remote, len(piece), piece[:SHOWN].hex(), "") for piece in pieces[: len(lines)]
    ]
    assert sum(len(line[4]) for line in lines) < 30_000
    assert flushed == [one] * bool(pieces), "once, until it is taken"
    one.record(PEER, "in", 1, b"x")
    assert len(flushed) == bool(pieces) + 1


def test_tap_records_only_the_wanted_peers() -> None:
    one = tap(lambda peer: peer.host == "192.0.2.8")
    one.record(PEER, "in", 1, b"x")
    one.record(PEER._replace(host="192.0.2.8"), "in", 1, b"y")
    assert told(one) == [("in", 1, b"y")]


def test_conversation_is_recorded_from_its_beginning_to_its_end(server: Server) -> None:
    address, _ = server.add(Upper(), "tcp://127.0.0.1:0")
    one = tap()
    look(server, [one])
    with connect(address) as connection:
        connection.sendall(b"hello")
        assert read_exactly(connection, 5) == b"HELLO"
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
        peer = f"127.0.0.1:{connection.getsockname()[1]}"
    server.settle()
    lines, _ = one.take()
    assert [(way, size, data) for _, way, _, size, data, _ in lines] == [
        ("opened", 0, ""),
        ("in", 5, b"hello".hex()),
        ("out", 5, b"HELLO".hex()),
        ("end", 0, ""),
        ("closed", 0, ""),
    ]
    assert {line[2] for line in lines} == {peer}


@pytest.mark.parametrize("kind", [Echo, Upper])
def test_trace_may_begin_and_end_while_a_connection_is_open(server: Server, kind: type[Any]) -> None:
    address, _ = server.add(kind(), f"unix://{ABSTRACT}")
    one, other = tap(), tap()
    with connect(address) as connection:

        def ask(word: bytes) -> None:
            connection.sendall(word)
            assert read_exactly(connection, len(word)) in (word, word.upper())
            server.settle()

        ask(b"before")
        look(server, [one])
        ask(b"one")
        look(server, [one, other])
        ask(b"both")
        look(server, [other])
        ask(b"other")
        look(server, [])
        ask(b"after")
    assert [data.lower() for way, _, data in told(one) if way == "in"] == [b"one", b"both"]
    assert [data.lower() for way, _, data in told(other) if way == "out"] == [b"both", b"other"]


def test_bulk_under_trace_is_counted_and_echoed_whole(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    sizes = {"in": 0, "out": 0}

    def count(full: Tap) -> None:
        for _, way, _, size, _, _ in full.take()[0]:
            sizes[way] = sizes.get(way, 0) + size

    look(server, [tap(flush=lambda full: server.loop.call(lambda: count(full)))])
    data = os.urandom(2**22)
    with connect(address) as connection:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert read_all(connection) == data
        sender.join()
    until(lambda: events.counters.closed)
    server.settle()
    assert sizes["in"] == sizes["out"] == len(data)


def test_send_only_service_is_recorded(server: Server) -> None:
    address, _ = server.add(service("qotd"), "tcp://127.0.0.1:0")
    one = tap()
    look(server, [one])
    with connect(address) as connection:
        said = read_all(connection)
    server.settle()
    assert [line[:2] for line in told(one)][:2] == [("opened", 0), ("out", len(said))]


def test_handler_in_a_thread_is_recorded(server: Server) -> None:
    address, events = server.add(Finger(), "tcp://127.0.0.1:0")
    one = tap()
    look(server, [one])
    with connect(address) as connection:
        connection.sendall(b"hello\n")
        assert read_all(connection) == b"HELLO\n"
    until(lambda: events.counters.closed)
    assert [line for line in told(one) if line[0] != "end"] == [
        ("opened", 0, b""),
        ("in", 6, b"hello\n"),
        ("out", 6, b"HELLO\n"),
        ("closed", 0, b""),
    ]


@pytest.mark.parametrize("kind", [Echo, Upper])
@pytest.mark.parametrize(
    ("url", "batched"),
    [("udp://127.0.0.1:0", True), ("udp://127.0.0.1:0", False), ("udp://*:0", True), ("unixgram://{tmp}/s", True)],
)
def test_datagrams_are_recorded(server: Server, tmp_path: Any, kind: type[Any], url: str, batched: bool) -> None:
    address, _ = server.add(kind(), url.format(tmp=tmp_path), batched=batched)
    one = tap()
    look(server, [one])
    family = socket.AF_UNIX if "unix" in url else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.bind(f"{tmp_path}/c" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        client.connect(address if family == socket.AF_UNIX else ("127.0.0.1", address[1]))
        for word in (b"hello", b"", b"x" * 1000):
            client.send(word)
            assert client.recv(2000) in (word, word.upper())
        own = client.getsockname()
    server.settle()
    lines, _ = one.take()
    assert [(way, size) for _, way, _, size, _, _ in lines] == [
        (way, size) for size in (5, 0, 1000) for way in ("in", "out")
    ]
    answered = b"HELLO" if kind is Upper else b"hello"
    assert [bytes.fromhex(line[4]) for line in lines[:2]] == [b"hello", answered]
    assert {line[2] for line in lines} == {own if family == socket.AF_UNIX else f"127.0.0.1:{own[1]}"}
    look(server, [])
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.bind(f"{tmp_path}/d" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        client.connect(address if family == socket.AF_UNIX else ("127.0.0.1", address[1]))
        client.send(b"nobody looks")
        client.recv(2000)
    server.settle()
    assert one.take() == ([], 0)


@pytest.mark.parametrize("kind", [Echo, Upper])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://*:0"])
def test_trace_may_begin_and_end_between_datagrams_of_one_client(server: Server, kind: type[Any], url: str) -> None:
    address, events = server.add(kind(), url)
    one, other = tap(), tap()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", address[1]))
        for taps, word in (
            ([], b"before"), ([one], b"one"), ([one, other], b"both"), ([other], b"other"), ([], b"after")
        ):  # fmt: skip
            look(server, taps)
            for number in range(3):
                client.send(word + b"%d" % number)
            for number in range(3):
                assert client.recv(100).lower() == word + b"%d" % number
    server.settle()
    assert [data.lower() for way, _, data in told(one) if way == "in"] == [
        word + b"%d" % number for word in (b"one", b"both") for number in range(3)
    ]
    assert [data.lower() for way, _, data in told(other) if way == "out"] == [
        word + b"%d" % number for word in (b"both", b"other") for number in range(3)
    ]
    assert (events.counters.datagrams_out, events.counters.dropped) == (15, {})


def test_posts_are_recorded_too(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "udp://127.0.0.1:0")
    one = tap()
    look(server, [one])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(address)
        client.send(b"hello")
        assert client.recv(100) == b"in"
        [post] = board.posts
        assert post
        assert post(b"unasked")
        assert client.recv(100) == b"unasked"
    server.settle()
    assert told(one) == [("in", 5, b"hello"), ("out", 2, b"in"), ("out", 7, b"unasked")]
