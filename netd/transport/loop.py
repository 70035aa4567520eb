"""The event loop: one epoll(7) instance and one thread for all descriptors and time-outs. It does no I/O itself."""

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable

from netd.transport.wheel import Wheel

LISTENING = select.EPOLLIN | select.EPOLLEXCLUSIVE
"""The mask for a socket that several processes share: the kernel wakes one of them, not all. It cannot be modified,
only removed and added again (epoll_ctl(2))."""

_LONGEST_WAIT = 86400.0  # seconds; epoll_wait(2) takes up to 2^31 milliseconds, 24 days
_CALLS = 64  # functions that are called before other events are handled

Ready = Callable[[int], object]
"""Called with the mask of the events that occurred on a descriptor (epoll(7))."""


class Timer:
    """A function that is called once, or repeatedly."""

    def __init__(self, function: Callable[[], float | None]) -> None:
        self.slot = 0
        self._function = function

    def expire(self, now: float) -> float | None:
        again = self._function()
        return None if again is None else now + again


class Loop:
    """Waits for descriptors and time-outs, and calls their callbacks, in the thread that calls `run`.

    A watched descriptor may turn out to be closed (-1), by a thread of a handler that has the socket: then `change`,
    `redirect` and `unwatch_closing` do nothing.

    An exception that leaves a callback is a bug in the transport: it ends the loop, and `run` raises it. A MemoryError
    in the callback of a descriptor is no bug, so `on_memory_error` may end the object that has the descriptor.
    """

    def __init__(self, batch: int = 64) -> None:
        """At most ``batch`` events are handled before time-outs are checked. Use few where a callback may take long."""
        self.wheel = Wheel()
        self.now = time.monotonic()
        """The time at which epoll_wait(2) returned the events being handled (CLOCK_MONOTONIC)."""
        self.on_memory_error: Callable[[int, MemoryError], bool] = lambda descriptor, error: False
        """Called with the descriptor. Returns whether the loop goes on."""
        self.on_close: Callable[[], object] = lambda: None
        self._batch = batch
        self._epoll = select.epoll()
        self._first = select.poll()
        self._ready: list[Ready | None] = []  # by descriptor, which the kernel keeps small
        self._running = True
        self._new: set[int] = set()
        """Descriptors watched since the last batch of events. One in that batch is of an earlier file of the number."""
        self._calls: deque[Callable[[], object]] = deque()
        self.turn_end: list[Callable[[], object]] = []
        """Functions that are called at the end of this turn, or by `end_turn`."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake, select.EPOLLIN, self._woken)

    def watch(self, descriptor: int, mask: int, ready: Ready) -> None:
        """Call ``ready`` while an event of ``mask`` is present, or with EPOLLET (epoll(7)) when one occurs."""
        missing = descriptor + 1 - len(self._ready)
        if missing > 0:
            self._ready += [None] * missing
        self._epoll.register(descriptor, mask)
        self._ready[descriptor] = ready
        self._new.add(descriptor)

    def watch_first(self, descriptor: int, ready: Ready) -> None:
        """Call ``ready`` while there is input, after two batches of other events at most, however many are ready.

        epoll(7) reports those that are ready in turn. For a few descriptors that stay watched.
        """
        self.watch(descriptor, select.EPOLLIN, ready)
        self._first.register(descriptor, select.POLLIN)

    def change(self, descriptor: int, mask: int, ready: Ready) -> None:
        """Set another mask and callback for a watched descriptor."""
        if descriptor >= 0:
            self._ready[descriptor] = ready
            self._epoll.modify(descriptor, mask)

    def redirect(self, descriptor: int, ready: Ready) -> None:
        """Set another callback for the same mask."""
        if descriptor >= 0:
            self._ready[descriptor] = ready

    def unwatch_closing(self, descriptor: int) -> None:
        """Stop watching a descriptor, if it is watched, that the caller closes next, which removes it from epoll.

        Only for a descriptor that no other process has: epoll keeps a file that is open anywhere (epoll(7)).
        """
        if 0 <= descriptor < len(self._ready):
            self._ready[descriptor] = None

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a descriptor that stays open, if it is watched."""
        if self._is_watched(descriptor):
            self._ready[descriptor] = None
            self._epoll.unregister(descriptor)

    def _is_watched(self, descriptor: int) -> bool:
        return 0 <= descriptor < len(self._ready) and self._ready[descriptor] is not None

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call ``function`` in its next turn. Safe from any thread. After `close` this does nothing."""
        calls = self._calls
        calls.append(function)
        # Else another call has woken the loop, which will see this one too.
        if len(calls) == 1 and (wake := self._wake) >= 0:
            os.eventfd_write(wake, 1)

    def at_turn_end(self, function: Callable[[], object]) -> None:
        """Call ``function`` once, before the loop waits again. For the thread of the loop."""
        self.turn_end.append(function)

    def end_turn(self) -> None:
        """Call the functions of `turn_end` now: what may take long, such as the code of a service, is to call this
        first.
        """
        functions, self.turn_end = self.turn_end, []
        for function in functions:
            function()

    def later(self, seconds: float, function: Callable[[], float | None]) -> Timer:
        """Call ``function`` after so many seconds, and again after as many as it returns (None: never).

        For the thread of the loop.
        """
        timer = Timer(function)
        self.wheel.add(timer, time.monotonic() + seconds)
        return timer

    def stop(self) -> None:
        """Have `run` return after the current batch of events. For the thread of the loop; others `call` it."""
        self._running = False

    def run(self) -> None:
        """Handle events and time-outs until `stop`. Without time-outs the loop never wakes up for nothing."""
        poll, monotonic, wheel, found, batch = self._epoll.poll, time.monotonic, self.wheel, self._ready, self._batch
        first, new = self._first.poll, self._new
        while self._running:
            self.now = monotonic()
            # -1 waits without a time-out; 0 returns at once, for a time-out that has passed.
            wait = wheel.due - self.now
            if wait < 0.0:
                wait = 0.0
            elif wait > _LONGEST_WAIT:
                wait = -1.0 if wheel.due == math.inf else _LONGEST_WAIT
            events = poll(wait, batch)
            if len(events) == batch:  # more may be ready
                events = first(0) + events
            self.now = monotonic()
            if new:
                new.clear()
            for descriptor, mask in events:
                # An earlier callback may have closed the descriptor, or opened another one of its number.
                if (ready := found[descriptor]) and not (new and descriptor in new):
                    try:
                        ready(mask)
                    except MemoryError as error:
                        if not self.on_memory_error(descriptor, error):
                            raise
            if wheel.due <= self.now:
                wheel.advance(self.now)
            if self.turn_end:
                self.end_turn()

    def close(self) -> None:
        """Release the loop's own descriptors, after `run` returned."""
        self.on_close()
        self._epoll.close()
        wake, self._wake = self._wake, -1  # a late `call` must not write to a reused descriptor
        os.close(wake)

    def _woken(self, mask: int) -> None:
        os.eventfd_read(self._wake)
        self.end_turn()  # what is called here may take long
        # Others, and those that these add, run in the next turn, so that other events are handled in between.
        calls = self._calls
        for _ in range(min(len(calls), _CALLS)):
            calls.popleft()()
        if calls:
            os.eventfd_write(self._wake, 1)
