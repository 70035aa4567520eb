"""What `metrics` shows (`Site`), and the HTTP it speaks (`Request`): one request a connection, GET and HEAD alone.

A site is values in, values out. A request is a handler of `http.server` with bounds of its own, since those there are
64 KiB a line and 100 lines for each of the threads. Nothing of what a peer sends is repeated to it.
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
"""Octets of a request up to its body: several times what a browser sends."""
_PATIENCE = 10.0
"""Seconds for these to come once the first has: time to type a request, and an end for who keeps a thread waiting.

A client that sends nothing takes no thread (`client_speaks_first`). One that sends too little has one for so long: on
loopback, where `per_source` does not count, 32 of them still keep all others out.
"""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
"""The media types of files, by suffix."""

_HEADERS = {
    # What the page needs, and nothing from anywhere else.
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


class Reply(NamedTuple):
    """What a request is answered."""

    status: HTTPStatus
    media_type: str
    body: bytes


class Site:
    """What there is to see, by path."""

    def __init__(self, files: Mapping[str, bytes], inspect: Callable[[str], Mapping[str, Any]]) -> None:
        self._files = {f"/{name}".replace("/index.html", "/"): (name, body) for name, body in files.items()}
        self._inspect = inspect
        self._live: dict[str, Callable[[str], Reply]] = {
            "/metrics": self._metrics,
            "/healthz": lambda accept: self._verdict("healthy"),
            "/readyz": lambda accept: self._verdict("ready"),
            "/status.json": lambda accept: self._report("status"),
            "/history.json": lambda accept: self._report("history"),
        }

    def get(self, path: str, accept: str = "") -> Reply:
        """What is at a path, for who accepts these media types."""
        if path in self._files:
            name, body = self._files[path]
            return Reply(HTTPStatus.OK, TYPES[PurePath(name).suffix], body)
        if path not in self._live:
            return text(HTTPStatus.NOT_FOUND)
        try:
            return self._live[path](accept)
        except TimeoutError as error:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _metrics(self, accept: str) -> Reply:
        body, media_type = exposition(self._inspect("status"), accept)
        return Reply(HTTPStatus.OK, media_type, body)

    def _verdict(self, what: str) -> Reply:
        if self._inspect("status")[what]:
            return text(HTTPStatus.OK, what)
        return text(HTTPStatus.SERVICE_UNAVAILABLE, f"not {what}")

    def _report(self, what: str) -> Reply:
        return Reply(HTTPStatus.OK, "application/json", json.dumps(self._inspect(what)).encode() + b"\n")


def text(status: HTTPStatus, words: str = "") -> Reply:
    """An answer of one line: the status itself where there is nothing else to say."""
    return Reply(status, "text/plain; charset=utf-8", f"{words or f'{status} {status.phrase}'}\n".encode())


def may_name(host: str, local: str) -> bool:
    """Whether a request that came to the address ``local`` may name this host.

    A web site can have its own name lead to a loopback address, and read with the browser of somebody on this host what
    is there (DNS rebinding). The browser names that site; so on loopback nothing will do but an address, ``localhost``,
    or no host at all, as in what a person types.
    """
    if not is_loopback(parse_address(local)):
        return True
    try:
        name, _ = split_port(host)
        return name.lower() in ("", "localhost") or bool(parse_address(name))
    except ValueError:
        return False


class Request(BaseHTTPRequestHandler):
    """Answers one request. To be called with the site, a clock, and what `socketserver` gives a handler."""

    # Also that of the answer to a line without one, as a person types it.
    request_version = default_request_version = "HTTP/1.0"
    command = ""
    timeout = _PATIENCE

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
        self.connection.settimeout(_PATIENCE)
        self.rfile.close()
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self._answer(self._reply())

    def _receive_head(self) -> bytes | None:
        """A request up to its body, or what came of it; None when it is too long. Empty lines before it are ignored.

        Some clients end the request before with one line end too many (RFC 9112, 2.2), and people press Enter.
        """
        received = b""
        end = self._clock() + _PATIENCE
        while not _is_complete(head := received.lstrip(b"\r\n")):
            if len(received) >= _LONGEST_HEAD:
                return None
            left = min(end - self._clock(), _PATIENCE)  # the clock may be set back
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            piece = self.connection.recv(_LONGEST_HEAD - len(received))
            if not piece:
                break
            received += piece
        return head

    def _reply(self) -> Reply:
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

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what `http.server` minds about a request, without its words: they repeat the peer's."""
        self._answer(text(HTTPStatus(code)))

    def version_string(self) -> str:
        return "netd"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: netd has a line for each connection."""


def _is_complete(head: bytes) -> bool:
    """Whether this is all of a request up to its body: with a version, up to an empty line; without one, a line."""
    line, end, _ = head.partition(b"\n")
    return bool(end) and (len(line.split()) < 3 or bool(_EMPTY_LINE.search(head)))
