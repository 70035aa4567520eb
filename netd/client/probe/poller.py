"""Waits for sockets, and for a moment of the clock with a precision of some microseconds."""

import select
import time
from collections.abc import Callable

Ready = Callable[[int, int], None]
"""Called with the mask of epoll events, and the time at which epoll reported them (monotonic, nanoseconds)."""

# epoll_wait(2) counts in milliseconds and select(2) in microseconds, but both return late: by the timer slack, 50 us,
# and by the time of the scheduler. So the poller spins for the last 100 us of each wait.
_SPIN = 100_000  # ns
_MILLISECOND = 1_000_000  # ns
_EVENTS = 64  # of one wait; epoll.poll allocates memory for them each time
_MAX_WAIT = 3_600_000 * _MILLISECOND  # an hour; epoll_wait(2) takes 24 days at most


class Poller:
    """An epoll instance with a callback for each descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def watch(self, descriptor: int, mask: int, ready: Ready) -> None:
        self._epoll.register(descriptor, mask)
        self._ready[descriptor] = ready

    def change(self, descriptor: int, mask: int) -> None:
        self._epoll.modify(descriptor, mask)

    def unwatch(self, descriptor: int) -> None:
        """Call this before the descriptor is closed."""
        self._epoll.unregister(descriptor)
        del self._ready[descriptor]

    def wait(self, until: int) -> None:
        """Wait for events until this time (monotonic, nanoseconds), run the callbacks, and return."""
        remaining = min(until - time.monotonic_ns() - _SPIN, _MAX_WAIT)
        timeout = 0.0
        if remaining >= _MILLISECOND:
            timeout = remaining // _MILLISECOND / 1000
        elif remaining > 0:
            select.select((self._epoll,), (), (), remaining / 1e9)
        found = self._epoll.poll(timeout, _EVENTS)
        now = time.monotonic_ns()
        for descriptor, mask in found:
            self._ready[descriptor](mask, now)

    def close(self) -> None:
        self._epoll.close()
