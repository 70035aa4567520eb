"""Client of the control socket of a running netd: one request, or a request and the messages that follow.

A command that only sends a request should answer at once, so nothing is imported here that takes long to import.
"""

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from netd.errors import NotRunningError, UsageError

Answer = dict[str, Any]

_LONGEST = 2**24  # octets of an answer


def ask(paths: Sequence[str], words: Sequence[str], seconds: float = 60.0) -> Answer:
    """Send a request to the first netd that listens on one of these paths, and return its answer.

    Raises `NotRunningError` where none listens or answers, and `UsageError` for an empty word or one with blanks: a
    request is a line of words.
    """
    with _connected(paths, words, seconds) as (connection, path):
        connection.shutdown(socket.SHUT_WR)
        return _answer(connection, path)


def follow(paths: Sequence[str], words: Sequence[str], seconds: float = 60.0) -> Iterator[Answer]:
    """As `ask`, for a request that netd answers with a series of messages, until netd closes the connection.

    netd sends at least an empty line every few seconds: raises `NotRunningError` after ``seconds`` without one.
    """
    with _connected(paths, words, seconds) as (connection, path):
        with connection.makefile("rb") as lines:
            while line := lines.readline(_LONGEST):
                if line.strip():
                    yield _object(line, path)


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
        connection.settimeout(seconds)
        try:
            connection.connect(
                "\0" + path[1:] if path.startswith("@") else path
            )  # abstract, written as in `Endpoint.path`
        except OSError as error:
            connection.close()
            failures.append(f"{path} ({error.strerror or error})")
            continue
        try:
            connection.sendall(" ".join(words).encode("utf-8", "surrogateescape") + b"\n")
        except OSError as error:
            connection.close()
            raise _broken(path, error) from None
        return connection, path
    looked = ", ".join(failures) or "nowhere: there is neither $XDG_RUNTIME_DIR nor /run/netd"
    raise NotRunningError([f"netd is not running, or this user may not connect to it; looked at {looked}"])


def _broken(path: str, error: OSError) -> NotRunningError:
    return NotRunningError(
        [f"netd at {path}: {'no answer in time' if isinstance(error, TimeoutError) else error.strerror}"]
    )


def _answer(connection: socket.socket, path: str) -> Answer:
    pieces = []
    size = 0
    while piece := connection.recv(65536):
        pieces.append(piece)
        size += len(piece)
        if size > _LONGEST:
            break
    return _object(b"".join(pieces), path)


def _object(data: bytes, path: str) -> Answer:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NotRunningError([f"the process that listens at {path} is not netd: its answer is no JSON object"])
    return answer
