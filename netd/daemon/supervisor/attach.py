"""The operator talks to a service through the control socket, as any peer over a UNIX socket would.

A worker gets one end of a socket pair as if it had accepted it. What comes out of the other end is passed on without
being understood.
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
from netd.transport.loop import Loop

_CHUNK = 4096  # octets taken at once; as JSON they fit into what may wait for the operator, whatever they are
_PAUSE = 0.1  # seconds, where the operator does not read


class Attachment:
    """One conversation of the operator's. ``post`` is told what the service says."""

    def __init__(self, end: socket.socket, post: Post, loop: Loop) -> None:
        self._socket = end
        self._post = post
        self._loop = loop
        self._over = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = b""
        end.setblocking(False)
        loop.watch(end.fileno(), select.EPOLLIN, self._heard)
        keep_alive(loop, post, lambda: not self._over)

    def say(self, data: bytes) -> None:
        """Say this to the service, or lose it where that does not listen."""
        with contextlib.suppress(OSError):
            self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def leave(self) -> None:
        """End it."""
        if not self._over:
            self._over = True
            if not self._unread:
                self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _heard(self, mask: int) -> None:
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
            self.leave()
        elif line and not self._post(line):
            # Who does not read is not read from, and the service notices as with any other peer.
            self._unread = line
            self._loop.unwatch(self._socket.fileno())
            self._loop.later(_PAUSE, self._try_again)

    def _try_again(self) -> float | None:
        if self._over:
            return None
        if not self._post(self._unread):
            return _PAUSE
        self._unread = b""
        self._loop.watch(self._socket.fileno(), select.EPOLLIN, self._heard)
        return None


class Attachments:
    """Lets the operator in."""

    def __init__(self, state: State, pool: WorkerPool, loop: Loop) -> None:
        self._state = state
        self._pool = pool
        self._loop = loop

    async def enter(self, service: str, post: Post) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """Begin to talk to a service: what says something to it, and what ends it. `CommandError` says why not."""
        self._state.require(service)
        if not self._pool.workers:
            raise CommandError("there is no worker at the moment; try again")
        first = self._pool.workers[min(self._pool.workers)]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            asked = self._pool.ask(Attach(service), [theirs.fileno()], [first])
        answer = (await asked).get(first, Failed("no worker listens"))
        if isinstance(answer, Failed):
            ours.close()
            raise CommandError(answer.error)
        visit = Attachment(ours, post, self._loop)
        return visit.say, visit.leave


def _line(text: str | None) -> bytes:
    """What the service said; None: it has said its last word."""
    return json_line({"end": True} if text is None else {"text": text})
