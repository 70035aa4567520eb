"""The loop: one epoll, one thread, everything that is waited for. It performs no input or output of its own."""

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable

from netd.transport.wheel import Wheel

LISTENING = select.EPOLLIN | select.EPOLLEXCLUSIVE
"""The events of a socket that several processes share: one of them is woken, not all (epoll_ctl(2)). They cannot be
changed, only given up and taken again."""

Ready = Callable[[int], None]
"""Called with the events (epoll(7)) of a descriptor."""


class Timer:
    """Something to be done once, or again and again."""

    def __init__(self, function: Callable[[], float | None]) -> None:
        self.slot = 0
        self._function = function

    def expire(self, now: float) -> float | None:
        again = self._function()
        return None if again is None else now + again


class Loop:
    """Waits for descriptors and time-outs, and calls what belongs to them, in the thread that calls `run`.

    A descriptor that is watched may turn out to be closed (-1), by a thread that a handler has lent its socket to: then
    there is nothing to change, to redirect or to forget.

    An exception that leaves a callback is a bug in the transport: it ends the loop, and `run` raises it.
    """

    def __init__(self, batch: int = 256) -> None:
        """``batch`` events are handled at most before time-outs are looked at. Few where a handler may take long."""
        self.wheel = Wheel()
        self.now = time.monotonic()
        """When the events being handled came (CLOCK_MONOTONIC)."""
        self._batch = batch
        self._epoll = select.epoll()
        self._ready: list[Ready | None] = []  # by descriptor, which the kernel keeps small
        self._running = True
        self._calls: deque[Callable[[], object]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake, select.EPOLLIN, self._woken)

    def watch(self, descriptor: int, mask: int, ready: Ready) -> None:
        """Call ``ready`` whenever one of the events is there, or with EPOLLET (epoll(7)) comes."""
        missing = descriptor + 1 - len(self._ready)
        if missing > 0:
            self._ready += [None] * missing
        self._ready[descriptor] = ready
        self._epoll.register(descriptor, mask)

    def change(self, descriptor: int, mask: int, ready: Ready) -> None:
        """Wait for other events of a watched descriptor, or call something else."""
        if descriptor >= 0:
            self._ready[descriptor] = ready
            self._epoll.modify(descriptor, mask)

    def redirect(self, descriptor: int, ready: Ready) -> None:
        """Call something else for the same events."""
        if descriptor >= 0:
            self._ready[descriptor] = ready

    def unwatch_closing(self, descriptor: int) -> None:
        """Stop watching a descriptor that is about to be closed, which takes it out of epoll.

        Only for one that no other process has: epoll keeps what is open anywhere (epoll(7)).
        """
        if descriptor >= 0:
            self._ready[descriptor] = None

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a descriptor that stays open, if it is watched."""
        if self._is_watched(descriptor):
            self._ready[descriptor] = None
            self._epoll.unregister(descriptor)

    def _is_watched(self, descriptor: int) -> bool:
        return 0 <= descriptor < len(self._ready) and self._ready[descriptor] is not None

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call ``function`` soon. Safe from any thread. Nothing happens once it is closed."""
        self._calls.append(function)
        if (wake := self._wake) >= 0:
            os.eventfd_write(wake, 1)

    def later(self, seconds: float, function: Callable[[], float | None]) -> Timer:
        """Call ``function`` after so many seconds, and again after as many as it returns. For the loop's own thread."""
        timer = Timer(function)
        self.wheel.add(timer, time.monotonic() + seconds)
        return timer

    def stop(self) -> None:
        """Let `run` return after the callbacks under way. For use in the loop's own thread; others use `call`."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`. A wait without time-outs costs no wake-up."""
        poll, monotonic, wheel, found, batch = self._epoll.poll, time.monotonic, self.wheel, self._ready, self._batch
        while self._running:
            self.now = monotonic()
            # An infinite wait is -1, and a wait that is over by now is 0.
            wait = -1.0 if wheel.due == math.inf else max(0.0, wheel.due - self.now)
            events = poll(wait, batch)
            self.now = monotonic()
            for descriptor, mask in events:
                # A callback before this one may have closed the descriptor, or put a new one in its place, for which
                # a wake-up without cause must do no harm.
                if ready := found[descriptor]:
                    ready(mask)
            if wheel.due <= self.now:
                wheel.advance(self.now)

    def close(self) -> None:
        """Release the loop's own descriptors, after `run` returned."""
        self._epoll.close()
        wake, self._wake = self._wake, -1  # who is late must not write into what gets this number next
        os.close(wake)

    def _woken(self, mask: int) -> None:
        os.eventfd_read(self._wake)
        # What these calls ask for comes in the next turn, so that work in slices lets events in between.
        for _ in range(len(self._calls)):
            self._calls.popleft()()
