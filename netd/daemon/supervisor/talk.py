"""`netd talk --service`: connects the operator at the control socket to a service, as a peer over a UNIX socket.

A worker gets one end of a socketpair(2) as if it had accepted it. The supervisor passes on what it receives at the
other end, and does not interpret it.
"""

import codecs
import contextlib
import select
import socket
from collections.abc import Callable

from netd.contract import Post
from netd.daemon.json_lines import json_line, keep_alive
from netd.daemon.messages.from_supervisor import Attach
from netd.daemon.messages.from_worker import Failed
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.text import printable
from netd.transport.loop import Loop

_CHUNK = 4096  # octets read at once; any octets, written as JSON, fit into the send queue of the operator's connection
_PAUSE = 0.1  # seconds until the next try, while that queue is full


class Attachment:
    """A connection of the operator to a service. ``post`` sends lines to the operator."""

    def __init__(self, end: socket.socket, post: Post, loop: Loop) -> None:
        self._socket = end
        self._post = post
        self._loop = loop
        self._closed = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = b""
        end.setblocking(False)
        loop.watch(end.fileno(), select.EPOLLIN, self._on_readable)
        keep_alive(loop, post, lambda: not self._closed)

    def send(self, data: bytes) -> None:
        """Send this to the service. Lost if the socket's buffer is full."""
        with contextlib.suppress(OSError):
            self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Close the connection to the service."""
        if not self._closed:
            self._closed = True
            if not self._unread:
                self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _on_readable(self, mask: int) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        text = self._decoder.decode(data, final=not data)
        line = _line(text) if text else b""
        if not data:
            self._post(line + _line(None))
            self.close()
        elif line and not self._post(line):
            # The operator does not read. Nothing more is read from the service, which notices, as with any other peer.
            self._unread = line
            self._loop.unwatch(self._socket.fileno())
            self._loop.later(_PAUSE, self._post_unread)

    def _post_unread(self) -> float | None:
        if self._closed:
            return None
        if not self._post(self._unread):
            return _PAUSE
        self._unread = b""
        self._loop.watch(self._socket.fileno(), select.EPOLLIN, self._on_readable)
        return None


class Attachments:
    """Opens the operator's connections to services."""

    def __init__(self, state: State, pool: WorkerPool, loop: Loop) -> None:
        self._state = state
        self._pool = pool
        self._loop = loop

    async def open(self, service: str, post: Post) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """Connect to a service. Returns a function that sends to it, and one that closes the connection.

        Raises `CommandError` if there is no such service, no worker, or the worker refuses.
        """
        self._state.require(service)
        if (first := self._pool.worker_of(service)) is None:
            raise CommandError("there is no worker at the moment; try again")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            asked = self._pool.ask(Attach(service), [theirs.fileno()], [first])
        answer = (await asked).get(first, Failed("the worker did not answer"))
        if isinstance(answer, Failed):
            ours.close()
            raise CommandError(printable(answer.error[:1000]))
        attachment = Attachment(ours, post, self._loop)
        return attachment.send, attachment.close


def _line(text: str | None) -> bytes:
    """A line for the operator: what the service sent; None: the service closed the connection."""
    return json_line({"end": True} if text is None else {"text": text})
