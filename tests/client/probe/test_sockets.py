"""The sockets of sessions: their options and errors, and sessions over those with TLS."""

import errno
import select
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from netd.client.probe.one_shot import OneShotSessions
from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.questions import Echo, Plain, find_question
from netd.client.probe.sessions import Stream
from netd.client.probe.sockets import TlsSocket, classify, connect, open_socket
from netd.client.probe.tally import Tally
from netd.errors import OpenError
from netd.tls.client import ClientTls, TlsError, client_context
from tests.client.probe.listeners import Listener, wait_until
from tests.support.certificates import Authority
from tests.support.sockets import read_all
from tests.support.tls_server import server_context, tls_server

PLACE = "127.0.0.1"


def test_questions_over_tcp_are_not_delayed_and_datagrams_over_unix_have_a_sender() -> None:
    with open_socket((socket.AF_INET, ("127.0.0.1", 7)), socket.SOCK_STREAM) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not opened.getblocking()
    with open_socket((socket.AF_UNIX, "x"), socket.SOCK_DGRAM) as opened:
        assert opened.getsockname()
    with pytest.raises(OpenError, match="cannot open a socket: Address family not supported by protocol"):
        open_socket((socket.AF_APPLETALK, ("x", 7)), socket.SOCK_STREAM)


def test_error_of_this_host_ends_the_run() -> None:
    assert classify(OSError(errno.ECONNREFUSED, "refused")) == (Outcome.REFUSED, "refused")
    assert classify(TlsError("no common version")) == (Outcome.TLS_FAILED, "no common version")
    with pytest.raises(OpenError, match="cannot continue: Too many open files"):
        classify(OSError(errno.EMFILE, "Too many open files"))


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(ca: Authority, name: str = "localhost") -> ClientTls:
    return ClientTls(client_context(str(ca.certificate)), name)


def stream(listener: Listener, poller: Poller, port: int, tls: ClientTls, size: int = 64) -> Stream:
    return Stream(listener, Echo(size, 7), ((socket.AF_INET, (PLACE, port)),), poller, tls)


def ask(session: Stream, listener: Listener) -> bool:
    number = listener.tally.ask()
    return session.ask(number, session.compose(number, listener.due(number)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [64, 16384, 100_000])
def test_session_over_tls_measures_the_handshake_apart(
    poller: Poller, ca: Authority, version: ssl.TLSVersion, size: int
) -> None:
    context = server_context(ca.issue("server"))
    context.maximum_version = version
    listener = Listener()
    with tls_server(context) as port:
        session = stream(listener, poller, port, trusting(ca), size)
        session.open()
        wait_until(poller, lambda: listener.opened)
        for number in range(3):
            assert ask(session, listener)
            wait_until(poller, lambda number=number: len(listener.answers) > number)  # type: ignore[misc]
        session.close()
    assert listener.results == [1, 1, 1]
    [took] = listener.opened
    assert took
    assert (listener.tally.handshake.number, listener.tally.corrupted) == (1, 0)
    assert listener.tally.handshake.last > 0
    assert listener.tally.reasons == {}


def test_question_that_has_no_room_is_sent_later_and_whole(poller: Poller, ca: Authority) -> None:
    go = threading.Event()

    def late(connection: ssl.SSLSocket) -> None:
        go.wait(20)
        while data := connection.recv(65536):
            connection.sendall(data)

    listener = Listener()
    with tls_server(server_context(ca.issue("server")), late) as port:
        session = stream(listener, poller, port, trusting(ca), 2**18)
        session.open()
        wait_until(poller, lambda: listener.opened)
        assert session._socket
        session._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while ask(session, listener):
            assert listener.tally.asked < 1000
        blocked = listener.tally.asked - 1
        go.set()
        wait_until(poller, lambda: len(listener.answers) == blocked)
        assert session.ask(blocked, session.compose(blocked, listener.due(blocked)))
        wait_until(poller, lambda: len(listener.answers) == blocked + 1)
        session.close()
    assert set(listener.results) == {1}
    assert listener.tally.corrupted == 0


def test_certificate_that_is_not_verified_is_an_outcome(poller: Poller, ca: Authority) -> None:
    listener = Listener()
    with tls_server(server_context(ca.issue("server"))) as port:
        session = stream(listener, poller, port, trusting(ca, "other.example"))
        session.open()
        wait_until(poller, lambda: listener.errors)
        session.close()
    [(outcome, reason)] = listener.errors
    assert outcome == Outcome.TLS_FAILED
    assert reason == "certificate verify failed: Hostname mismatch, certificate is not valid for 'other.example'"
    assert listener.opened == []


def test_server_that_wants_a_certificate_says_so_after_the_handshake(poller: Poller, ca: Authority) -> None:
    listener = Listener()
    with tls_server(server_context(ca.issue("server"), str(ca.certificate))) as port:
        session = stream(listener, poller, port, trusting(ca))
        session.open()
        wait_until(poller, lambda: listener.opened)
        assert ask(session, listener)
        wait_until(poller, lambda: listener.woken)
        session.close()
    assert listener.results == [Outcome.TLS_FAILED]
    assert "certificate required" in listener.tally.reasons[Outcome.TLS_FAILED]


@pytest.mark.parametrize("said", [b"220 hello\r\n", b""])
def test_server_without_tls_is_named_so(
    poller: Poller, ca: Authority, stream_server: socket.socket, said: bytes
) -> None:
    listener = Listener()
    session = stream(listener, poller, stream_server.getsockname()[1], trusting(ca))
    session.open()
    with stream_server.accept()[0] as accepted:
        accepted.sendall(said)
        accepted.shutdown(socket.SHUT_WR)
        wait_until(poller, lambda: listener.errors)
    session.close()
    [(outcome, reason)] = listener.errors
    assert outcome == Outcome.TLS_FAILED
    assert ("does not speak TLS" if said else "closed by the other end during the TLS handshake") in reason


def test_time_out_in_a_handshake_has_a_reason_of_its_own(
    poller: Poller, ca: Authority, stream_server: socket.socket
) -> None:
    listener = Listener(timeout=0)
    session = stream(listener, poller, stream_server.getsockname()[1], trusting(ca))
    session.open()
    with stream_server.accept()[0]:
        wait_until(poller, lambda: listener.tally.reasons)
        session.on_timeout(0)
        assert session._socket is None
    assert "TLS handshake" in listener.tally.reasons[Outcome.TIMED_OUT]


@pytest.mark.parametrize("service", ["daytime", "connect"])
@pytest.mark.parametrize("finish", [lambda connection: connection.unwrap(), lambda connection: None])
def test_question_with_a_socket_of_its_own_has_a_handshake_each(
    poller: Poller, ca: Authority, service: str, finish: Callable[[ssl.SSLSocket], object]
) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(f"{datetime.now()}\r\n".encode())
        finish(connection)

    question = find_question(service, 64, streams=True, random=Random(1))
    assert isinstance(question, Plain)
    listener = Listener()
    with tls_server(server_context(ca.issue("server")), serve) as port:
        addresses = ((socket.AF_INET, (PLACE, port)),)
        for name, number in (("localhost", 2), ("other.example", 3)):
            tls = trusting(ca, name)
            sessions = OneShotSessions(listener, question, addresses, poller, socket.SOCK_STREAM, 7, tls)
            while listener.tally.asked < number:
                assert sessions.ask(listener.tally.ask(), b"")
            wait_until(poller, lambda sessions=sessions: not sessions.open_sessions)  # type: ignore[misc]
    assert listener.results == [1, 1, Outcome.TLS_FAILED]
    assert (listener.tally.connect.number, listener.tally.handshake.number) == (3, 2)


def test_reset_before_the_handshake_is_its_failure(ca: Authority, stream_server: socket.socket) -> None:
    address = (socket.AF_INET, stream_server.getsockname())
    with open_socket(address, socket.SOCK_STREAM, trusting(ca)) as made:
        assert isinstance(made, TlsSocket)
        try:
            connect(made, address)
        except BlockingIOError:
            pass
        accepted, _ = stream_server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        assert select.select([made], [], [], 20)[0]
        with pytest.raises(TlsError, match="closed by the other end"):
            made.begin(Tally())


def test_end_of_a_session_is_told_to_the_server(poller: Poller, ca: Authority) -> None:
    seen: list[bytes] = []
    listener = Listener()
    context = server_context(ca.issue("server"))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with tls_server(context, lambda connection: seen.append(read_all(connection))) as port:
        session = stream(listener, poller, port, trusting(ca))
        session.open()
        wait_until(poller, lambda: listener.opened)
        assert ask(session, listener)
        session.close()
    assert [len(one) for one in seen] == [64]
