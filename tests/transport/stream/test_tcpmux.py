"""tcpmux (RFC 1078): the line that names a service, and what follows it."""

import contextlib
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.admission.banner import Banners
from netd.services.echo import Echo
from netd.transport.stream import tcpmux
from netd.transport.stream.tcpmux import TcpmuxConnection
from netd.transport.tap import Tap
from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import read_all, read_exactly
from tests.support.tls import TlsClient, client_context, tls_preambles
from tests.support.waiting import until
from tests.transport.sample_services import DENY, PlainEcho
from tests.transport.stream.kinds import KINDS, Kind
from tests.transport.stream.multiplexed import Mux
from tests.transport.stream.peers import connect, ended

TCP, UNIX = "tcp://127.0.0.1:0", "unix://{tmp}/s"
URLS = [TCP, UNIX]


def ask(address: Any, data: bytes) -> bytes:
    """All that comes for this and the end of file."""
    with connect(address) as client:
        client.sendall(data)
        with contextlib.suppress(OSError):  # it is closed already
            client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                said += piece
        return said


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.is_plain], ids=lambda kind: kind.name)
def test_any_service_goes_on_with_the_connection(server: Server, tmp_path: Path, url: str, kind: Kind) -> None:
    mux = Mux(server, url.format(tmp=tmp_path))
    target = mux.pass_on("it", kind.service(server))
    data = bytes(range(256)) * 300
    with connect(mux.address) as client:
        client.sendall(b"IT\r\n" + data[:100])
        assert read_exactly(client, 3) == b"+\r\n"
        assert read_exactly(client, 100) == kind.says(data)[:100]
        client.sendall(data[100:])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == kind.says(data)[100:]
    until(partial(ended, target.events, 1))
    counters = mux.events.counters
    assert (dict(counters.closed), counters.bytes_in, counters.bytes_out, counters.active) == ({"done": 1}, 4, 3, 0)
    counters = target.events.counters
    assert (counters.accepted, dict(counters.closed), counters.active) == (1, {"done": 1}, 0)
    assert counters.bytes_out == len(kind.says(data))


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("line", [b"pEcho\r\n", b"pecho\n", b"PECHO\r\n"])
def test_name_is_read_in_any_case_and_in_any_pieces(server: Server, tmp_path: Path, url: str, line: bytes) -> None:
    mux = Mux(server, url.format(tmp=tmp_path))
    mux.pass_on("pecho", PlainEcho())
    with connect(mux.address) as client:
        for octet in line:
            client.sendall(bytes([octet]))
            server.settle()
        client.sendall(b"x")
        assert read_exactly(client, 4) == b"+\r\nx"


def test_plain_service_gets_the_connection_at_once_and_banners_are_sent(server: Server) -> None:
    mux = Mux(server, TCP)
    mux.pass_on("plain", Echo(), {"tcpmux": {"plain": True}})
    mux.pass_on("banner", Echo(), banners=Banners(b"hello\r\n", b"no"))
    mux.pass_on("both", PlainEcho(), {"tcpmux": {"plain": True}}, Banners(b"hello\r\n"))
    assert ask(mux.address, b"plain\r\n+ by itself") == b"+ by itself"
    assert ask(mux.address, b"banner\r\nx") == b"+\r\nhello\r\nx"
    assert ask(mux.address, b"both\r\nx") == b"hello\r\nx"


@pytest.mark.parametrize("url", URLS)
def test_names_are_listed_and_an_unknown_one_is_refused(server: Server, tmp_path: Path, url: str) -> None:
    mux = Mux(server, url.format(tmp=tmp_path))
    mux.pass_on("zulu", Echo())
    mux.pass_on("alpha", Echo())
    assert ask(mux.address, b"HELP\r\n") == b"alpha\r\nzulu\r\n"
    assert ask(mux.address, b"help\r\nand more") == b"alpha\r\nzulu\r\n"
    assert ask(mux.address, b"nothing\r\nand more") == b"-no such service\r\n"
    assert ask(mux.address, b"\r\n") == b"-no such service\r\n"
    assert ask(mux.address, b"\xff\r\n") == b"-no such service\r\n"
    until(partial(ended, mux.events, 5))
    assert dict(mux.events.counters.closed) == {"done": 5}


def test_rules_and_limits_of_the_named_service_apply(server: Server, log: list[dict[str, Any]]) -> None:
    mux = Mux(server, TCP)
    denied = mux.pass_on("denied", Echo(), DENY)
    single = mux.pass_on("single", Echo(), {"limits": {"connections": 1}})
    assert ask(mux.address, b"denied\r\nx") == b"-not available\r\n"
    with connect(mux.address) as client:
        client.sendall(b"single\r\nx")
        assert read_exactly(client, 4) == b"+\r\nx"
        assert ask(mux.address, b"single\r\nx") == b"-not available\r\n"
        assert single.events.counters.active == 1
    until(lambda: single.events.counters.active == 0)
    assert ask(mux.address, b"single\r\nx") == b"+\r\nx"
    assert (denied.events.counters.refused, denied.events.counters.accepted) == ({"access": 1}, 0)
    assert single.events.counters.refused == {"connections": 1}
    assert (mux.events.counters.accepted, mux.events.counters.refused) == (4, {})
    refused = [(one["service"], one["reason"]) for one in log if one["event"] == "connection_refused"]
    assert refused == [("denied", "access"), ("single", "connections")]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("said", [b"x" * 300, b"x" * 259 + b"\r\n", b"echo", b"x" * 5000 + b"\n"])
def test_peer_without_a_line_gets_no_service(server: Server, tmp_path: Path, url: str, said: bytes) -> None:
    mux = Mux(server, url.format(tmp=tmp_path))
    mux.pass_on("echo", Echo())
    assert ask(mux.address, said) == b""
    until(partial(ended, mux.events, 1))
    assert dict(mux.events.counters.closed) == {"peer_error": 1}
    assert mux.events.counters.active == 0


def test_peer_has_ten_seconds_for_the_line_and_a_check_is_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcpmux, "TIMEOUT", 0.3)
    mux = Mux(server, TCP)
    mux.pass_on("echo", PlainEcho())
    assert ask(mux.address, b"") == b""
    with connect(mux.address) as client, connect(mux.address) as served:
        served.sendall(b"echo\r\n")
        assert read_exactly(served, 3) == b"+\r\n"
        client.sendall(b"ec")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        until(partial(ended, mux.events, 3))
        served.sendall(b"x")
        assert read_exactly(served, 1) == b"x", "it has the time of its service"
    assert dict(mux.events.counters.closed) == {"done": 2, "lifetime": 1}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("target", [Echo, PlainEcho])
def test_line_comes_over_tls_too(server: Server, tmp_path: Path, version: Any, target: type[Echo]) -> None:
    authority = Authority(tmp_path)
    mux = Mux(server, TCP, tls_preambles(authority.issue("server")))
    mux.pass_on("it", target(), banners=Banners(b"hi\n"))
    for pieces in ((b"it\r\nhello",), (b"i", b"t\r\nhel", b"lo")):
        client: Any = TlsClient(connect(mux.address), client_context(authority, version)).handshake()
        for piece in pieces:
            client.sendall(piece)
            server.settle()
        assert read_exactly(client, 11) == b"+\r\nhi\nhello"
        client.close()
    client = TlsClient(connect(mux.address), client_context(authority, version)).handshake()
    client.sendall(b"x" * 300)
    with contextlib.suppress(OSError):
        assert client.recv(10) == b""
    client.close()
    until(partial(ended, mux.events, 3))
    assert dict(mux.events.counters.closed) == {"done": 2, "peer_error": 1}


def test_call_that_waits_when_a_connection_is_passed_on_takes_nothing_of_it(server: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mux = Mux(server, TCP, tls_preambles(authority.issue("server")))
    mux.pass_on("it", PlainEcho())
    client: Any = TlsClient(connect(mux.address), client_context(authority)).handshake()
    until(lambda: [one for one in mux.connections if isinstance(one, TcpmuxConnection)])
    [before] = mux.connections
    client.sendall(b"it\r\n")
    assert read_exactly(client, 3) == b"+\r\n"
    server.loop.call(before._receive_pending)
    server.settle()
    client.sendall(b"hello")
    assert read_exactly(client, 5) == b"hello"
    client.close()


def test_trace_of_tcpmux_has_the_line_and_that_of_the_service_the_rest(server: Server) -> None:
    mux = Mux(server, TCP)
    target = mux.pass_on("it", PlainEcho())
    taps = [Tap("mux", lambda peer: True, lambda tap: None), Tap("it", lambda peer: True, lambda tap: None)]
    server.loop.call(lambda: mux.connections.trace([taps[0]]))
    server.loop.call(lambda: target.connections.trace([taps[1]]))
    assert ask(mux.address, b"it\r\nhello") == b"+\r\nhello"
    until(partial(ended, target.events, 1))
    said = [[(way, bytes.fromhex(data)) for _, way, _, _, data, _ in tap.take()[0]] for tap in taps]
    assert said[0] == [("opened", b""), ("in", b"it\r\n"), ("out", b"+\r\n"), ("closed", b"")]
    assert [one for one in said[1] if one[1]] == [("in", b"hello"), ("out", b"hello")]


def test_peer_of_a_thread_and_of_whoami_is_the_client(server: Server) -> None:
    mux = Mux(server, TCP)
    mux.pass_on("whoami", service("whoami"))
    with connect(mux.address) as client:
        client.sendall(b"whoami\r\n\r\n")
        host, port = client.getsockname()
        assert read_all(client).startswith(f"+\r\npeer={host}:{port} local=127.0.0.1:{mux.address[1]} ".encode())
