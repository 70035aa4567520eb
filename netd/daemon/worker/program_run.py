"""A program that is run for its output and its exit code: the `run` of a service's context."""

import os
from collections.abc import Callable
from select import EPOLLIN

from netd.contract import LOST, End, Finished, RunningProgram, StartProgram, Why
from netd.peer import Peer
from netd.telemetry.program_events import ProgramEvents
from netd.transport.loop import Loop
from netd.transport.stream.program import ErrorLines

_PIECE = 65536  # octets that are read at once
_PIECES = 16  # reads that empty a pipe in any case
_NO_PEER = Peer("unix", "")


def runner(
    loop: Loop, events: ProgramEvents, start: StartProgram
) -> Callable[[float, int, Callable[[Finished], object]], object]:
    """The `run` of a context, which starts programs with ``start``.

    One that does not end after its time, since it waits for a disk or a file server, is not started again meanwhile:
    each check would leave one more.
    """
    last: ProgramRun | None = None

    def run(timeout: float, most: int, ended: Callable[[Finished], object]) -> None:
        nonlocal last
        if last and last.is_open:
            return loop.call(lambda: ended(Finished(None, b"", "timeout")))
        try:
            last = ProgramRun(loop, events, start, timeout, most, ended)
        except OSError as error:  # no descriptors left
            text = str(error.strerror)
            loop.call(lambda: ended(Finished(None, b"", text)))

    return run


class ProgramRun:
    """One run. ``ended`` is called once, when the program has ended or ``timeout`` seconds have passed."""

    def __init__(
        self,
        loop: Loop,
        events: ProgramEvents,
        start: StartProgram,
        timeout: float,
        most: int,
        ended: Callable[[Finished], object],
    ) -> None:
        self._loop = loop
        self._events = events
        self._most = most
        self._ended = ended
        self._output = bytearray()
        self._pid = 0
        self._program: RunningProgram | None = None
        self._is_told = False
        self.is_open = True
        """Whether the program may still run."""
        self._errors = ErrorLines(loop, events, "")
        try:
            self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        except OSError:
            self._errors.close()
            raise
        os.set_blocking(self._reader, False)
        self._timer = loop.later(timeout, self._on_timeout)
        loop.watch(self._reader, EPOLLIN, self._on_output)
        self._program = start(_NO_PEER, {}, [self._writer, self._errors.writer], self)

    def sent(self) -> None:
        os.close(self._writer)
        self._errors.close_writer()

    def started(self, pid: int) -> None:
        self._pid = pid
        self._errors.start(pid)
        self._events.program_started("", pid)

    def not_started(self, why: Why, error: str) -> None:
        self._events.program_not_started("", error)
        self._close()
        self._tell(Finished(None, b"", error))

    def ended(self, end: End) -> None:
        self._errors.read_rest()
        # As much as the pipe holds, and no more: a child that has it may write without an end.
        for _ in range(_PIECES):
            if not self._read():
                break
        # A code is a result; a signal is none, and comes from netd too, when the time is over.
        self._events.program_ended("", self._pid, end, expected=end.code is not None and end.code >= 0)
        self._close()
        error = "" if end.code is not None else LOST
        self._tell(Finished(end.code, bytes(self._output), error, end.seconds))

    def _on_timeout(self) -> None:
        if self._program:
            self._program.stop()
        self._tell(Finished(None, bytes(self._output), "timeout"))

    def _on_output(self, mask: int) -> None:
        if self._read() is False:
            self._loop.unwatch(self._reader)

    def _read(self) -> bool | None:
        """Read a piece of output; drop what is beyond the bound. False: the end of file; None: nothing is there yet."""
        try:
            data = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return None
        self._output += data[: self._most - len(self._output)]
        return bool(data)

    def _close(self) -> None:
        self.is_open = False
        self._loop.wheel.drop(self._timer)
        self._loop.unwatch(self._reader)
        os.close(self._reader)
        self._errors.close()

    def _tell(self, finished: Finished) -> None:
        if not self._is_told:
            self._is_told = True
            self._ended(finished)
