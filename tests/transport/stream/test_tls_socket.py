"""TLS over a pair of sockets: what the kernel gives and takes in any pieces."""

import contextlib
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.tls.buffers import Buffers
from netd.transport.stream import tls_socket
from netd.transport.stream.stream_socket import CHUNK
from netd.transport.stream.tls_socket import TlsSocket
from tests.support.certificates import Authority
from tests.support.tls import TlsClient, client_context


@contextlib.contextmanager
def joined(
    directory: Path, version: ssl.TLSVersion, buffers: Buffers, ticket: bytes = b""
) -> Iterator[tuple[TlsSocket, TlsClient]]:
    """A server's end after the handshake, and its client. Nothing is on its way."""
    authority = Authority(directory)
    issued = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(20)
        client = TlsClient(theirs, client_context(authority, version))
        incoming, outgoing = buffers.incoming, buffers.outgoing
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        is_done = False
        while not is_done:
            is_done = True
            for end, source, sink in ((client.tls, client.outgoing, incoming), (server, outgoing, client.incoming)):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    is_done = False
                sink.write(source.read())
        ours.setblocking(False)
        yield TlsSocket(ours, server, buffers, b"", ticket), client


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[TlsSocket, TlsClient]]:
    with joined(tmp_path, request.param, Buffers()) as both:
        yield both


def test_connections_share_buffers_in_which_nothing_stays(tmp_path: Path) -> None:
    buffers = Buffers()
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(joined(tmp_path, version, buffers))
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        ]
        sent = [client.encrypt(b"one") + client.encrypt(b"two") for _, client in both]
        found = [b"", b""]
        for at in range(max(map(len, sent))):
            for number, (server, client) in enumerate(both):
                client.bare.sendall(sent[number][at : at + 1])
                with contextlib.suppress(BlockingIOError):
                    found[number] += server.recv(2)
        for number, (server, client) in enumerate(both):
            while server.pending():
                found[number] += server.recv(2)
            assert server.send(found[number]) == 6
            assert client.recv(100) == b"onetwo"
            client.sendall(b"x" * 3000)
            client.sendall(b"y" * 3000)
            assert server.recv(1) == b"x"
            assert (buffers.incoming.pending, buffers.outgoing.pending) == (0, 0)
        for server, _ in both:
            assert server.recv(5999) == b"x" * 2999 + b"y" * 3000


def test_octets_behind_the_handshake_and_a_ticket_before_the_first_ones(tmp_path: Path) -> None:
    with joined(tmp_path, ssl.TLSVersion.TLSv1_3, Buffers(), b"ticket") as (server, client):
        server._received, server._has_more = client.encrypt(b"hello"), True
        assert server.pending()
        assert server.recv(100) == b"hello"
        client.bare.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.bare.recv(1)
        assert server.send(b"x") == 1
        assert client.bare.recv(6) == b"ticket"
        assert client.recv(1) == b"x"


def test_record_may_come_in_any_pieces(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    for size in (1, 7):
        said = client.encrypt(b"hello") + client.encrypt(b"") + client.encrypt(b" world")
        found = b""
        for start in range(0, len(said), size):
            client.bare.sendall(said[start : start + size])
            try:
                found += server.recv(100)
            except BlockingIOError:
                pass
            assert server.pending() == 0
        assert found == b"hello world"


def test_several_records_are_received_at_once_and_the_rest_is_pending(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    for word in (b"one", b"two", b"three"):
        client.sendall(word)
    assert server.recv(4) == b"onet"
    assert server.pending()
    assert server.recv(2) == b"wo"
    assert server.recv(100) == b"three"
    assert not server.pending()
    with pytest.raises(BlockingIOError):
        server.recv(100)


def test_octets_count_as_sent_once_the_kernel_has_them(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    data = bytes(range(256)) * 4000
    rest = memoryview(data)
    sent = []
    found = b""
    while rest:
        try:
            sent.append(server.send(rest))
            rest = rest[sent[-1] :]
        except BlockingIOError:
            found += client.recv(5000)
    server.shutdown(socket.SHUT_WR)
    while piece := client.recv(65536):
        found += piece
    assert found == data
    assert min(sent) > 0


def test_shutdown_loses_no_octets_that_were_received(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    client.sendall(b"first")
    client.sendall(b"second")
    assert server.recv(2) == b"fi"
    server.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    client.sendall(b"third")
    assert server.recv(100) == b"rstsecondthird"
    assert client.recv(10) == b""
    client.shutdown(socket.SHUT_WR)
    client.wait()
    assert (server.recv(10), server.is_truncated) == (b"", False)


def test_shutdown_without_room_is_repeated(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    filling = server._bare.dup()
    with filling:
        client.bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        filled = 0
        with pytest.raises(BlockingIOError):
            while True:
                filled += filling.send(b"x")  # each octet takes some memory of the kernel
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            server.shutdown(socket.SHUT_WR)
    left = filled
    while left:
        left -= len(client.bare.recv(left))
    server.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b"", "the close_notify comes whole"


@pytest.mark.parametrize("says", [True, False])
def test_end_with_data_before_it_is_pending_and_told_apart(ends: tuple[TlsSocket, TlsClient], says: bool) -> None:
    server, client = ends
    asked: list[int] = []
    server.on_more = lambda: asked.append(server.pending())
    client.sendall(b"last")
    if says:
        client.shutdown(socket.SHUT_WR)
        client.wait()
    else:
        client.bare.shutdown(socket.SHUT_WR)
    assert server.recv(100) == b"last"
    if says:
        assert (server.pending(), asked) == (1, [1]), "epoll(7) has reported it already"
    for _ in range(2):
        assert server.recv(100) == b""
    assert server.is_truncated is not says
    assert server.send(b"answer") == 6, "some clients finish without saying so, and wait for the answer"
    assert client.recv(10) == b"answer"
    server.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b""


def test_end_within_a_record_is_an_end(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    client.bare.sendall(client.encrypt(b"cut")[:-1])
    client.bare.shutdown(socket.SHUT_WR)
    assert server.recv(100) == b"", "epoll(7) reports the end once, with what is before it"
    assert server.is_truncated


def test_octets_are_sent_right_behind_answers_of_tls(ends: tuple[TlsSocket, TlsClient]) -> None:
    """The kernel takes all, so it does not report that there is room again."""
    server, client = ends
    server._unsent = client.encrypt(b"x")  # in place of an answer, for which there was no room
    assert server.send(b"mine") == 4
    assert not server._unsent


def test_broken_record_is_a_reset_after_all_before_it(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    asked: list[int] = []
    server.on_more = lambda: asked.append(server.pending())
    client.sendall(b"good")
    client.bare.sendall(b"\x17\3\3\0\x20" + bytes(32))
    assert server.recv(100) == b"good"
    assert (server.pending(), asked) == (1, [1]), "epoll(7) has reported it already"
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            server.recv(100)
    with pytest.raises(BrokenPipeError):
        server.send(b"x")
    server.close()


@pytest.mark.parametrize("is_broken", [True, False], ids=["a broken record", "a reset"])
def test_error_keeps_no_socket(ends: tuple[TlsSocket, TlsClient], is_broken: bool) -> None:
    server, client = ends
    before = sys.getrefcount(server)
    if is_broken:
        client.bare.sendall(b"\x17\3\3\0\x20" + bytes(32))
    else:
        server.send(b"x")
        client.bare.close()  # before it has received
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError):
            server.recv(100)
            raise AssertionError("no error")
    assert sys.getrefcount(server) == before


def test_call_does_a_part_of_the_work_and_asks_for_another_one(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    asked: list[int] = []
    server.on_more = lambda: asked.append(server.pending())
    data = bytes(range(200))
    client.bare.sendall(b"".join(client.encrypt(data[at : at + 1]) for at in range(len(data))))
    found = server.recv(300)
    assert found == data[: tls_socket._MOST_READS]
    assert asked, "epoll(7) has reported it already"
    assert asked[0]
    while len(found) < len(data):
        found += server.recv(300)
    assert found == data
    assert len(asked) == len(data) // tls_socket._MOST_READS
    assert not server.pending()


def test_close_after_a_part_was_sent_looks_cut(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    assert server.send(bytes(CHUNK + 1)) <= CHUNK
    server.close()
    with pytest.raises(ConnectionError):
        while client.recv(65536):
            pass


def test_close_of_a_connection_that_is_to_be_reset_looks_cut(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    server.send(b"part")
    server.reset_on_close()
    server.close()
    assert client.recv(10) == b"part"
    with pytest.raises(ConnectionError):  # over TCP it is a reset
        client.recv(10)


def test_close_says_so_unless_something_is_unsent(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    server.send(b"bye")
    server.close()
    assert (client.recv(10), client.recv(10)) == (b"bye", b"")


def test_close_with_something_unsent_looks_like_a_cut(ends: tuple[TlsSocket, TlsClient]) -> None:
    server, client = ends
    with pytest.raises(BlockingIOError):
        while True:
            server.send(bytes(65536))
    server.close()
    with pytest.raises(ConnectionError):
        while client.recv(65536):
            pass
