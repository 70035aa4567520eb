"""Taps: copies of what a service receives and sends, bounded, for `netd trace`.

While a trace runs, the sockets of a service are replaced by traced ones, which pass a copy to each `Tap`. So tracing
costs nothing while no trace runs. A tap that is full counts what it skips: it never makes the service wait.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from netd.peer import Peer

SHOWN = 256
"""Octets of a message that are kept. Of the rest only the number is."""
_MOST = 20_000  # octets of all lines that wait, so that they fit into one packet to the supervisor
_OVERHEAD = 120  # octets that a line takes besides its text

Way = Literal["opened", "in", "out", "end", "unanswered", "closed"]
"""A connection was opened, octets or a datagram were received or sent, the peer has finished sending, the peer gets no
answer as yet, it was closed."""
Line = tuple[float, Way, str, int, str, str]
"""The time (Unix time), the event, the peer, the number of octets, and the first of them in hexadecimal; of
``unanswered`` a text in their place (UTF-8). Last the proxy that has named the peer, or empty."""


class Tap:
    """The lines of one service in this process since the last `take`. Safe from any thread.

    ``wanted`` selects the peers to trace. ``flush`` is called when the first line waits.
    """

    def __init__(self, service: str, wanted: Callable[[Peer], bool], flush: Callable[["Tap"], None]) -> None:
        self.service = service
        self._wanted = wanted
        self._flush = flush
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._size = 0
        self._skipped = 0

    def record(self, peer: Peer, way: Way, size: int = 0, data: bytes | memoryview = b"") -> None:
        """Add a line. ``data`` is the ``size`` octets, or empty where splice(2) moved them unseen; of ``unanswered`` a
        text.
        """
        if not self._wanted(peer):
            return
        with self._lock:
            first = not self._lines and not self._skipped
            if self._size > _MOST:
                self._skipped += 1
            else:
                line = (time.time(), way, peer.remote, size, bytes(data[:SHOWN]).hex(), peer.via)
                self._size += _OVERHEAD + len(line[2]) + len(line[4]) + len(line[5])
                self._lines.append(line)
        if first:
            self._flush(self)

    def take(self) -> tuple[list[Line], int]:
        """Remove and return all lines, with the number of lines that were skipped."""
        with self._lock:
            lines, skipped = self._lines, self._skipped
            self._lines, self._size, self._skipped = [], 0, 0
        return lines, skipped

    def skip(self, number: int) -> None:
        """Count lines that were taken and could not be sent."""
        with self._lock:
            self._skipped += number


Taps = Sequence[Tap]


class TracedSocket:
    """A stream socket that records what it receives and sends, and otherwise passes each call to ``inner``."""

    __slots__ = ("_inner", "_peer", "_taps")

    def __init__(self, inner: Any, peer: Peer, taps: Taps) -> None:
        self._inner = inner
        self._peer = peer
        self._taps = taps

    def recv(self, size: int) -> bytes:
        data: bytes = self._inner.recv(size)
        for tap in self._taps:
            tap.record(self._peer, "in" if data else "end", len(data), data)
        return data

    def send(self, data: bytes | memoryview) -> int:
        sent: int = self._inner.send(data)
        for tap in self._taps:
            tap.record(self._peer, "out", sent, data[: min(sent, SHOWN)])
        return sent

    def pending(self) -> int:
        """As `WrappedSocket.pending`, where ``inner`` is one."""
        return int(self._inner.pending())

    def shutdown(self, how: int) -> None:
        self._inner.shutdown(how)

    def fileno(self) -> int:
        return int(self._inner.fileno())

    def close(self) -> None:
        self._inner.close()


class TracedDatagramSocket:
    """A datagram socket that records each datagram it receives and sends."""

    __slots__ = ("_peer_of", "_taps", "socket")

    def __init__(self, inner: Any, peer_of: Callable[[Any, Any], Peer], taps: Taps) -> None:
        self.socket = inner
        self._peer_of = peer_of
        self._taps = taps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def recvmsg(self, size: int, ancillary_size: int) -> Any:
        message = self.socket.recvmsg(size, ancillary_size)
        data, ancillary, _, address = message
        self._record("in", data, ancillary, address)
        return message

    def sendmsg(self, parts: list[bytes], ancillary: Any, flags: int, address: Any) -> int:
        sent: int = self.socket.sendmsg(parts, ancillary, flags, address)
        self._record("out", parts[0], ancillary, address)
        return sent

    def _record(self, way: Way, data: bytes, ancillary: Any, address: Any) -> None:
        with contextlib.suppress(OSError):  # the server refuses an address that makes no sense
            peer = self._peer_of(address, ancillary)
            for tap in self._taps:
                tap.record(peer, way, len(data), data)
