"""What `metrics` serves by path (`Site`), over HTTP (`Request`): one request a connection, GET and HEAD only.

A site is values in, values out. A request is a handler of `http.server` with smaller bounds: there, each thread may
read 100 lines of 64 KiB. No response repeats octets of the request.
"""

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import PurePath
from typing import Any, NamedTuple

from netd.addresses import is_loopback, parse_address, split_port
from netd.telemetry.exposition import exposition

_LONGEST_HEAD = 8192
"""Octets of a request without its body: several times what a browser sends."""
_REQUEST_TIMEOUT = 10.0
"""Seconds for a request to come, from its first octet: time to type one, and a bound for a client that holds a thread.

A client that sends nothing takes no thread (`client_speaks_first`). One that sends too little has one for so long: on
loopback, where `per_source` does not apply, 32 of them still keep out all others.
"""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
"""The media types of files, by suffix."""

_HEADERS = {
    # The page loads its own files only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Connection": "close",
}

_EMPTY_LINE = re.compile(rb"\n\r?\n")
_ABSOLUTE = re.compile(r"http://([^/?#]*)(/?.*)", re.IGNORECASE)


class Response(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    media_type: str
    body: bytes


class Site:
    """The responses, by path."""

    def __init__(self, files: Mapping[str, bytes], inspect: Callable[[str], Mapping[str, Any]]) -> None:
        self._files = {f"/{name}".replace("/index.html", "/"): (name, body) for name, body in files.items()}
        self._inspect = inspect
        self._live: dict[str, Callable[[str], Response]] = {
            "/metrics": self._metrics,
            "/healthz": lambda accept: self._verdict("healthy"),
            "/readyz": lambda accept: self._verdict("ready"),
            "/status.json": lambda accept: self._report("status"),
            "/history.json": lambda accept: self._report("history"),
        }

    def get(self, path: str, accept: str = "") -> Response:
        """The response for a path; ``accept`` is the Accept header."""
        if path in self._files:
            name, body = self._files[path]
            return Response(HTTPStatus.OK, MEDIA_TYPES[PurePath(name).suffix], body)
        if path not in self._live:
            return text(HTTPStatus.NOT_FOUND)
        try:
            return self._live[path](accept)
        except TimeoutError as error:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _metrics(self, accept: str) -> Response:
        body, media_type = exposition(self._inspect("status"), accept)
        return Response(HTTPStatus.OK, media_type, body)

    def _verdict(self, what: str) -> Response:
        if self._inspect("status")[what]:
            return text(HTTPStatus.OK, what)
        return text(HTTPStatus.SERVICE_UNAVAILABLE, f"not {what}")

    def _report(self, what: str) -> Response:
        return Response(HTTPStatus.OK, "application/json", json.dumps(self._inspect(what)).encode() + b"\n")


def text(status: HTTPStatus, words: str = "") -> Response:
    """A response of one line: ``words``, or else the status."""
    return Response(status, "text/plain; charset=utf-8", f"{words or f'{status} {status.phrase}'}\n".encode())


def may_name(host: str, local: str) -> bool:
    """Whether a request to the address ``local`` may have this Host header.

    A web site can let its own name resolve to a loopback address, and read a response through a browser on this host
    (DNS rebinding). The browser sends the name of that site. So on loopback only an address, ``localhost``, or no host
    is accepted; a request that is typed by hand has none.
    """
    if not is_loopback(parse_address(local)):
        return True
    try:
        name, _ = split_port(host)
        return name.lower() in ("", "localhost") or bool(parse_address(name))
    except ValueError:
        return False


class Request(BaseHTTPRequestHandler):
    """Answers one request. Arguments: the site, a clock, and those of a `socketserver` handler."""

    # Also the version of the response to a request line without one.
    request_version = default_request_version = "HTTP/1.0"
    command = ""
    timeout = _REQUEST_TIMEOUT

    def __init__(self, site: Site, clock: Callable[[], float], *connection: Any) -> None:
        self._site = site
        self._clock = clock
        super().__init__(*connection)

    def handle(self) -> None:
        try:
            head = self._receive_head()
        except TimeoutError:
            return self.send_error(HTTPStatus.REQUEST_TIMEOUT)
        if head is None:
            return self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self.connection.settimeout(_REQUEST_TIMEOUT)
        self.rfile.close()
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self._answer(self._response())

    def _receive_head(self) -> bytes | None:
        """A request without its body, or the start of one at end of input; None if it is too long.

        Empty lines before it are ignored: some clients send one after a request (RFC 9112, 2.2).
        """
        received = b""
        end = self._clock() + _REQUEST_TIMEOUT
        while not _is_complete(head := received.lstrip(b"\r\n")):
            if len(received) >= _LONGEST_HEAD:
                return None
            left = min(end - self._clock(), _REQUEST_TIMEOUT)  # the clock may be set back
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            piece = self.connection.recv(_LONGEST_HEAD - len(received))
            if not piece:
                break
            received += piece
        return head

    def _response(self) -> Response:
        if self.command not in ("GET", "HEAD"):
            return text(HTTPStatus.METHOD_NOT_ALLOWED)
        hosts = self.headers.get_all("Host", [""])
        path = self.path
        if absolute := _ABSOLUTE.fullmatch(path):
            hosts, path = [absolute[1]], absolute[2] or "/"
        if len(hosts) > 1:
            return text(HTTPStatus.BAD_REQUEST)  # RFC 9112, 3.2
        local = self.connection.getsockname()
        if isinstance(local, tuple) and not may_name(hosts[0], local[0]):  # no browser comes over a UNIX socket
            return text(HTTPStatus.MISDIRECTED_REQUEST, "ask for localhost or an address: this is on loopback")
        return self._site.get(path.partition("?")[0], self.headers.get("Accept", ""))

    def _answer(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.media_type)
        self.send_header("Content-Length", str(len(response.body)))
        if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that `http.server` refuses, without its message, which repeats the request."""
        self._answer(text(HTTPStatus(code)))

    def version_string(self) -> str:
        return "netd"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: netd logs each connection."""


def _is_complete(head: bytes) -> bool:
    """Whether a request is complete up to its body: with a version, at an empty line; without one, after a line."""
    line, end, _ = head.partition(b"\n")
    return bool(end) and (len(line.split()) < 3 or bool(_EMPTY_LINE.search(head)))
