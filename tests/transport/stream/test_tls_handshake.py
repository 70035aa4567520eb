"""TLS handshakes on real sockets: facts, resumption, segments, and what the service sends and receives after them."""

import contextlib
import socket
import ssl
from functools import partial
from typing import Any

import pytest

from netd.services.echo import Echo
from netd.services.whoami import WhoAmI
from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.tls import TlsClient, client_context, tls_preambles
from tests.support.waiting import until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.tls_peers import failures, serve, talk


def test_service_and_log_know_the_facts(server: Server, authority: Authority, log: list[dict[str, Any]]) -> None:
    person = authority.issue("alex, \r\nof \xfc", ("spiffe://example/alex", "alex@example.org"), client=True)
    address, events = serve(
        server,
        authority.issue("server"),
        WhoAmI(),
        trust=str(authority.certificate),
        client="required",
        alpn=("b", "a"),
    )
    context = client_context(authority, certificate=person)
    context.set_alpn_protocols(["x", "a"])
    with talk(address, context) as client:
        said = read_all(client)  # type: ignore[arg-type]
    assert b" tls=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 sni=localhost alpn=a certificate=" in said
    assert said.endswith(b' subject="CN=alex\\\\, \\r\\nof \\u00fc"\r\n')
    until(partial(ended, events, 1))
    [line] = [line for line in log if line["event"] == "connection_closed"]
    assert line["tls"], line["server_name"] == ("TLSv1.3", "localhost")
    assert line["certificate"] == person.fingerprint
    assert line["names"] == "uri:spiffe://example/alex,email:alex@example.org"
    assert (events.counters.handshakes, events.counters.handshakes_resumed) == (1, 0)


def test_certificate_with_names_that_are_no_text_has_none(server: Server, authority: Authority) -> None:
    name = b"\xff://"
    person = authority.issue(
        "alex", b"\x30" + bytes([len(name) + 2]) + b"\x86" + bytes([len(name)]) + name, client=True
    )
    trust = str(authority.certificate)
    address, events = serve(server, authority.issue("server"), WhoAmI(), trust=trust, client="required")
    with talk(address, client_context(authority, certificate=person)) as client:
        said = read_all(client)  # type: ignore[arg-type]
    assert f"certificate={person.fingerprint}".encode() in said
    assert b"subject=" not in said
    until(partial(ended, events, 1))
    assert not failures(events)
    assert not events.counters.failed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_is_resumed(server: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    address, events = serve(server, authority.issue("server"))
    context = client_context(authority, version)
    with context.wrap_socket(connect(address), server_hostname="localhost") as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        session = first.session
    with context.wrap_socket(connect(address), server_hostname="localhost", session=session) as second:
        assert second.session_reused
    until(lambda: (events.counters.handshakes, events.counters.handshakes_resumed) == (2, 1))


def test_ticket_comes_with_the_first_octets_of_the_service(server: Server, authority: Authority) -> None:
    address, events = serve(server, authority.issue("server"))
    with talk(address, client_context(authority)) as client:
        until(lambda: events.counters.handshakes == 1)
        server.settle()
        client.bare.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.bare.recv(1)
        client.bare.settimeout(20)
        client.send(b"x")
        assert client.recv(1) == b"x"
        assert client.tls.session is not None
        assert client.tls.session.has_ticket


def test_handshakes_in_single_octets_that_come_in_turn(server: Server, authority: Authority) -> None:
    address, events = serve(server, authority.issue("server"))
    with contextlib.ExitStack() as stack:
        clients = [
            TlsClient(stack.enter_context(connect(address)), client_context(authority, version))
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        ]
        under_way = list(clients)
        while under_way:
            for client in list(under_way):
                try:
                    client.tls.do_handshake()
                    under_way.remove(client)
                except ssl.SSLWantReadError:
                    pass
            said = [(client, client.outgoing.read()) for client in clients]
            for at in range(max(len(data) for _, data in said)):
                for client, data in said:
                    client.bare.sendall(data[at : at + 1])
                server.settle()
            for client in under_way:
                client.incoming.write(client.bare.recv(65536))
        for client in clients:
            client.send(b"x")
            assert client.recv(1) == b"x"
    assert failures(events) == {}


def test_hello_in_single_octets_and_data_right_behind_the_handshake(server: Server, authority: Authority) -> None:
    address, events = serve(server, authority.issue("server"))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with connect(address) as bare:
            client = TlsClient(bare, client_context(authority, version))
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            for octet in client.outgoing.read():
                bare.sendall(bytes([octet]))
                server.settle()
            while True:
                try:
                    client.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    bare.sendall(client.outgoing.read())
                    client.incoming.write(bare.recv(65536))
            bare.sendall(client.outgoing.read() + client.encrypt(b"hello"))
            assert client.recv(10) == b"hello"
    assert failures(events) == {}


@pytest.mark.parametrize("says", [True, False])
def test_end_without_a_close_notify_is_told(
    server: Server, authority: Authority, log: list[dict[str, Any]], says: bool
) -> None:
    address, events = serve(server, authority.issue("server"))
    with talk(address, client_context(authority)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        if says:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    until(partial(ended, events, 1))
    assert dict(events.counters.closed) == {"done": 1}
    [line] = [line for line in log if line["event"] == "connection_closed"]
    assert ("truncated" in line) is not says


@pytest.mark.parametrize("service", [PlainEcho, Echo])
def test_data_with_the_end_right_behind_it_is_answered(server: Server, authority: Authority, service: Any) -> None:
    address, events = serve(server, authority.issue("server"), service())
    for number in range(20):
        with talk(address, client_context(authority)) as client:
            client.bare.sendall(client.encrypt(b"all") * (number % 2))
            said = client.encrypt(b"all")
            with contextlib.suppress(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.bare.sendall(said + client.outgoing.read())
            while client.bare.recv(1000):
                pass
    until(partial(ended, events, 20))
    assert not events.counters.active


def test_limit_of_octets_is_for_the_service(server: Server, authority: Authority) -> None:
    address, events = server.add(
        Echo(), "tcp://127.0.0.1:0", preambles=tls_preambles(authority.issue("server")), bytes=20
    )
    with talk(address, client_context(authority)) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    until(partial(ended, events, 1))
    assert (events.counters.bytes_in, events.counters.bytes_out) == (5, 5)
