"""Pipes for workers to read: standard error of programs that they have not started, or that a killed worker has.

This process reads none of it: what a program writes may come from the network.
"""

import contextlib
import os
import stat
from collections.abc import Mapping

from netd.daemon.launcher.programs import Running
from netd.daemon.launcher.workers import WorkerClient
from netd.daemon.messages.programs import ErrorPipe

_MOST_WAITING = 256  # pipes that wait for a worker: other programs get SIGPIPE


class ErrorPipes:
    """Gives the reading ends of pipes to one of these workers, or to the next one if there is none."""

    def __init__(self, workers: Mapping[int, WorkerClient]) -> None:
        self._workers = workers
        self._waiting: list[tuple[Running, int]] = []

    def give(self, running: Running, reader: int) -> None:
        """Have a worker read the standard error of a program from this descriptor, which is closed here."""
        for worker in self._workers.values():
            running.errors_read_by = worker.number
            message = ErrorPipe(running.pid, running.program.service, running.peer)
            return worker.give(message.encode(), reader)
        if len(self._waiting) == _MOST_WAITING:
            return os.close(reader)
        self._waiting.append((running, reader))

    def give_waiting(self) -> None:
        """There is a worker again."""
        waiting, self._waiting = self._waiting, []
        for running, reader in waiting:
            self.give(running, reader)

    def recover(self, running: Running) -> None:
        """Have another worker read what a killed one has read. A program that writes before gets SIGPIPE."""
        path = f"/proc/{running.pid}/fd/2"
        with contextlib.suppress(OSError):  # it has ended, or closed its standard error, or has more rights than this
            found = os.stat(path)
            if stat.S_ISFIFO(found.st_mode) and found.st_ino == running.errors:
                self.give(running, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
