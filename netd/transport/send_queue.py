"""A bounded queue of the messages that services post, from any thread, until the loop sends them in order."""

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

OVERHEAD = 64
"""Octets that each message counts for besides its own, so that empty ones are bounded too."""


class SendQueue(Generic[T]):
    """Messages that wait for the loop. ``wake`` is called when the queue is no longer empty, in the posting thread."""

    __slots__ = ("_lock", "_most", "_size", "_waiting", "_wake")

    def __init__(self, most: int, wake: Callable[[], object]) -> None:
        """At most ``most`` octets wait, `OVERHEAD` of each message included."""
        self._most = most
        self._wake = wake
        self._lock = Lock()
        self._waiting: deque[T] | None = deque()
        self._size = 0

    def __bool__(self) -> bool:
        """Whether a message waits."""
        return bool(self._waiting)

    def put(self, data: bytes, piece: T) -> bool:
        """Append ``piece``, which counts as ``data``. False if the queue is full or closed.

        Raises TypeError if ``data``, which a service has posted, is not bytes.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"what is posted is bytes, not {type(data)}")
        size = len(data) + OVERHEAD
        with self._lock:
            if self._waiting is None or self._size + size > self._most:
                return False
            self._waiting.append(piece)
            self._size += size
            first = len(self._waiting) == 1
        if first:
            self._wake()
        return True

    def take(self) -> deque[T]:
        """Remove and return all messages."""
        with self._lock:
            taken, self._size = self._waiting or deque(), 0
            if self._waiting is not None:
                self._waiting = deque()
        return taken

    def close(self) -> None:
        """Discard all messages, and accept no more."""
        with self._lock:
            self._waiting = None
