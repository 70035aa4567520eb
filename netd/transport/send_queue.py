"""What services post, from any thread, until the loop sends it: in order, and bounded."""

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

OVERHEAD = 64
"""Octets that each piece is counted for besides those in it."""


class SendQueue(Generic[T]):
    """Pieces that wait for the loop. ``wake`` is called when the first one comes, by the thread that posts it."""

    __slots__ = ("_lock", "_most", "_size", "_waiting", "_wake")

    def __init__(self, most: int, wake: Callable[[], object]) -> None:
        """``most`` octets may wait, each piece with its `OVERHEAD`."""
        self._most = most
        self._wake = wake
        self._lock = Lock()
        self._waiting: deque[T] | None = deque()
        self._size = 0

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def put(self, data: bytes, piece: T) -> bool:
        """Have ``piece`` wait, which is counted as ``data``. False where it found no room, or the queue is closed.

        TypeError where a service posts something other than bytes.
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
        """All that waits, which waits no more."""
        with self._lock:
            taken, self._size = self._waiting or deque(), 0
            if self._waiting is not None:
                self._waiting = deque()
        return taken

    def close(self) -> None:
        """Forget what waits, and take nothing more."""
        with self._lock:
            self._waiting = None
