"""The messages for a member that is sent nothing but answers."""

from collections import deque

_MOST = 896
"""Octets. With a notice before and an answer after it they fit into 1,024, which is what a program usually receives at
once."""


class News:
    """The latest messages since the last answer to a member. It is called as a `Post`, and keeps what is posted."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0

    def __call__(self, line: bytes) -> bool:
        self._lines.append(line)
        self._size += len(line)
        while self._size > _MOST and len(self._lines) > 1:
            self._size -= len(self._lines.popleft())
            self._lost += 1
        return True

    def take(self) -> tuple[int, bytes]:
        """Remove the messages: how many there was no room for, and the others."""
        lost, lines = self._lost, b"".join(self._lines)
        self._lines.clear()
        self._size = self._lost = 0
        return lost, lines
