"""The resources of metrics, by path, and its answers to valid and invalid requests on real sockets."""

import json
import re
import select
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.admission.limits import Limits
from netd.services.metrics import http
from netd.services.metrics.http import Site, may_name
from netd.telemetry.service_events import ServiceEvents
from netd.transport.stream.server import StreamServer
from tests.services.metrics.answers import HISTORY, SAID, STATUS, metrics_service
from tests.support.server import Server
from tests.support.sockets import has_ipv6, read_all
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended

MOST_THREADS = Limits().threads


def site(**changes: object) -> Site:
    return Site({"index.html": b"<p>", "page.js": b"1"}, lambda what: {**SAID[what], **changes})


def mute(what: str) -> Any:
    raise TimeoutError("the supervisor does not answer")


# By path.


def test_the_page_and_its_files() -> None:
    assert site().get("/") == (HTTPStatus.OK, "text/html; charset=utf-8", b"<p>")
    assert site().get("/page.js") == (HTTPStatus.OK, "text/javascript; charset=utf-8", b"1")


def test_reports_are_those_of_netd_status() -> None:
    for path, report in (("/status.json", STATUS), ("/history.json", HISTORY)):
        code, media_type, body = site().get(path)
        assert (code, media_type) == (HTTPStatus.OK, "application/json")
        assert json.loads(body) == report


def test_metrics_are_in_the_format_that_is_asked_for() -> None:
    assert site().get("/metrics").media_type == "text/plain; version=0.0.4; charset=utf-8"
    assert site().get("/metrics", "application/openmetrics-text").media_type.startswith("application/openmetrics-text;")


@pytest.mark.parametrize(("path", "what"), [("/healthz", "healthy"), ("/readyz", "ready")])
def test_verdicts(path: str, what: str) -> None:
    assert site().get(path) == (HTTPStatus.OK, "text/plain; charset=utf-8", f"{what}\n".encode())
    code, _, body = site(**{what: False}).get(path)
    assert (code, body) == (HTTPStatus.SERVICE_UNAVAILABLE, f"not {what}\n".encode())


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/status.json", "/history.json"])
def test_missing_answer_of_the_supervisor_is_an_error(path: str) -> None:
    code, _, body = Site({}, mute).get(path)
    assert (code, body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"the supervisor does not answer\n")


@pytest.mark.parametrize("path", ["/index.html", "/nothing", "", "*", "/.", "/page", "/metrics/", "/METRICS"])
def test_unknown_path_is_not_found(path: str) -> None:
    assert site().get(path).status == HTTPStatus.NOT_FOUND


# Host names.


@pytest.mark.parametrize("local", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost", True),
        ("LOCALHOST:7090", True),
        ("127.0.0.1:7090", True),
        ("[::1]:7090", True),
        ("192.0.2.7", True),
        ("", True),
        ("evil.example", False),
        ("evil.example:7090", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:7090:1", False),
        ("a@localhost", False),
        ("localhost:x", False),
        ("[::1", False),
        ("2130706433", False),
    ],
)
def test_request_on_loopback_may_name_localhost_and_addresses(local: str, host: str, good: bool) -> None:
    assert may_name(host, local) is good


@given(st.text(max_size=40))
def test_request_from_elsewhere_may_name_any_host(host: str) -> None:
    assert may_name(host, "192.0.2.1")
    assert may_name(host, "2001:db8::1%eth0")
    may_name(host, "127.0.0.1")


# On sockets.


@pytest.fixture
def shown(server: Server) -> Iterator[tuple[Any, ServiceEvents]]:
    address, events = server.add(metrics_service(), "tcp://127.0.0.1:0")
    yield address, events
    until(lambda: events.counters.active == 0)
    assert events.counters.failed == 0


def fetch(address: Any, request: bytes) -> bytes:
    with connect(address) as connection:
        connection.sendall(request)
        return read_all(connection)


def code_of(answer: bytes) -> int:
    match = re.match(rb"HTTP/1\.0 (\d{3}) [A-Z][A-Za-z -]+\r\n", answer)
    assert match, answer[:100]
    return int(match[1])


REQUESTS = [
    (b"GET / HTTP/1.0\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET / HTTP/1.1\nHost: localhost\n\n", 200),
    (b"GET /healthz\n", 200),  # as typed by hand
    (b"GET /healthz\r\n", 200),
    (b"\r\nGET /healthz\r\n", 200),  # RFC 9112, 2.2
    (b"\r\n\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    (b"\r\n" * 4096, 431),
    (b"GET /status.json?time=1 HTTP/1.1\r\nHost: localhost:7090\r\n\r\n", 200),
    (b"GET http://localhost:7090/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200),  # RFC 9112, 3.2.2
    (b"GET HTTP://127.0.0.1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    (b"GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET //metrics/../etc/passwd HTTP/1.0\r\n\r\n", 404),
    (b"GET /../metrics.py HTTP/1.0\r\n\r\n", 404),
    (b"GET /%2e%2e/metrics.py HTTP/1.0\r\n\r\n", 404),
    (b"GET /page.js/ HTTP/1.0\r\n\r\n", 404),
    (b"GET /\0 HTTP/1.0\r\n\r\n", 404),
    (b"GET /\x1b[31m HTTP/1.0\r\n\r\n", 404),
    (b"OPTIONS * HTTP/1.0\r\n\r\n", 405),
    (b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 405),
    (b"\x1b[31mM / HTTP/1.0\r\n\r\n", 405),
    (b"GET / HTTP/2.0\r\n\r\n", 505),
    (b"GET / SPDY/3\r\n\r\n", 400),
    (b"GET / \x1b[31mx HTTP/1.0\r\n\r\n", 400),
    (b"POST /\r\n", 400),
    (b"hello\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),  # TLS
    (b"GET /" + b"x" * 8192, 431),
    (b"GET / HTTP/1.0\r\nCookie: " + b"x" * 8192, 431),
    (b"GET / HTTP/1.0\r\n" + b"a:b\r\n" * 200 + b"\r\n", 431),
]


@pytest.mark.parametrize(("request_", "code"), REQUESTS, ids=[repr(request[:40]) for request, _ in REQUESTS])
def test_requests(shown: tuple[Any, ServiceEvents], request_: bytes, code: int) -> None:
    answer = fetch(shown[0], request_)
    assert code_of(answer) == code
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    if code != 200:
        assert len(body) < 100
        assert not re.search(rb"evil|x{4}|\x1b|hello|Python|passwd", answer), "nothing that came goes back"


def test_answers_have_security_headers(shown: tuple[Any, ServiceEvents]) -> None:
    for path in (b"/", b"/page.js", b"/status.json", b"/metrics", b"/healthz", b"/nothing"):
        head = fetch(shown[0], b"GET %s HTTP/1.0\r\n\r\n" % path).partition(b"\r\n\r\n")[0].decode().split("\r\n")
        for line in (
            "Server: netd",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cache-Control: no-store",
        ):
            assert line in head
        [policy] = [line for line in head if line.startswith("Content-Security-Policy: ")]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/metrics", "/status.json", "/healthz", "/nothing"])
def test_head_is_get_without_the_body(shown: tuple[Any, ServiceEvents], path: str) -> None:
    got, headed = (fetch(shown[0], f"{method} {path} HTTP/1.0\r\n\r\n".encode()) for method in ("GET", "HEAD"))
    undated = [re.sub(rb"Date: .*", b"", one.partition(b"\r\n\r\n")[0]) for one in (got, headed)]
    assert undated[0] == undated[1]
    assert headed.endswith(b"\r\n\r\n")
    assert not got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("url", ["tcp://[::1]:0", "unix://{tmp}/s"])
def test_requests_are_served_over_ipv6_and_unix_sockets(server: Server, tmp_path: Path, url: str) -> None:
    if "::1" in url and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    address, _ = server.add(metrics_service(), url.format(tmp=tmp_path))
    assert code_of(fetch(address, b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n")) == 200
    # Browsers do not connect to UNIX sockets, so any name is accepted there.
    assert code_of(fetch(address, b"GET / HTTP/1.1\r\nHost: any.example\r\n\r\n")) == (421 if "::1" in url else 200)


def test_a_request_may_come_octet_by_octet(shown: tuple[Any, ServiceEvents]) -> None:
    with connect(shown[0]) as connection:
        for octet in b"\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
            connection.send(bytes((octet,)))
        assert code_of(read_all(connection)) == 200


@given(
    st.sampled_from([b"", b"GET ", b"GET / HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\nAccept: "]), st.binary(max_size=300)
)
def test_garbage_is_answered_or_closed(start: bytes, garbage: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.sendall(start + garbage)
        near.shutdown(socket.SHUT_WR)
        metrics_service().handler(far, "", None)
        far.close()
        answer = read_all(near)
    assert not answer or code_of(answer)


def test_connection_without_a_request_is_a_check(shown: tuple[Any, ServiceEvents]) -> None:
    connect(shown[0]).close()
    until(lambda: ended(shown[1], 1))
    assert shown[1].counters.checks == 1


def test_silent_client_takes_no_thread(shown: tuple[Any, ServiceEvents]) -> None:
    silent = [connect(shown[0]) for _ in range(2 * MOST_THREADS)]
    until(lambda: shown[1].counters.active == 2 * MOST_THREADS)
    assert code_of(fetch(shown[0], b"GET /healthz\r\n")) == 200
    for connection in silent:
        connection.close()


def test_slow_clients_take_no_more_threads_than_there_are_and_not_for_long(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT", 0.5)
    address, events = server.add(metrics_service(), "tcp://127.0.0.1:0")
    [running] = server.servers
    assert isinstance(running, StreamServer)
    threads = running.connections.threads
    assert threads
    slow = [connect(address) for _ in range(MOST_THREADS)]
    for connection in slow:
        connection.sendall(b"x")
    until(lambda: threads.slots.taken == MOST_THREADS)
    with connect(address) as refused:
        assert refused.recv(1) == b""
    assert events.counters.refused == {"threads": 1}
    # Clients that send an octet from time to time are closed too.
    talking = set(slow)
    while talking:
        for connection in talking:
            connection.sendall(b"x")
        talking -= set(select.select(talking, [], [], 0.01)[0])
    for connection in slow:
        assert code_of(read_all(connection)) == 408
        connection.close()
    until(lambda: events.counters.active == 0)
    assert code_of(fetch(address, b"GET /healthz\r\n")) == 200


def test_request_of_a_peer_that_keeps_sending_ends() -> None:
    near, far = socket.socketpair()
    times = iter(range(1000))

    def clock() -> float:
        near.send(b"x")  # so that there is always input
        return next(times)

    with near:
        with far:
            metrics_service(clock=clock).handler(far, "", None)
        assert code_of(near.recv(100)) == 408
    assert next(times) < 20


def test_unfinished_request_is_answered_with_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT", 0.2)
    address, _ = server.add(metrics_service(), "tcp://127.0.0.1:0")
    assert code_of(fetch(address, b"GET / HTTP/1.0\r\n")) == 408
