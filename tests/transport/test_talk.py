"""Conversations that are also spoken to from outside: what is posted arrives, in order, whole or not at all."""

import socket
import threading
from typing import Any

import pytest

from netd.conversation import Conversation, Peer, Post
from tests.support import ABSTRACT, Server, read_all, read_exactly, until
from tests.transport.test_stream import connect, ended


class Board:
    """Answers each segment, and keeps the posts of who is there."""

    unasked = True

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


def test_what_is_posted_from_any_thread_arrives_in_order(server: Server) -> None:
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


def test_what_waits_for_a_peer_that_does_not_read_is_bounded(server: Server) -> None:
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


def test_no_number_of_small_posts_takes_much_memory(server: Server) -> None:
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


def test_a_post_waits_for_the_conversation_to_finish_what_it_says(server: Server) -> None:
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


def test_nobody_can_post_to_who_is_gone(server: Server) -> None:
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


def test_a_post_to_a_peer_that_broke_off_ends_its_conversation(server: Server) -> None:
    board = Board()
    address, events = server.add(board, "tcp://127.0.0.1:0")
    connection, post = member(server, board, address)
    connection.close()
    until(lambda: not post(b"x" * 100))
    until(lambda: ended(events, 1))
    assert board.posts == []


def test_posting_keeps_a_connection_from_being_idle(server: Server) -> None:
    board = Board()
    address, events = server.add(board, "tcp://127.0.0.1:0", idle="300ms")
    connection, post = member(server, board, address)
    with connection:
        begun = server.loop.now
        until(lambda: post(b"x") and server.loop.now > begun + 1.0)
        assert not events.counters.closed
        until(lambda: ended(events, 1))
    assert events.counters.closed == {"idle": 1}


class Broken:
    """Posts before its conversation begins, and does not begin."""

    unasked = True

    def __init__(self, what: object) -> None:
        self._what = what

    def stream(self, peer: Peer, post: Post) -> Conversation:
        post(self._what)  # type: ignore[arg-type]
        raise ZeroDivisionError("oops")


@pytest.mark.parametrize("what", [b"hello", "no octets"])
def test_a_bug_of_who_posts_is_its_own(server: Server, what: object) -> None:
    address, events = server.add(Broken(what), "tcp://127.0.0.1:0")
    with connect(address) as connection:
        assert connection.recv(10) == b""
    until(lambda: events.counters.failed == 1)
    server.settle()
    assert events.counters.active == 0
