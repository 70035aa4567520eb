"""The pipe for splice(2) is empty after each use, whatever happens to a socket."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from netd.transport.stream.splice_pipe import SplicePipe


@pytest.fixture
def pipe() -> Iterator[SplicePipe]:
    one = SplicePipe()
    assert one.open()
    yield one
    one.close()


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_octets_move_from_one_socket_to_another_and_what_has_no_room_is_returned(pipe: SplicePipe) -> None:
    with pair() as (source, client), pair() as (sink, server):
        with pytest.raises(BlockingIOError):
            pipe.receive(source, sink)
        received = b""
        rest = b""
        while not rest:
            client.send(b"0123456789" * 1000)
            number = pipe.receive(source, sink)
            assert number == 10_000
            rest = pipe.send(sink, number)
            received += (b"0123456789" * 1000)[: number - len(rest)]
        assert rest == (b"0123456789" * 1000)[-len(rest) :]
        got = b""
        while len(got) < len(received):
            got += server.recv(2**20)
        assert got == received
        client.close()
        assert pipe.receive(source, sink) == 0


def test_broken_socket_leaves_the_pipe_empty(pipe: SplicePipe) -> None:
    with pair() as (source, client), pair() as (sink, server):
        server.close()
        client.send(b"lost")
        assert pipe.receive(source, sink) == 4
        with pytest.raises(BrokenPipeError):
            pipe.send(sink, 4)
        client.send(b"mine")
        assert pipe.receive(source, source) == 4
        assert pipe.send(source, 4) == b""
        assert client.recv(100) == b"mine"


def test_pipe_without_memory_to_empty_it_keeps_nothing_for_another_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(descriptor: int, size: int) -> bytes:
        raise MemoryError

    pipe = SplicePipe()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                there.send(b"theirs" * 10_000)
        with contextlib.suppress(BlockingIOError):
            while True:
                here.send(b"x" * 10_000)
        assert pipe.open()
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", no_memory)
            with pytest.raises(MemoryError):
                pipe.send(here, pipe.receive(here, here))
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.send(b"mine")
        assert pipe.open()
        assert pipe.receive(one, one) == 4
        assert pipe.send(one, 4) == b""
        assert other.recv(100) == b"mine"
    pipe.close()
