"""The contract of a `StreamSocket`, for a bare socket and for each that wraps one."""

import socket
from collections.abc import Callable, Iterator

import pytest

from netd.peer import Peer
from netd.transport.stream.stream_socket import CHUNK, StreamSocket
from netd.transport.tap import TracedSocket
from tests.transport.stream.toy_preambles import Xor, xor

Code = Callable[[bytes], bytes]


def plain(data: bytes) -> bytes:
    return data


@pytest.fixture(params=["bare", "traced", "wrapped", "wrapped and traced"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[StreamSocket, socket.socket, Code]]:
    """A stream socket, the socket of its peer, and the coding of what the peer sends."""
    bare, peer = socket.socketpair()
    bare.setblocking(False)
    stream: StreamSocket = Xor(bare, b"") if "wrapped" in request.param else bare
    if "traced" in request.param:
        stream = TracedSocket(stream, Peer("unix", ""), [])
    with bare, peer:
        yield stream, peer, xor if "wrapped" in request.param else plain


def test_recv_returns_as_many_octets_as_requested_if_they_are_there(
    ends: tuple[StreamSocket, socket.socket, Code],
) -> None:
    stream, peer, code = ends
    peer.sendall(code(b"hello"))
    assert [stream.recv(2), stream.recv(2), stream.recv(2)] == [b"he", b"ll", b"o"]


def test_recv_without_input_and_send_without_room_raise_blocking_io_error(
    ends: tuple[StreamSocket, socket.socket, Code],
) -> None:
    stream, peer, code = ends
    with pytest.raises(BlockingIOError):
        stream.recv(CHUNK)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += stream.send(b"x" * CHUNK)
    peer.settimeout(10)
    received = 0
    while received < sent:
        data = peer.recv(CHUNK)
        assert data == code(b"x" * len(data))
        received += len(data)
    assert stream.send(b"x") == 1


def test_shutdown_of_sending_leaves_the_other_direction_open(ends: tuple[StreamSocket, socket.socket, Code]) -> None:
    stream, peer, code = ends
    stream.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.sendall(code(b"x"))
    assert stream.recv(1) == b"x"
    peer.close()
    assert stream.recv(1) == b""


def test_closed_peer_breaks_sending_with_another_os_error(ends: tuple[StreamSocket, socket.socket, Code]) -> None:
    stream, peer, _ = ends
    peer.close()
    with pytest.raises(BrokenPipeError):
        stream.send(b"x")


def test_close_closes_the_descriptor(ends: tuple[StreamSocket, socket.socket, Code]) -> None:
    stream, peer, _ = ends
    assert stream.fileno() >= 0
    stream.close()
    assert peer.recv(1) == b""
    assert stream.fileno() == -1


def test_octets_that_a_wrapped_socket_holds_are_pending_and_come_first() -> None:
    bare, peer = socket.socketpair()
    bare.setblocking(False)
    with bare, peer:
        stream = TracedSocket(Xor(bare, xor(b"held")), Peer("unix", ""), [])
        peer.sendall(xor(b" and sent"))
        assert stream.pending() == 4
        assert [stream.recv(3), stream.pending(), stream.recv(CHUNK), stream.pending()] == [b"hel", 1, b"d and sent", 0]
