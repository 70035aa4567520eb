"""Conversations that yield a `Wait`: they are resumed when it ends, and neither read nor write before."""

import socket
import struct
from pathlib import Path

import pytest

from netd.contract import Post, Wait, WaitingConversation
from netd.peer import Peer
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.waiting import until
from tests.transport.stream.peers import connect


class Slow:
    """Answers a segment once the test finishes the `Wait`."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.ended = 0

    def stream(self, peer: Peer) -> WaitingConversation:
        try:
            while data := (yield None):
                yield b"wait:"
                wait = Wait()
                self.waits.append(wait)
                while not wait.done:
                    yield wait
                yield data
            yield b"end"
        finally:
            self.ended += 1


class SlowBoard(Slow):
    """As `Slow`, with posts."""

    server_initiated = True

    def stream(self, peer: Peer, post: Post) -> WaitingConversation:  # type: ignore[override]
        self.post = post
        return super().stream(peer)


@pytest.fixture(params=["tcp", "unix"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/s"


@pytest.mark.slow  # waits for time to pass
@pytest.mark.parametrize("kind", [Slow, SlowBoard])
def test_conversation_that_waits_is_resumed_when_the_wait_ends(server: Server, url: str, kind: type[Slow]) -> None:
    slow = kind()
    address, _ = server.add(slow, url, idle="100ms")
    with connect(address) as connection:
        for text in (b"one", b"two"):
            connection.sendall(text)
            assert read_exactly(connection, 5) == b"wait:"
            # Input that comes meanwhile waits, also the end of file; and the idle time-out does not run.
            connection.sendall(b"more")
            assert connection_is_quiet(connection, 0.4)
            server.loop.call(slow.waits.pop().finish)
            assert read_exactly(connection, len(text)) == text
            assert read_exactly(connection, 5) == b"wait:"
            server.loop.call(slow.waits.pop().finish)
            assert read_exactly(connection, 4) == b"more"
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert read_exactly(connection, 5) == b"wait:"
        server.loop.call(slow.waits.pop().finish)
        assert read_all(connection) == b"lastend"
    until(lambda: slow.ended == 1)


def connection_is_quiet(connection: socket.socket, seconds: float) -> bool:
    """Whether no input comes for so many seconds."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b"nothing"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(20)


def test_peer_that_closes_ends_a_conversation_that_waits(server: Server, url: str) -> None:
    slow = Slow()
    address, events = server.add(slow, url)
    with connect(address) as connection:
        connection.sendall(b"x")
        assert read_exactly(connection, 5) == b"wait:"
        if connection.family != socket.AF_UNIX:  # over TCP, only a reset shows that the peer has closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: slow.ended == 1)
    server.loop.call(slow.waits.pop().finish)
    server.settle()
    assert events.table.read().closed == {"reset": 1}


def test_wait_that_has_ended_already_resumes_at_once(server: Server, url: str) -> None:
    class Ready:
        def stream(self, peer: Peer) -> WaitingConversation:
            wait = Wait()
            wait.finish()
            yield wait
            yield b"here"

    address, _ = server.add(Ready(), url)
    with connect(address) as connection:
        assert read_all(connection) == b"here"


def test_post_during_a_wait_is_sent_before_the_conversation_is_resumed(server: Server, url: str) -> None:
    slow = SlowBoard()
    address, _ = server.add(slow, url)
    with connect(address) as connection:
        connection.sendall(b"x")
        assert read_exactly(connection, 5) == b"wait:"
        assert slow.post(b"posted:")
        server.loop.call(slow.waits.pop().finish)
        assert read_exactly(connection, 8) == b"posted:x"
