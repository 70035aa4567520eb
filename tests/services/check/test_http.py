"""Requests, however TCP cuts them, and responses."""

import re
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Finished, Receive
from netd.services.check import http
from netd.testing import NOW, script
from tests.services.check.program import Program

REQUEST = b"GET /health HTTP/1.1\r\nHost: a.example\r\n\r\n"
DATE = b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"


def headers(response: bytes) -> dict[str, str]:
    lines = response.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


# Requests.


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (REQUEST, "GET"),
        (b"HEAD * HTTP/1.0\n\n", "HEAD"),
        (b"OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS"),
        (b"\r\n\r\n" + REQUEST + REQUEST, "GET"),  # pipelined: the first one is answered, and the connection closed
        (b"GET http://a.example/?a HTTP/1.9\r\nA: b\r\n\r\nbody", "GET"),
        ("GET /ü HTTP/1.1\r\n\r\n".encode(), "GET"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 8100 + b"\r\n\r\n", "GET"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na=b", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"get / HTTP/1.1\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"PRI * HTTP/2.0\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"GET /\n", HTTPStatus.BAD_REQUEST),
        (b"ping 1\n", HTTPStatus.BAD_REQUEST),
        (b"GET / a HTTP/1.1\r\n", HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01", HTTPStatus.BAD_REQUEST),  # a ClientHello of TLS
        (b" GET / HTTP/1.1\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /" + b"x" * 8188, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"\r\n" * 4097, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 8200 + b"\r\n\r\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"GET /" + b"x" * 8187, None),
        (b"", None),
        (b"\r\n", None),
        (b"G", None),
        (b"GET / HTTP/1.1\r", None),
        (b"GET / HTTP/1.1\r\nA: b\r\n", None),
    ],
)
def test_request(received: bytes, expected: str | HTTPStatus | None) -> None:
    assert http.read_head(received) == expected


_heads = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"", b"\r\n", b"\n\n"]),
    st.sampled_from(
        [b"GET / HTTP/1.1", b"HEAD /a HTTP/1.0", b"PUT / HTTP/1.1", b"GET / HTTP/2.0", b"GET /", b"\x16\x03"]
    ),
    st.sampled_from([b"\r\n", b"\n", b""]),
    st.sampled_from([b"", b"A: b\r\n", b"A: " + b"x" * 8160 + b"\n", b"\r\r\n"]),
    st.sampled_from([b"\r\n", b"\n"]),
    st.binary(max_size=40),
)


@given(_heads, st.data())
def test_segments_change_nothing(received: bytes, data: st.DataObject) -> None:
    """What is decided of a part of the request stands for all of it."""
    part = received[: data.draw(st.integers(0, len(received)))]
    assert http.read_head(part) in (None, http.read_head(received))


@given(st.binary(max_size=100))
def test_any_octets_are_a_request_or_refused_or_incomplete(received: bytes) -> None:
    found = http.read_head(received)
    assert found in ("GET", "HEAD", "OPTIONS", None) or isinstance(found, HTTPStatus)


def test_request_in_any_segments_is_answered() -> None:
    program = Program()
    check = program.check()
    asked = script(check).receives(REQUEST).waits()
    program.end(output=b"OK\n")
    answer = asked.output()
    for request in (REQUEST, b"\r\n" + REQUEST.replace(b"\r\n", b"\n")):
        script(check).receives(request).sends(answer).ends().also_segmented()


@pytest.mark.parametrize("method", [b"POST", b"get"])
def test_other_method_is_refused_with_the_allowed_ones(method: bytes) -> None:
    program = Program()
    answer = script(program.check()).receives(method + b" / HTTP/1.1\r\n\r\n").output()
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n" + DATE)
    assert headers(answer)["Allow"] == "GET, HEAD, OPTIONS"
    assert not program.starts


def test_request_that_does_not_come_in_time_is_refused() -> None:
    program = Program()
    check = program.check()
    for segments in ((), (b"GET / HT",)):
        answer = script(check).receives(*segments).times_out().output()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    slow = script(check)
    for octet in REQUEST:
        if slow.ended:
            break
        program.now += 0.5
        slow.receives(bytes([octet]))
    assert slow.output().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not program.starts


def test_time_for_a_request_is_bounded_also_when_the_clock_is_set_back() -> None:
    program = Program()
    request = http.receive_request(lambda: program.now)
    assert next(request) == Receive(5.0)
    program.now -= 3600
    assert request.send(b"G") == Receive(5.0)
    program.now += 3603
    assert request.send(b"E") == Receive(2.0)


def test_peer_that_hangs_up_costs_no_run() -> None:
    program = Program()
    check = program.check()
    script(check).receives_eof().ends()
    assert script(check).receives(b"GET /").receives_eof().output().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    script(check).receives(b"GET /").receives_reset()
    assert not program.starts


# Responses.


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, b"200 OK"), (1, b"200 OK"), (2, b"503 Service Unavailable"), (3, b"503 Service Unavailable")],
)
def test_exit_codes_of_nagios(code: int, status: bytes) -> None:
    octets = http.answer(Finished(code, b"words\n"), http.DEFAULTS, NOW).octets("GET")
    assert octets.startswith(b"HTTP/1.1 " + status + b"\r\n" + DATE)
    assert octets.endswith(b"\r\nAge: 0\r\n\r\nwords\n")
    assert headers(octets) == {
        "Date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": "6",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        "Age": "0",
    }


def test_response_to_head_is_that_to_get_without_its_body() -> None:
    response = http.answer(Finished(0, b"words"), http.DEFAULTS, NOW)
    assert response.octets("HEAD", 1.9) + b"words\n" == response.octets("GET", 1.9)
    assert headers(response.octets("HEAD", 1.9))["Age"] == "1"
    assert headers(response.octets("HEAD", -3.0))["Age"] == "0"


@pytest.mark.parametrize(
    ("code", "output", "error", "body"),
    [
        (0, b"", "", b"exit code 0\n"),
        (2, b"\n", "", b"exit code 2\n\n"),
        (0, b"gr\xc3\xbcn\x1b[1m\xff\n", "", "grün\\x1b[1m�\n".encode()),
        (None, b"half", "timeout", b"timed out\nhalf\n"),
        (-15, b"", "", b"ended by SIGTERM\n"),
        (None, b"", "/secret: no such file", b"could not be started\n"),
    ],
)
def test_body_is_the_output_or_says_how_the_program_ended(
    code: int | None, output: bytes, error: str, body: bytes
) -> None:
    assert http.answer(Finished(code, output, error), http.DEFAULTS, NOW).body == body


@pytest.mark.parametrize(
    ("code", "output", "status", "body"),
    [
        # As clustercheck prints them.
        (0, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsynced.\r\n", b"200 OK", b"synced.\n"),
        (1, b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\n\r\n", b"503 Service Unavailable", b"exit code 1\n\n"),
        (2, b"HTTP/1.0 404\n\na\n\nb\n", b"404 Not Found", b"a\n\nb\n"),
        (0, b"HTTP/1.1 500 x\nA: b\n", b"500 Internal Server Error", b"exit code 0\n"),
        (-9, b"HTTP/1.1 200 OK\r\n\r\nsynced.\n", b"503 Service Unavailable", None),
        (1, b"HTTP/1.1 204 No Content\r\n\r\n", b"200 OK", None),
        (2, b"HTTP/1.1 100 Continue\r\n\r\n", b"503 Service Unavailable", None),
        (2, b"HTTP/1.1 2000 OK\r\n\r\n", b"503 Service Unavailable", None),
        (2, b"CRITICAL\nHTTP/1.1 200 OK\r\n\r\n", b"503 Service Unavailable", None),
    ],
)
def test_response_of_the_program_goes_before_its_exit_code(
    code: int, output: bytes, status: bytes, body: bytes | None
) -> None:
    response = http.answer(Finished(code, output), http.DEFAULTS, NOW)
    assert response.head.startswith(b"HTTP/1.1 " + status + b"\r\n" + DATE)
    assert body is None or response.body == body


@pytest.mark.parametrize("output", [b"x" * 65536, b"\0" * 65536, "ü".encode() * 32768, b"a" + "ü".encode() * 32767])
def test_body_is_bounded_and_its_length_exact(output: bytes) -> None:
    octets = http.answer(Finished(0, output), http.DEFAULTS, NOW).octets("GET")
    body = octets.partition(b"\r\n\r\n")[2]
    assert http.LONGEST_BODY - 2 <= len(body) <= http.LONGEST_BODY
    assert headers(octets)["Content-Length"] == str(len(body))
    body.decode()


def test_status_codes_of_the_config() -> None:
    codes = {"0": 299, "other": 429}
    assert http.answer(Finished(0, b""), codes, NOW).head.startswith(b"HTTP/1.1 299 \r\n")  # RFC 9112, 4
    assert http.answer(Finished(9, b""), codes, NOW).head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


@pytest.mark.parametrize("status", [100, 199, 600, 204, 205, 304, "200", "up"])
def test_status_code_that_cannot_be_sent_is_refused(status: int | str) -> None:
    with pytest.raises(ValueError, match="expected a status code from 200 to 599 with a body, got"):
        http.check_status(status)


@given(st.binary(max_size=100))
def test_response_is_whole_for_any_output(output: bytes) -> None:
    octets = http.answer(Finished(0, output), http.DEFAULTS, NOW).octets("GET")
    head, body = octets.split(b"\r\n\r\n", 1)
    assert re.fullmatch(rb"[ -~\r\n]*", head)
    assert headers(octets)["Content-Length"] == str(len(body))
