"""HTTP for checks: one request a connection, any path (RFC 9110, RFC 9112).

No response repeats octets of the request.
"""

import re
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple

from netd.contract import Finished, Receive
from netd.services.check import verdict
from netd.text import shown

_LONGEST_HEAD = 8192
"""Octets of a request without its body: several times what a checker sends."""
_HEAD_TIMEOUT = 5.0
"""Seconds for a request to come: more than a lost segment takes, less than checkers wait for an answer."""
LONGEST_BODY = 65536

_METHODS = ("GET", "HEAD", "OPTIONS")
"""OPTIONS is answered as GET: it is what ``option httpchk`` of HAProxy sends, unless it is given another method."""

DEFAULTS = {"0": 200, "1": 200, "other": 503}
"""Exit codes of Nagios: OK and WARNING serve."""

_BODILESS = {204, 205, 304}
# A control character says that this is not HTTP, as in the first octets of TLS.
_LINE_SO_FAR = re.compile(rb"[^\0- \x7f][^\0-\x1f\x7f]*\r?")
_STATUS_LINE = re.compile(rb"HTTP/1\.\d ([2-5]\d\d)[ \r\n]")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(rb"(\S+) \S+ HTTP/(\d)\.\d\r?")


class Response(NamedTuple):
    """The answer to a request. The head lacks the age and the empty line."""

    head: bytes
    body: bytes

    def octets(self, method: str, age: float = 0.0) -> bytes:
        """What is sent for this method; ``age``: seconds since the result."""
        head = b"%sAge: %d\r\n\r\n" % (self.head, max(0, age))
        return head if method == "HEAD" else head + self.body


def response(status: int, text: str, at: float) -> Response:
    """A response with a text, at most `LONGEST_BODY` octets of it. ``at``: when what it says was found."""
    body = text.encode()
    if len(body) > LONGEST_BODY:
        body = body[:LONGEST_BODY].decode("utf-8", "ignore").encode()
    head = (
        f"HTTP/1.1 {status} {_phrase(status)}\r\n"
        f"Date: {datetime.fromtimestamp(at, UTC):%a, %d %b %Y %H:%M:%S} GMT\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n"
    )
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        head += f"Allow: {', '.join(_METHODS)}\r\n"
    return Response(head.encode("ascii"), body)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""  # RFC 9112, 4: it may be empty


def refusal(status: HTTPStatus, at: float) -> bytes:
    """The response to a request that is not answered."""
    return response(status, f"{status} {status.phrase}\n", at).octets("GET")


def check_status(status: int | str) -> int:
    """The status code that the config has for an exit code, if there may be one; else raise ValueError."""
    if not isinstance(status, int) or not 200 <= status <= 599 or status in _BODILESS:
        raise ValueError(f"expected a status code from 200 to 599 with a body, got {shown(status)}")
    return status


def answer(finished: Finished, codes: dict[str, int], at: float) -> Response:
    """The response for the end of a program: its output; before that how it ended, if the output does not say it.

    Scripts for xinetd(8) print a response of their own, and their exit code is that of a shell: 1 where they print 503.
    So what they print decides.
    """
    status, output = verdict.find(codes, finished), finished.output
    is_whole = verdict.is_whole(finished)
    if is_whole and (own := _STATUS_LINE.match(output)) and int(own[1]) not in _BODILESS:
        status, output = int(own[1]), b"".join(_END_OF_HEAD.split(output, maxsplit=1)[1:])
    text = verdict.safe(output)
    if not is_whole or not text.strip():
        text = f"{verdict.describe(finished)}\n{text}"
    return response(status, text if text.endswith("\n") else f"{text}\n", at)


def receive_request(clock: Callable[[], float]) -> Generator[Receive, bytes | None, str | HTTPStatus | None]:
    """The method of a request, once its head is there; or why it is refused. None: the peer has sent nothing."""
    received = b""
    end = clock() + _HEAD_TIMEOUT
    while True:
        left = min(end - clock(), _HEAD_TIMEOUT)  # the clock may be set back
        data = (yield Receive(left)) if left > 0 else None
        if data is None:
            return HTTPStatus.REQUEST_TIMEOUT
        if not data:
            return HTTPStatus.BAD_REQUEST if received else None
        received += data
        if found := read_head(received):
            return found


def read_head(received: bytes) -> str | HTTPStatus | None:
    """The method of a request, or why it is refused; None: its head is not complete. How TCP cuts it changes nothing.

    Empty lines before it are ignored: some clients send one after a request (RFC 9112, 2.2).
    """
    head = received[:_LONGEST_HEAD].lstrip(b"\r\n")
    line, line_end, _ = head.partition(b"\n")
    if head and not _LINE_SO_FAR.fullmatch(line):
        return HTTPStatus.BAD_REQUEST
    request = _REQUEST_LINE.fullmatch(line)
    if line_end:
        if not request:
            return HTTPStatus.BAD_REQUEST
        if request[2] != b"1":
            return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if not _END_OF_HEAD.search(head):
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if len(received) > _LONGEST_HEAD else None
    assert request
    method = request[1].decode("latin-1")
    return method if method in _METHODS else HTTPStatus.METHOD_NOT_ALLOWED
