"""Connections to targets over TLS, from the connection to the end of the handshake, and the relay after it."""

import contextlib
import os
import socket
import ssl
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.services.forward import Forward
from netd.tls.client import ClientTls, client_context
from netd.transport.stream.tls_connecting import TlsAttempt
from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.sockets import read_all, read_exactly
from tests.support.tls_server import echo, server_context, tls_server
from tests.support.waiting import until
from tests.transport.stream.near import Near, is_reset
from tests.transport.stream.peers import RESET, ended
from tests.transport.stream.targets import forwarding, listener


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def secured(service: Forward, cafile: Path | None, name: str = "localhost", **options: Any) -> Forward:
    """A service that verifies its targets with these authorities."""
    context = client_context(str(cafile) if cafile else None, **options)
    service.tls = {target: partial(TlsAttempt, ClientTls(context, name)) for target in service.options.to}
    return service


def over_tls(port: int, **options: Any) -> Forward:
    return forwarding(f"tls://127.0.0.1:{port}", **options)


def send_all(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_octets_and_ends_pass_both_ways(server: Server, authority: Authority, size: int) -> None:
    data = os.urandom(size)
    with tls_server(server_context(authority.issue("a"))) as port:
        near = Near(server, secured(over_tls(port), authority.certificate))
        with near.connect() as client:
            sender = threading.Thread(target=send_all, args=(client, data))
            sender.start()
            assert read_all(client) == data
            sender.join()
        assert near.outcome() == "done"
        assert near.counted() == {"connects": 1, "tls_handshakes": 1}


def test_target_that_speaks_first_is_heard(server: Server, authority: Authority) -> None:
    def greet(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1)

    with tls_server(server_context(authority.issue("a")), greet) as port:
        near = Near(server, secured(over_tls(port), authority.certificate))
        with near.connect() as client:
            assert read_exactly(client, 11) == b"220 hello\r\n"


def greet_in_plain_text(listener: socket.socket) -> None:
    with listener.accept()[0] as target, contextlib.suppress(ConnectionError):
        target.sendall(b"220 plain\r\n" * 100)
        read_all(target)


@pytest.mark.parametrize("fault", ["name", "authority", "expired", "plain"])
def test_target_that_is_not_the_right_one_gets_nothing(server: Server, authority: Authority, fault: str) -> None:
    received: list[bytes] = []
    issued = authority.issue(fault, days=(-3, -1)) if fault == "expired" else authority.issue(fault)
    cafile, name = authority.certificate, "localhost"
    if fault == "name":
        name = "other.example"
    elif fault == "authority":
        cafile = Authority(authority.directory, "Other CA").certificate
    with contextlib.ExitStack() as stack:
        if fault == "plain":
            one = stack.enter_context(listener())
            port = one.getsockname()[1]
            greeter = threading.Thread(target=greet_in_plain_text, args=(one,))
            greeter.start()
            stack.callback(greeter.join)
        else:
            port = stack.enter_context(
                tls_server(server_context(issued), lambda connection: received.append(connection.recv(1)))
            )
        near = Near(server, secured(over_tls(port), cafile, name))
        assert is_reset(near)
        assert near.outcome() == "no_target"
        assert near.counted() == {"connects": 1, "failures.tls": 1}
    assert not any(received)


def test_target_is_not_verified_where_that_is_switched_off(server: Server, authority: Authority) -> None:
    with tls_server(server_context(authority.issue("a"))) as port:
        near = Near(server, secured(over_tls(port), None, "other.example", insecure=True))
        with near.connect() as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"


def test_next_target_is_tried_where_tls_fails_and_the_target_is_told_of_the_certificate(
    server: Server, authority: Authority
) -> None:
    own, required = authority.issue("netd", ("netd",), client=True), str(authority.certificate)
    seen: list[Any] = []

    def look(connection: ssl.SSLSocket) -> None:
        seen.append(connection.getpeercert())
        connection.sendall(b"b")

    other = Authority(authority.directory, "Another CA")
    with (
        tls_server(server_context(other.issue("a"))) as wrong,
        tls_server(server_context(authority.issue("b"), required), look) as right,
    ):
        service = forwarding(f"tls://127.0.0.1:{wrong}", f"tls://127.0.0.1:{right}", balance="first")
        secured(service, authority.certificate, certificate=str(own.certificate), key=str(own.key))
        near = Near(server, service)
        with near.connect() as client:
            assert read_exactly(client, 1) == b"b"
    assert seen[0]["subject"] == ((("commonName", "netd"),),)


def ask(near: Near, number: int) -> None:
    """Have an octet sent back, and wait for the end of this connection, the one of this number."""
    with contextlib.suppress(ConnectionError), near.connect() as client:
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    until(partial(ended, near.events, number))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_with_a_target_is_resumed(server: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    seen: list[bool | None] = []

    def look(connection: ssl.SSLSocket) -> None:
        seen.append(connection.session_reused)
        echo(connection)

    context = server_context(authority.issue("a"))
    context.maximum_version = version
    with tls_server(context, look) as port:
        near = Near(server, secured(over_tls(port), authority.certificate))
        for number in (1, 2, 3):
            ask(near, number)
        assert near.outcome(3) == "done"
        assert near.counted() == {"connects": 3, "tls_handshakes": 3, "tls_handshakes_resumed": 2}
    assert seen == [False, True, True]


def test_session_vouches_for_no_other_server_at_the_same_address(server: Server, authority: Authority) -> None:
    right = server_context(authority.issue("a"))
    wrong = server_context(Authority(authority.directory, "Yet another CA").issue("b"))
    seen: list[object] = []

    def serve(far: socket.socket) -> None:
        for context in (right, wrong, right):
            with far.accept()[0] as bare:
                try:
                    with context.wrap_socket(bare, server_side=True) as target:
                        seen.append(target.session_reused)
                        echo(target)
                except ssl.SSLError as error:
                    seen.append(error.reason)

    with listener() as far:
        serving = threading.Thread(target=serve, args=(far,))
        serving.start()
        near = Near(server, secured(over_tls(far.getsockname()[1]), authority.certificate))
        for number in (1, 2, 3):
            ask(near, number)
        serving.join()
    assert seen == [False, "TLSV1_ALERT_UNKNOWN_CA", False]
    assert near.events.counters.closed == {"done": 2, "no_target": 1}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_header_that_names_the_client_comes_before_tls(server: Server, authority: Authority, version: str) -> None:
    with listener() as far:
        near = Near(server, secured(over_tls(far.getsockname()[1], proxy_protocol=version), authority.certificate))
        with near.connect() as client:
            client.sendall(b"x")
            bare = far.accept()[0]
            host, port = client.getsockname()
            if version == "v1":
                assert bare.recv(200, socket.MSG_PEEK).startswith(f"PROXY TCP4 {host} 127.0.0.1 {port} ".encode())
                while read_exactly(bare, 1) != b"\n":
                    pass
            else:
                assert read_exactly(bare, 28)[:13] == b"\r\n\r\n\0\r\nQUIT\n!"
            with server_context(authority.issue("a")).wrap_socket(bare, server_side=True) as target:
                assert target.recv(1) == b"x"


@pytest.mark.slow  # waits for the time-out
def test_target_that_is_silent_is_given_up(server: Server, authority: Authority) -> None:
    with listener() as far:
        near = Near(server, secured(over_tls(far.getsockname()[1], connect="200ms"), authority.certificate))
        assert is_reset(near)
        assert near.outcome() == "no_target"
        assert near.counted() == {"connects": 1, "failures.timeout": 1}


def test_client_that_resets_ends_the_handshake(server: Server, authority: Authority) -> None:
    with listener() as far:
        near = Near(server, secured(over_tls(far.getsockname()[1]), authority.certificate))
        with near.searching() as client, far.accept()[0] as target:
            assert target.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
            with contextlib.suppress(ConnectionError):
                read_all(target)
        assert near.outcome() == "reset"


def test_records_of_a_target_may_be_cut_at_every_octet(server: Server, authority: Authority) -> None:
    with listener() as far, tls_server(server_context(authority.issue("a"))) as port:
        near = Near(server, secured(over_tls(far.getsockname()[1]), authority.certificate))
        with near.connect() as client, far.accept()[0] as bare, socket.create_connection(("127.0.0.1", port)) as real:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threads = [threading.Thread(target=copy, args=ends) for ends in ((bare, real, 65536), (real, bare, 1))]
            for thread in threads:
                thread.start()
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
            for thread in threads:
                thread.join()


def copy(source: socket.socket, sink: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            for start in range(0, len(data), size):
                sink.sendall(data[start : start + size])
        sink.shutdown(socket.SHUT_WR)
