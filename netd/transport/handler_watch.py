"""Handlers that hang: that neither read nor write for long, and do not wait for their client either.

While handlers run, each is looked at once a second. One that is in a call of its socket waits for its client, for which
there are time-outs. Any other one waits for something else, or computes: its processor time tells which.
"""

import os
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from types import CodeType, FrameType
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary, ref

from netd.peer import Peer
from netd.telemetry.service_events import ServiceEvents
from netd.transport.handler_threads import HandlerThreads
from netd.transport.loop import Loop

HANGS = 10.0
"""Seconds without reading or writing after which a handler hangs."""
_INTERVAL = 1.0  # seconds between two looks
SWITCH_INTERVAL, _LONG, _FOR_ONE = 0.0005, 0.02, 0.0001
"""Seconds of the switch interval (`sys.setswitchinterval`): the least; the most; for each handler.

While a handler computes, the loop waits for the interpreter's lock for that long, so it is short. But each thread that
waits for the lock wakes after that long to ask again, which costs more than all else when there are many.
"""
LONGEST_PLACE = 300
"""Characters of the place where a handler hangs."""
# A handler hangs in a line of the code that netd serves, not of what that calls.
_NETD = f"{os.path.dirname(os.path.dirname(__file__))}{os.sep}"
_LIBRARY = f"{sysconfig.get_path('stdlib')}{os.sep}"
_PACKAGES = (f"{_LIBRARY}site-packages{os.sep}", f"{_LIBRARY}dist-packages{os.sep}")


class Served(Protocol):
    """What a handler serves: a connection, or a datagram."""

    @property
    def peer(self) -> Peer:
        """Its client."""

    @property
    def events(self) -> ServiceEvents:
        """Those of its service."""

    @property
    def active(self) -> float:
        """When it has read or written last, or begun."""


class Hanging(NamedTuple):
    """A handler that hangs."""

    events: ServiceEvents
    at: str
    """The line of its code, such as ``/srv/x.py:7 in handle``."""
    peer: str
    seconds: float
    """For how long."""
    cpu_seconds: float
    """The processor time that its thread has used meanwhile."""


@dataclass(slots=True)
class _Call:
    """A handler that runs, as it was at the last look."""

    served: Served
    clock: int
    since: float
    used: float
    told: bool = False


class Beside(Protocol):
    """A thread that runs the handlers of many connections in turn, such as a loop of asyncio."""

    thread: threading.Thread
    running: int
    """The number of its handlers."""

    def serves(self, now: float) -> tuple[Served | None, float]:
        """What it serves now, and since when it has served nothing else."""


class HandlerWatch:
    """The handlers that run in threads of this process. All but `begin` and `end` is for the thread of the loop."""

    def __init__(self, loop: Loop) -> None:
        self.hanging: list[Hanging] = []
        """Those that hang, as of the last look."""
        self.threads = HandlerThreads()
        """Those of all handlers."""
        self.beside: Beside | None = None
        self._loop = ref(loop)
        self._running: dict[int, _Call] = {}  # by thread
        self._beside: _Call | None = None
        self._counted: set[ServiceEvents] = set()
        self._looks = False
        self._is_fresh = False  # a handler is to begin, and may not be among those that run yet

    def begin(self, served: Served) -> None:
        """A handler begins, in this thread."""
        thread = threading.get_ident()
        self._running[thread] = _Call(served, time.pthread_getcpuclockid(thread), monotonic(), time.thread_time())

    def end(self) -> None:
        """The handler of this thread has returned."""
        del self._running[threading.get_ident()]

    def look(self) -> None:
        """Look at all handlers once a second, from now on until none runs. A handler begins."""
        self._share()
        self._is_fresh = True
        if not self._looks and (loop := self._loop()):
            self._looks = True
            loop.later(_INTERVAL, self._look)

    def _share(self) -> None:
        sys.setswitchinterval(min(_LONG, max(SWITCH_INTERVAL, len(self._running) * _FOR_ONE)))

    def _look(self) -> float | None:
        now, frames = monotonic(), sys._current_frames()
        # With this frame itself they would be a circle, and hold the files and sockets of all handlers.
        del frames[threading.get_ident()]
        found = []
        for thread, call in list(self._running.items()):
            frame, active = frames.get(thread), call.served.active
            waits = frame is not None and frame.f_code in _WAITING
            found.append(self._judge(call, frame, now if waits else max(call.since, active), now))
        self._share()
        if self.beside:
            found.append(self._look_beside(self.beside, frames, now))
        self.hanging = [one for one in found if one]
        numbers = Counter(one.events for one in self.hanging)
        for events in self._counted | numbers.keys():
            events.handlers_hanging(numbers[events])
        self._counted = set(numbers)
        self._looks = bool(self._running or self._is_fresh or (self.beside and self.beside.running))
        self._is_fresh = False
        return _INTERVAL if self._looks else None

    def _look_beside(self, beside: Beside, frames: dict[int, FrameType], now: float) -> Hanging | None:
        served, since = beside.serves(now)
        thread = beside.thread.ident
        if served is None or thread is None:
            self._beside = None
            return None
        if self._beside is None or self._beside.since < since:
            clock = time.pthread_getcpuclockid(thread)
            self._beside = _Call(served, clock, since, time.clock_gettime(clock))
        return self._judge(self._beside, frames.get(thread), since, now)

    def _judge(self, call: _Call, frame: FrameType | None, since: float, now: float) -> Hanging | None:
        """What there is to say of it, if it hangs."""
        try:
            used = time.clock_gettime(call.clock)
        except OSError:  # the thread has ended
            return None
        if since > call.since:
            call.since, call.used, call.told = since, used, False
        seconds = now - call.since
        if seconds < HANGS or frame is None:
            return None
        served = call.served
        one = Hanging(served.events, _place(frame), served.peer.remote, seconds, max(0.0, used - call.used))
        if not call.told:
            call.told = True
            one.events.handler_stalled(served.peer, one.at, one.seconds, one.cpu_seconds)
        return one


def _place(frame: FrameType) -> str:
    """The innermost line that is neither of Python's library nor of netd."""
    found: FrameType | None = frame
    while found and _is_library(found.f_code.co_filename):
        found = found.f_back
    found = found or frame
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"[:LONGEST_PLACE]


def _is_library(file: str) -> bool:
    return file.startswith((_NETD, "<frozen")) or (file.startswith(_LIBRARY) and not file.startswith(_PACKAGES))


_WAITING: set[CodeType] = set()


def waits_for_client(method: Callable[..., object]) -> None:
    """A handler with a thread in this method waits for its client."""
    _WAITING.add(method.__code__)


_watches: WeakKeyDictionary[Loop, HandlerWatch] = WeakKeyDictionary()


def watch_of(loop: Loop) -> HandlerWatch:
    """The handlers that this loop has threads for."""
    if loop not in _watches:
        _watches[loop] = HandlerWatch(loop)
    return _watches[loop]
