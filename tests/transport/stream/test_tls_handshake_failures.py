"""TLS handshakes that fail, and those that are ended: each with its reason, on real sockets."""

import contextlib
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.transport.stream import preamble, tls_handshake
from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.sockets import read_all
from tests.support.tls import TlsClient, client_context, tls_preambles
from tests.support.waiting import until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import RESET, connect, ended
from tests.transport.stream.tls_peers import failures, serve, talk


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "plain_text"),
        (b"\x16\3\1\0\5\1\0\0\1\0", "protocol"),
        (b"\x16\3\1\0\5\2\0\0\1\0", "protocol"),
        (b"\x16\3\1\xff\xff" + bytes(20000), "protocol"),
    ],
)
def test_peer_that_does_not_speak_it_is_told_apart(
    server: Server, authority: Authority, log: list[dict[str, Any]], said: bytes, reason: str
) -> None:
    address, events = serve(server, authority.issue("server"))
    with connect(address) as client:
        client.sendall(said)
        with contextlib.suppress(ConnectionError):
            answer = client.recv(100)
            assert answer == b"" if reason == "plain_text" else answer[:1] == b"\x15"
    until(partial(ended, events, 1))
    assert failures(events) == {reason: 1}
    assert dict(events.counters.closed) == {"peer_error": 1}
    [line] = [line for line in log if line["event"] == "handshake_failed"]
    assert (line["reason"], line["source"], line["level"]) == (reason, "127.0.0.1", "warning")


def test_versions_and_certificates_that_do_not_fit_have_a_reason(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    revoked = authority.issue("revoked", client=True)
    trust = tmp_path / "trust"
    trust.write_bytes(authority.certificate.read_bytes() + authority.revoke(revoked).read_bytes())
    address, events = serve(
        server,
        authority.issue("server"),
        trust=str(trust),
        client="required",
        client_ca=str(trust),
        crl=str(trust),
        minimum="TLSv1.3",
    )
    seen: dict[str, int] = {}
    for reason, context in (
        ("version", client_context(authority, ssl.TLSVersion.TLSv1_2)),
        ("alert", client_context(other)),
        ("certificate", client_context(authority)),
        ("certificate", client_context(authority, certificate=other.issue("alex", client=True))),
        ("certificate", client_context(authority, certificate=authority.issue("old", client=True, days=(-9, -2)))),
        ("certificate", client_context(authority, certificate=revoked)),
    ):
        with contextlib.suppress(OSError), talk(address, context) as client:
            client.recv(1)  # in TLS 1.3 the server judges after the client has finished
        seen[reason] = seen.get(reason, 0) + 1
        until(lambda: failures(events) == seen)
    with talk(address, client_context(authority, certificate=authority.issue("alex", client=True))) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


def test_peer_that_leaves_or_waits_is_counted_and_costs_ten_seconds(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preamble, "TIMEOUT", 0.4)
    monkeypatch.setattr(tls_handshake, "TIMEOUT", 0.4)
    address, events = serve(server, authority.issue("server"))
    under_way = tls_handshake._ALL
    for reason in ("closed", "closed", "timeout"):
        before = dict(failures(events))
        with connect(address) as bare:
            client = TlsClient(bare, client_context(authority))
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            bare.sendall(client.outgoing.read())
            until(lambda: len(under_way) == 1)
            if reason == "timeout":
                while bare.recv(1000):
                    pass
            elif before:
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        until(lambda: failures(events) == before | {reason: before.get(reason, 0) + 1})  # noqa: B023
        assert len(under_way) == 0
    with connect(address) as idle:
        assert idle.recv(1) == b""
    assert failures(events) == {"closed": 2, "timeout": 1}, "a connection without an octet is a check"


def test_oldest_handshake_ends_where_there_are_too_many(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_handshake, "MOST_UNDER_WAY", 2)
    address, events = serve(server, authority.issue("server"))
    waiting = []
    with contextlib.ExitStack() as stack:
        for number in (1, 2):
            client = TlsClient(stack.enter_context(connect(address)), client_context(authority))
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.bare.sendall(client.outgoing.read())
            waiting.append(client)
            until(lambda number=number: len(tls_handshake._ALL) == number)  # type: ignore[misc]
        oldest, second = waiting
        with talk(address, client_context(authority)) as third:
            third.sendall(b"x")
            assert third.recv(1) == b"x"
        while oldest.bare.recv(65536):
            pass
        assert failures(events) == {"busy": 1}
        second.handshake()
        second.sendall(b"y")
        assert second.recv(1) == b"y"
    until(partial(ended, events, 3))
    assert len(tls_handshake._ALL) == 0


@pytest.mark.parametrize("refuse", ["close", "reset", {"line": "no entry"}])
def test_peer_needs_a_certificate_that_a_rule_matches(
    server: Server, authority: Authority, log: list[dict[str, Any]], refuse: Any
) -> None:
    pinned = authority.issue("pinned", (), client=True)
    allow = ["127.0.0.0/8", "cn:*.ops.example", "san:dns:*.dns.example", "san:uri:spiffe://example/a"]
    policy = {"access": {"allow": [*allow, f"sha256:{pinned.fingerprint}"]}, "refuse": refuse}
    preambles = tls_preambles(authority.issue("server"), trust=str(authority.certificate), client="optional")
    address, events = server.add(PlainEcho(), "tcp://127.0.0.1:0", policy=policy, preambles=preambles)
    contexts = [
        client_context(authority, version, certificate)
        for certificate in (
            pinned,
            authority.issue("A.ops.example", (), client=True),
            authority.issue("dns", ("x", "b.dns.example"), client=True),
            authority.issue("uri", ("spiffe://example/a",), client=True),
        )
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ]
    for context in contexts:
        with talk(address, context) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    until(partial(ended, events, 8))
    refused = [
        client_context(authority, version, certificate)
        for certificate in (
            None,
            authority.issue("a.b.ops.example", ("spiffe://example/b", "a\0.ops.example"), client=True),
        )
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ]
    for context in refused:
        said = b""
        with contextlib.suppress(ConnectionResetError), talk(address, context) as client:
            said = read_all(client)  # type: ignore[arg-type]
            assert refuse != "reset", "a close_notify came"
        assert said == (b"no entry\r\n" if isinstance(refuse, dict) else b"")
    until(partial(ended, events, 12))
    assert events.counters.refused == {"certificate": 4}
    assert events.counters.active == 0
    assert [line["source"] for line in log if line["event"] == "connection_refused"][:1] == ["127.0.0.1"]


def test_resumed_session_has_the_certificate_that_rules_want(server: Server, authority: Authority) -> None:
    issued, trust = authority.issue("server"), str(authority.certificate)
    person = authority.issue("alex", (), client=True)
    for allow, expected in ((["cn:alex"], b"x"), (["cn:kim"], b"")):
        preambles = tls_preambles(issued, trust=trust, client="required")
        address, events = server.add(
            PlainEcho(), "tcp://127.0.0.1:0", policy={"access": {"allow": ["cn:alex"]}}, preambles=preambles
        )
        context = client_context(authority, certificate=person)
        with context.wrap_socket(connect(address), server_hostname="localhost") as first:
            first.sendall(b"x")
            assert first.recv(1) == b"x"
            session = first.session
        until(partial(ended, events, 1))
        control = server.servers[-1].connections._control  # type: ignore[union-attr]
        control.access = Access.of(AccessRules.model_validate({"allow": allow}))  # as a reload does
        with context.wrap_socket(connect(address), server_hostname="localhost", session=session) as second:
            assert second.session_reused
            with contextlib.suppress(OSError):
                second.sendall(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert second.recv(1) == expected
        until(partial(ended, events, 2))
        assert events.counters.refused == ({} if expected else {"certificate": 1})
