"""Client of the control socket of a running netd: one request, or a request and the messages that follow.

A command that only sends a request should answer at once, so nothing is imported here that takes long to import.
"""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from netd.errors import NotRunningError, UsageError
from netd.text import printable
from netd.transport.sockaddr import connection_credentials

_LONGEST = 2**24  # octets of an answer
_KEEP_ALIVES = 10  # messages a second without a meaning, from a peer that is not netd; netd sends one in five seconds


class Answer(dict[str, Any]):
    """An answer of netd, in which all text is printable: none of it can be a control sequence of the terminal.

    Everything that commands print of an answer comes from here, but for JSON.
    """

    def __init__(self, received: dict[str, Any], path: str = "") -> None:
        """``received``: the JSON object; ``path``: the control socket that it came from."""
        super().__init__(_printable(received))
        self.received = received
        """The answer as netd sent it, for other programs."""
        self.path = path
        self.process = 0
        """The process that listens there, by its number in the pid namespace of this one; 0: it has none there."""


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def answer_of(line: bytes, path: str) -> Answer:
    """The answer in a line from the control socket at ``path``. Raises `NotRunningError` where it is no JSON object."""
    try:
        received = json.loads(line)
        if isinstance(received, dict):
            return Answer(received, path)
    except (ValueError, RecursionError):
        pass
    raise not_netd(path, "its answer is no JSON object")


def not_netd(path: str, reason: object) -> NotRunningError:
    """The error for an answer that makes no sense; its exit code is that of a netd that is not there."""
    return NotRunningError(
        [f"the process that listens at {path} does not answer as netd does: {printable(str(reason))[:100]}"]
    )


def ask(paths: Sequence[str], words: Sequence[str], seconds: float = 60.0) -> Answer:
    """Send a request to the first netd that listens on one of these paths, and return its answer.

    Raises `NotRunningError` where none listens or answers within ``seconds``, and `UsageError` for an empty word or one
    with blanks: a request is a line of words.
    """
    with _connected(paths, words, seconds) as (connection, path):
        connection.shutdown(socket.SHUT_WR)
        answer = answer_of(Lines(connection, path, seconds).read() or b"", path)
        answer.process = connection_credentials(connection).pid
        return answer


def follow(paths: Sequence[str], words: Sequence[str], seconds: float = 60.0) -> Iterator[Answer]:
    """As `ask`, for a request that netd answers with a series of messages, until netd closes the connection.

    netd sends at least an empty line every few seconds: raises `NotRunningError` after ``seconds`` without one.
    """
    with _connected(paths, words, seconds) as (connection, path):
        lines, keep_alives = Lines(connection, path, seconds), KeepAlives(path)
        yield answer_of(lines.read() or b"", path)
        while (line := lines.read()) is not None:
            keep_alives.check(meant=bool(line))
            if line:
                yield answer_of(line, path)


def attach(
    paths: Sequence[str], words: Sequence[str], seconds: float = 60.0
) -> tuple[Answer, socket.socket, bytearray]:
    """As `ask`, for a request that makes the connection one to a service.

    Returns the answer, the connection, and what was received on it behind the answer.
    """
    connection, path = dial(paths, words, seconds)
    lines = Lines(connection, path, seconds)
    try:
        return answer_of(lines.read() or b"", path), connection, lines.rest
    except OSError as error:
        connection.close()
        raise _broken(path, error) from None
    except BaseException:
        connection.close()
        raise


class KeepAlives:
    """Notices a peer that sends messages without a meaning, which keep a connection alive, faster than netd does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._since = time.monotonic()
        self._number = 0

    def check(self, *, meant: bool) -> None:
        """Count a message; ``meant``: it has a meaning. Raises `NotRunningError` after too many without one."""
        if meant:
            self._since, self._number = time.monotonic(), 0
            return
        self._number += 1
        if self._number > _KEEP_ALIVES * (1 + time.monotonic() - self._since):
            raise not_netd(self._path, "it sends messages without a meaning, and no others")


class Lines:
    """The lines that arrive at a connection. What was received behind the last line read is in ``rest``."""

    def __init__(self, connection: socket.socket, path: str, seconds: float) -> None:
        """``path``: the control socket, for errors. ``seconds``: the time for one line."""
        self._connection = connection
        self._path = path
        self._seconds = seconds
        self.rest = bytearray()

    def read(self) -> bytes | None:
        """The next line, without its end; None at the end of the stream. A last line may have no end.

        Raises TimeoutError and other OSErrors of the connection, and `NotRunningError` for a line that is too long.
        """
        until = time.monotonic() + self._seconds
        searched = 0
        while (end := self.rest.find(b"\n", searched)) < 0:
            searched = len(self.rest)
            if searched > _LONGEST:
                raise not_netd(self._path, "its answer is too long")
            self._connection.settimeout(max(0.001, until - time.monotonic()))
            if not (piece := self._connection.recv(65536)):
                end = searched
                break
            self.rest += piece
        line = bytes(self.rest[:end])
        ended = end < len(self.rest)
        del self.rest[: end + 1]
        return line if line or ended else None


@contextlib.contextmanager
def _connected(paths: Sequence[str], words: Sequence[str], seconds: float) -> Iterator[tuple[socket.socket, str]]:
    """A connection to the first netd that listens, with the request sent, and its path."""
    connection, path = dial(paths, words, seconds)
    with connection:
        try:
            yield connection, path
        except OSError as error:
            raise _broken(path, error) from None


def dial(paths: Sequence[str], words: Sequence[str], seconds: float = 60.0) -> tuple[socket.socket, str]:
    """A connection to the first netd that listens, with the request sent, and its path. Raises the errors of `ask`."""
    for word in words:
        if word.split() != [word]:
            raise UsageError([f"expected a word without blanks, got {word[:60]!r}"])
    failures = []
    for path in paths:
        connection = socket.socket(socket.AF_UNIX)
        # Where the queue is full, only a blocking connect(2) waits; this is its time-out (socket(7)).
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            connection.connect(
                "\0" + path[1:] if path.startswith("@") else path
            )  # abstract, written as in `Endpoint.path`
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bytes(len(limit)))
            connection.settimeout(seconds)
        except BlockingIOError:
            connection.close()
            raise _broken(path, TimeoutError()) from None
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError):
                raise NotRunningError(
                    [f"this user may not ask the netd at {path}: be root, or see daemon.control_group"]
                ) from None
            failures.append(f"{path} ({error.strerror or error})")
            continue
        try:
            connection.sendall(" ".join(words).encode("utf-8", "surrogateescape") + b"\n")
        except OSError as error:
            connection.close()
            raise _broken(path, error) from None
        return connection, path
    looked = ", ".join(failures) or "nowhere: there is neither $XDG_RUNTIME_DIR nor /run/netd"
    raise NotRunningError([f"netd is not running; looked at {looked}"])


def _broken(path: str, error: OSError) -> NotRunningError:
    return NotRunningError(
        [f"netd at {path}: {'no answer in time' if isinstance(error, TimeoutError) else error.strerror}"]
    )
