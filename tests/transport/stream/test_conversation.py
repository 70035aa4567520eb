"""Conversations: output, posts from the service in order and bounded, and turns that do not delay others."""

import gc
import socket
import threading
import time
import weakref
from typing import Any

import pytest

from netd.contract import Conversation, Post
from netd.peer import Peer
from netd.services.echo import Echo
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import ABSTRACT, read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect, converse, ended


class Board:
    """Answers each segment, and keeps the posts of the peers that are connected."""

    server_initiated = True

    def __init__(self) -> None:
        self.posts: list[Post] = []

    def stream(self, peer: Peer, post: Post) -> Conversation:
        self.posts.append(post)
        try:
            while data := (yield None):
                if data == b"big":
                    yield from [b"x" * 65536] * 64
                if data == b"bye":
                    return
                yield b"<" + data + b">"
        finally:
            self.posts.remove(post)


def member(server: Server, board: Board, address: Any) -> tuple[socket.socket, Post]:
    number = len(board.posts)
    connection = connect(address)
    until(lambda: len(board.posts) > number)
    return connection, board.posts[-1]


def test_posts_from_any_thread_arrive_in_order(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "tcp://127.0.0.1:0")
    connection, post = member(server, board, address)
    with connection:
        assert post(b"one ")
        assert read_exactly(connection, 4) == b"one "

        def say(number: int) -> None:
            for turn in range(100):
                while not post(b"%d:%02d " % (number, turn)):
                    pass

        threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        said = read_exactly(connection, 4 * 100 * 5).split()
        for thread in threads:
            thread.join()
        for number in range(4):
            assert [word for word in said if word.startswith(b"%d:" % number)] == [
                b"%d:%02d" % (number, turn) for turn in range(100)
            ]
        connection.sendall(b"hello")
        assert read_exactly(connection, 7) == b"<hello>", "the conversation goes on"


def test_posts_to_a_peer_that_does_not_read_are_bounded(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "tcp://127.0.0.1:0?sndbuf=4096")
    connection, post = member(server, board, address)
    taken = 0
    piece = b"x" * 1000
    with connection:
        refused = 0
        while refused < 100:
            if post(piece):
                taken += 1
                refused = 0
                server.settle()
            else:
                refused += 1
        assert taken < 5000, "what the kernel holds for both, and 64 KiB here"
        assert not post(piece)
        assert len(read_exactly(connection, taken * 1000)) == taken * 1000, "all that was taken arrives"
        until(lambda: post(b"again"))
        assert read_exactly(connection, 5) == b"again"


def test_small_posts_are_bounded_in_memory_too(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "tcp://127.0.0.1:0")
    connection, post = member(server, board, address)
    with connection:
        held, go_on = threading.Event(), threading.Event()
        server.loop.call(lambda: (held.set(), go_on.wait(20))[0])  # type: ignore[func-returns-value]
        assert held.wait(20)
        taken = sum(post(b"") for _ in range(5000))
        go_on.set()
        assert taken < 1100


def test_post_is_sent_after_the_output_of_the_conversation(server: Server) -> None:
    board = Board()
    address, _ = server.add(board, "tcp://127.0.0.1:0?sndbuf=4096")
    connection, post = member(server, board, address)
    with connection:
        connection.sendall(b"big")
        until(lambda: len(connection.recv(1, socket.MSG_PEEK)))
        assert post(b"posted")
        server.settle()
        connection.shutdown(socket.SHUT_WR)
        said = read_all(connection)
        assert said.count(b"x") == 64 * 65536
        assert b"posted" in said
        assert b"<big>" in said


def test_post_to_a_closed_connection_is_rejected(server: Server) -> None:
    board = Board()
    address, events = server.add(board, f"unix://{ABSTRACT}")
    connection, post = member(server, board, address)
    connection.sendall(b"bye")
    assert read_all(connection) == b""
    connection.close()
    until(lambda: ended(events, 1))
    assert not post(b"anybody there?")
    server.settle()
    assert board.posts == []


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}"], ids=["tcp", "unix"])
def test_post_after_the_end_of_output_is_not_sent_and_causes_no_reset(server: Server, url: str) -> None:
    board = Board()
    address, events = server.add(board, url)
    connection, post = member(server, board, address)
    with connection:
        connection.sendall(b"bye")
        assert read_all(connection) == b""
        assert post(b"late"), "the connection is open until the peer closes it too"
        server.settle()
    until(lambda: ended(events, 1))
    assert events.counters.closed == {"done": 1}


def test_post_to_a_peer_that_reset_the_connection_ends_the_conversation(server: Server) -> None:
    board = Board()
    address, events = server.add(board, "tcp://127.0.0.1:0")
    connection, post = member(server, board, address)
    connection.close()
    until(lambda: not post(b"x" * 100))
    until(lambda: ended(events, 1))
    assert board.posts == []


@pytest.mark.slow  # waits for a time-out
def test_connection_with_posts_is_not_idle(server: Server) -> None:
    board = Board()
    address, events = server.add(board, "tcp://127.0.0.1:0", idle="300ms")
    connection, post = member(server, board, address)
    with connection:
        begun = server.loop.now
        until(lambda: post(b"x") and server.loop.now > begun + 1.0)
        assert not events.counters.closed
        until(lambda: ended(events, 1))
    assert events.counters.closed == {"idle": 1}


class Keeper:
    """Keeps the post of a peer, also after its connection is closed."""

    server_initiated = True

    def stream(self, peer: Peer, post: Post) -> Conversation:
        self.post = post
        while data := (yield None):
            yield data


def test_post_that_a_service_keeps_does_not_keep_the_connection(server: Server) -> None:
    keeper = Keeper()
    address, events = server.add(keeper, "tcp://127.0.0.1:0")
    gc.disable()
    try:
        with connect(address) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            [connection] = map(weakref.ref, server.servers[0].connections)  # type: ignore[union-attr]
        until(lambda: ended(events, 1))
        server.settle()  # the loop runs another callback, and holds no reference then
        until(lambda: connection() is None)
        assert not keeper.post(b"anybody there?")
    finally:
        gc.enable()


class Broken:
    """Posts before its conversation begins, and does not begin."""

    server_initiated = True

    def __init__(self, what: object) -> None:
        self._what = what

    def stream(self, peer: Peer, post: Post) -> Conversation:
        post(self._what)  # type: ignore[arg-type]
        raise ZeroDivisionError("oops")


@pytest.mark.parametrize("what", [b"hello", "no octets"])
def test_bug_of_a_service_that_posts_first_costs_one_conversation(server: Server, what: object) -> None:
    address, events = server.add(Broken(what), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert connection.recv(10) == b""
    until(lambda: events.counters.failed == 1)
    server.settle()
    assert events.counters.active == 0


def test_chargen_waits_for_its_reader_alone_and_discards_input(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        # More than all buffers together hold: the service has to receive it.
        connection.settimeout(20)
        sent, got = 0, 0
        connection.setblocking(False)
        while sent < 2**25 or got < 2**22:
            try:
                sent += connection.send(b"x" * 65536)
            except BlockingIOError:
                pass
            try:
                got += len(connection.recv(65536))
            except BlockingIOError:
                pass
    until(lambda: events.counters.closed["reset"] == 1)
    assert events.counters.bytes_in > 2**24


def test_chargen_continues_after_a_half_close(server: Server) -> None:
    address, events = server.add(service("chargen"), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        connection.shutdown(socket.SHUT_WR)
        data = read_exactly(connection, 2**20)
    assert data[:74] == converse(service("chargen").stream(Peer("tcp", "x")), [], most=74)[:74]
    assert len(data) == 2**20
    until(lambda: events.counters.closed["reset"] == 1)


def test_conversation_with_endless_output_does_not_delay_others(server: Server) -> None:
    class Talker:
        def stream(self, peer: Peer) -> Conversation:
            while True:
                yield b"x"

    address, _ = server.add(Talker(), "tcp://127.0.0.1:0")
    echo, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    with connect(address) as talker, connect(echo) as connection:
        for _ in range(50):
            assert read_exactly(talker, 1000) == b"x" * 1000
            connection.sendall(b"y")
            assert connection.recv(1) == b"y"


def test_slow_conversation_does_not_delay_others(server: Server) -> None:
    said = 0
    asked: list[int] = []
    heard: list[int] = []

    class Thinker:
        """Each piece of output takes a millisecond, and with some the other client asks."""

        def stream(self, peer: Peer) -> Conversation:
            nonlocal said
            while True:
                time.sleep(0.001)
                said += 1
                if len(asked) < 20 and len(heard) == len(asked):
                    asked.append(said)
                    connection.sendall(b"y")
                yield b"x"

    class Listener:
        """Notes how much has been said when it hears something."""

        def stream(self, peer: Peer) -> Conversation:
            while data := (yield None):
                heard.append(said)
                yield data

    address, _ = server.add(Thinker(), "tcp://127.0.0.1:0")
    other, _ = server.add(Listener(), "tcp://127.0.0.1:0")
    with connect(other) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        heard.clear()
        with connect(address) as thinker:
            assert thinker.recv(1)
            assert read_exactly(connection, 20) == b"y" * 20
        waited = [after - before for before, after in zip(asked, heard, strict=True)]
        assert max(waited) < 20, "a whole turn of 256 words came in between"
