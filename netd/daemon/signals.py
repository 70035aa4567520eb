"""Signals as events of the loop: Python writes their numbers to a pipe (`signal.set_wakeup_fd`)."""

import contextlib
import os
import select
import signal
from collections.abc import Callable

from netd.transport.loop import Loop

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """A context in which the loop calls ``on_signal`` with the name of each signal.

    After it the signals are ignored, so that a late one does not change the exit code of the process.
    """

    def __init__(self, loop: Loop, on_signal: Callable[[str], None]) -> None:
        self._loop = loop
        self._on_signal = on_signal

    def __enter__(self) -> "Signals":
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _WATCHED:
            signal.signal(number, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)  # `netd run` blocks some until now
        self._loop.watch(self._reader, select.EPOLLIN, self._on_readable)
        return self

    def __exit__(self, *exception: object) -> None:
        for number in _WATCHED:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def _on_readable(self, mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            # Repeated signals count once. SIGTERM and SIGINT do not: the second one does not wait for conversations.
            numbers = list(os.read(self._reader, 4096))
            for number in dict.fromkeys(numbers):
                stops = number in (signal.SIGTERM, signal.SIGINT)
                for _ in range(numbers.count(number) if stops else 1):
                    self._on_signal(signal.Signals(number).name)
