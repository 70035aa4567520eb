"""Signals as something the loop hears of. A handler does nothing; a descriptor tells which one came."""

import contextlib
import os
import select
import signal
from collections.abc import Callable

from netd.transport.loop import Loop

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """While it is entered, ``heard`` is called in the loop with the name of each signal that came.

    At the end they are ignored: one that comes when the process is about to exit must not change how it does.
    """

    def __init__(self, loop: Loop, heard: Callable[[str], None]) -> None:
        self._loop = loop
        self._heard = heard

    def __enter__(self) -> "Signals":
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _WATCHED:
            signal.signal(number, lambda number, frame: None)
        self._loop.watch(self._reader, select.EPOLLIN, self._ready)
        return self

    def __exit__(self, *exception: object) -> None:
        for number in _WATCHED:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def _ready(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            # Any number of one kind is one, but of those that stop: the second one means something else than the first.
            numbers = list(os.read(self._reader, 4096))
            for number in dict.fromkeys(numbers):
                stops = number in (signal.SIGTERM, signal.SIGINT)
                for _ in range(numbers.count(number) if stops else 1):
                    self._heard(signal.Signals(number).name)
