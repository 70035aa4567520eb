"""The messages for a member that is sent nothing but answers."""

from collections import deque
from collections.abc import Sequence

_MOST = 896
"""Octets. With a notice before and an answer after it they fit into 1,024, which is what a program usually receives at
once."""


class News:
    """The latest messages since the last answer to a member. It is called as a `Post`, and keeps what is posted."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._told = False  # that some were lost, at the last `take`

    def __call__(self, line: bytes) -> bool:
        self._lines.append(line)
        self._size += len(line)
        self._make_room()
        return True

    def put_back(self, lines: Sequence[bytes]) -> None:
        """Keep these again, for which the answer had no room, before those that were posted since."""
        self._lines.extendleft(reversed(lines))
        self._size += sum(map(len, lines))
        self._make_room()

    def _make_room(self) -> None:
        while self._size > _MOST and len(self._lines) > 1:
            self._size -= len(self._lines.popleft())
            self._lost += 1

    def take(self) -> tuple[int, bytes]:
        """Remove the messages: how many there was no room for, and the others.

        The number is told in every other call at most, else a short answer might have room for nothing else.
        """
        lost = 0 if self._told else self._lost
        self._told = lost > 0
        self._lost -= lost
        lines = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        return lost, lines
