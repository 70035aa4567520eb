"""Links over TLS: the handshake, both directions, and the ends."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from netd.client.talk import tls_link
from netd.client.talk.link import StreamLink, dial
from netd.client.talk.tls_link import TlsLink
from netd.errors import HungUpError, UnreachableError
from netd.tls.client import ClientTls, client_context
from tests.support.certificates import Authority
from tests.support.sockets import read_all
from tests.support.tls_server import echo, server_context, tls_server


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(ca: Authority, name: str = "localhost") -> ClientTls:
    return ClientTls(client_context(str(ca.certificate)), name)


def run(port: int, tls: ClientTls, talk: Callable[[TlsLink], Coroutine[Any, Any, None]]) -> None:
    """Do the handshake with a server, then this."""

    async def both() -> None:
        link = TlsLink(dial("tls://x:1", socket.SOCK_STREAM, [(socket.AF_INET, ("127.0.0.1", port))]), tls)
        try:
            await link.handshake()
            await talk(link)
        finally:
            link.close()

    asyncio.run(asyncio.wait_for(both(), 30))


async def received(link: TlsLink) -> bytes:
    found = b""
    while data := await link.receive():
        found += data
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_link_carries_both_directions_at_once_and_the_end(ca: Authority, version: ssl.TLSVersion) -> None:
    data = bytes(range(256)) * 4000
    context = server_context(ca.issue("server"))
    context.maximum_version = version

    async def talk(link: TlsLink) -> None:
        receiving = asyncio.create_task(received(link))
        for start in range(0, len(data), 100_000):
            assert await link.send(data[start : start + 100_000])
        await link.finish()
        assert await receiving == data
        assert await link.delivered()
        assert not await link.send(b"x"), "after the end"

    with tls_server(context) as port:
        run(port, trusting(ca), talk)


def test_link_receives_while_the_other_end_takes_nothing(ca: Authority) -> None:
    """An echo takes nothing more while this side does not receive what it sends back. UNIX sockets hold little."""
    own, other = socket.socketpair()
    data = bytes(2_000_000)

    async def talk() -> None:
        link = TlsLink(StreamLink("tls://x:1", own, "x"), trusting(ca))
        await link.handshake()
        receiving = asyncio.create_task(received(link))
        assert await link.send(data)
        await link.finish()
        assert await receiving == data

    def serve() -> None:
        with server_context(ca.issue("server")).wrap_socket(other, server_side=True) as connection:
            echo(connection)

    serving = threading.Thread(target=serve)
    serving.start()
    with own:
        asyncio.run(asyncio.wait_for(talk(), 30))
    serving.join()


def test_answers_after_the_end_of_this_side_are_received(ca: Authority) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"first")
        asked = read_all(connection)
        connection.sendall(asked.upper())

    async def talk(link: TlsLink) -> None:
        assert await link.send(b"hello")
        while not link._incoming.pending:
            await link._receive_more()
        await link.finish()
        assert await received(link) == b"firstHELLO"

    with tls_server(server_context(ca.issue("server")), serve) as port:
        run(port, trusting(ca), talk)


def test_end_without_a_close_notify_is_an_end(ca: Authority) -> None:
    async def talk(link: TlsLink) -> None:
        assert await received(link) == b"hello"

    with tls_server(server_context(ca.issue("server")), lambda connection: connection.sendall(b"hello")) as port:
        run(port, trusting(ca), talk)


def test_alert_after_the_handshake_is_the_error_of_the_link(ca: Authority) -> None:
    async def talk(link: TlsLink) -> None:
        with pytest.raises(HungUpError, match="tls://x:1: tlsv13 alert certificate required"):
            await received(link)
        assert not await link.send(b"x")

    with tls_server(server_context(ca.issue("server"), str(ca.certificate))) as port:
        run(port, trusting(ca), talk)


async def nothing(link: TlsLink) -> None:
    """What comes after the handshake."""


def test_handshake_that_fails_is_one_line_and_an_alert(ca: Authority) -> None:
    failures: list[ssl.SSLError] = []
    server = tls_server(server_context(ca.issue("server")), failed=failures.append)
    with server as port, pytest.raises(UnreachableError) as caught:
        run(port, trusting(ca, "other.example"), nothing)
    mismatch = "Hostname mismatch, certificate is not valid for 'other.example'"
    assert caught.value.problems == (f"tls://x:1: certificate verify failed: {mismatch}",)
    assert [one.reason for one in failures] == ["SSLV3_ALERT_BAD_CERTIFICATE"]


@pytest.mark.parametrize(
    ("said", "reset", "problem"),
    [
        (b"220 hello\r\n", False, "the server does not speak TLS (wrong version number)"),
        (b"", False, "closed by the other end during the TLS handshake"),
        (b"", True, "Connection reset by peer during the TLS handshake"),
        (None, False, "no answer to the TLS handshake in time; does the server speak TLS?"),
    ],
)
def test_server_without_tls_is_named_so(
    monkeypatch: pytest.MonkeyPatch, said: bytes | None, reset: bool, problem: str
) -> None:
    if said is None:
        monkeypatch.setattr(tls_link, "CONNECT_TIMEOUT", 0.05)
    own, other = socket.socketpair()
    with own, other:
        link = TlsLink(StreamLink("tls://x:1", own, "x"), ClientTls(client_context(), "localhost"))
        if said is not None:
            other.sendall(said)
            if reset:
                own.send(b"unread")  # a UNIX socket that is closed with unread input resets its peer
                other.close()
            else:
                other.shutdown(socket.SHUT_WR)
        with pytest.raises(UnreachableError) as caught:
            asyncio.run(link.handshake())
        assert caught.value.problems == (f"tls://x:1: {problem}",)


def test_security_is_the_protocol_the_cipher_and_the_certificate(ca: Authority) -> None:
    told: list[str] = []

    async def talk(link: TlsLink) -> None:
        told.append(link.security)

    with tls_server(server_context(ca.issue("server"))) as port:
        run(port, trusting(ca), talk)
        run(port, ClientTls(client_context(insecure=True), "other.example"), talk)
    verified, insecure = told
    assert verified.startswith("TLSv1.3, TLS_AES_256_GCM_SHA384, CN=server, issued by CN=Test CA, valid until ")
    assert insecure == f"{verified}, not verified"
