"""Waiting for sockets and for the next moment something is due, to some microseconds."""

import select
import time
from collections.abc import Callable

Ready = Callable[[int, int], None]
"""Told the events, and the moment at which they were there."""

# epoll_wait(2) counts in milliseconds and select(2) in microseconds, but a sleeper is woken late all the same: by its
# timer slack, 50 us, and by what the scheduler takes. So the last bit of each wait is spent looking at the clock.
_SPIN = 100_000  # ns
_MILLISECOND = 1_000_000  # ns
_EVENTS = 64  # of one wait; room for them is made anew each time
_LONGEST = 3_600_000 * _MILLISECOND  # epoll takes no more than 24 days


class Poller:
    """An epoll that knows whom to call."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """To be called before the descriptor is closed."""
        self._epoll.unregister(descriptor)
        del self._ready[descriptor]

    def wait(self, until: int) -> None:
        """Call whoever is ready; return at once afterwards, or at this moment of the monotonic clock at the latest."""
        rest = min(until - time.monotonic_ns() - _SPIN, _LONGEST)
        timeout = 0.0
        if rest >= _MILLISECOND:
            timeout = rest // _MILLISECOND / 1000
        elif rest > 0:
            select.select((self._epoll,), (), (), rest / 1e9)
        found = self._epoll.poll(timeout, _EVENTS)
        now = time.monotonic_ns()
        for descriptor, events in found:
            self._ready[descriptor](events, now)

    def close(self) -> None:
        self._epoll.close()
