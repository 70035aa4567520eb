"""The memory of connections that have ended: malloc(3) keeps it, until it is told to give it back to the kernel."""

import ctypes
import time
from collections.abc import Callable

_MANY = 1000
"""Connections that have ended, for which it is worth it: over TLS they have left some 15 MB."""
_PAUSE = 60.0
"""Seconds between two times. One takes some 0.15 milliseconds for a MB, in which nothing is served."""
_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none


class Heap:
    """Gives memory back once most of many connections have ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns monotonic seconds."""
        self._clock = clock
        self._most = 0  # connections since the last time
        self._next = -_PAUSE

    def settle(self, connections: int) -> None:
        """So many connections are open now. To be called now and then."""
        self._most = max(self._most, connections)
        ended = self._most - connections
        if ended >= _MANY and ended >= connections and (now := self._clock()) >= self._next:
            self._most, self._next = connections, now + _PAUSE
            if _trim:
                _trim(0)  # malloc_trim(3)
