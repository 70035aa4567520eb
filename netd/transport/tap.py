"""Looking on while a service is served: a `Tap` collects what comes and goes, bounded, for `netd trace`.

A tap stands between a server and its sockets, and is put there when somebody looks: sockets are replaced by ones that
tell. So nothing on the way of an octet knows of it while nobody looks. What a tap has no room for is counted and not
kept: it never makes the service wait.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from netd.peer import Peer

SHOWN = 256
"""Octets of a message that are kept to be shown; of the others, only how many."""
_ROOM = 20_000  # octets of all that waits to be taken, so that it goes out in one packet
_OVERHEAD = 120  # octets that a line takes besides

Way = Literal["opened", "in", "out", "end", "closed"]
"""A connection began, octets or a datagram came or went, the peer has finished sending, a connection is over."""
Line = tuple[float, Way, str, int, str]
"""When (Unix time), what, the peer, how many octets, and the first ones of them in hexadecimal."""


class Tap:
    """What came and went at one service in this process since it was taken last. Safe from any thread.

    ``wanted`` says whose is of interest, and ``flush`` is called when there is something to take.
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
        """``size`` octets came or went; ``data`` is them, or empty where they went by without being looked at."""
        if not self._wanted(peer):
            return
        with self._lock:
            first = not self._lines and not self._skipped
            if self._size > _ROOM:
                self._skipped += 1
            else:
                line = (time.time(), way, peer.remote, size, bytes(data[:SHOWN]).hex())
                self._size += _OVERHEAD + len(line[2]) + len(line[4])
                self._lines.append(line)
        if first:
            self._flush(self)

    def take(self) -> tuple[list[Line], int]:
        """What there is to tell, and how many lines found no room."""
        with self._lock:
            lines, skipped = self._lines, self._skipped
            self._lines, self._size, self._skipped = [], 0, 0
        return lines, skipped

    def skip(self, number: int) -> None:
        """So many lines could not be told."""
        with self._lock:
            self._skipped += number


Taps = Sequence[Tap]


class TracedSocket:
    """A stream socket that tells what it receives and sends, and otherwise is the socket it stands before."""

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
        """Of one that may hold octets."""
        return int(self._inner.pending())

    def shutdown(self, how: int) -> None:
        self._inner.shutdown(how)

    def fileno(self) -> int:
        return int(self._inner.fileno())

    def close(self) -> None:
        self._inner.close()


class TracedDatagramSocket:
    """A datagram socket that tells what it receives and sends one by one."""

    __slots__ = ("_peer_of", "_taps", "socket")

    def __init__(self, inner: Any, peer_of: Callable[[Any, Any], Peer], taps: Taps) -> None:
        self.socket = inner
        self._peer_of = peer_of
        self._taps = taps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def recvmsg(self, size: int, room: int) -> Any:
        message = self.socket.recvmsg(size, room)
        data, ancillary, _, address = message
        self._note("in", data, ancillary, address)
        return message

    def sendmsg(self, parts: list[bytes], ancillary: Any, flags: int, address: Any) -> int:
        sent: int = self.socket.sendmsg(parts, ancillary, flags, address)
        self._note("out", parts[0], ancillary, address)
        return sent

    def _note(self, way: Way, data: bytes, ancillary: Any, address: Any) -> None:
        with contextlib.suppress(OSError):  # an address that makes no sense is for the server to refuse
            peer = self._peer_of(address, ancillary)
            for tap in self._taps:
                tap.record(peer, way, len(data), data)
