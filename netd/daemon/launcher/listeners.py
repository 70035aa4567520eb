"""Programs that get a listening socket and accept by themselves (inetd's wait): one at a time, started on demand."""

import contextlib
import os
import socket
from collections.abc import Callable
from select import EPOLLIN
from time import monotonic

from netd.contract import End
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.spawn import StartError
from netd.daemon.messages.to_launcher import Program
from netd.daemon.resource_limits import open_above_limit
from netd.telemetry.program_events import how_ended
from netd.transport.loop import Loop, Timer

_DELAYS = (0.25, 1.0, 4.0, 15.0, 30.0)  # seconds until a program that keeps failing is started again
_STABLE = 10.0  # seconds that a program has to run for the delays to begin anew
# Programs that serve one datagram and end may follow one another: so many at once, and so many a second, else with a
# pause. One that ends without having read anything must not keep a processor busy.
_BURST, _RATE, _PAUSE = 40.0, 10.0, 0.1


class ProgramListener:
    """A listening socket, and the program that is started when something waits in it.

    While the program runs nothing else polls the socket; when it ends, what is still queued starts it again. A program
    that ends at once again and again is started with growing pauses.
    """

    def __init__(
        self,
        listener: socket.socket,
        program: Program,
        programs: Programs,
        loop: Loop,
        null: int,
        started: Callable[[Running], object],
        ended: Callable[[Running, End], object],
        failed: Callable[[Program, str], object],
        held: Callable[[Program, int], object],
        log_errors: Callable[[Running, int], object],
    ) -> None:
        """``held`` is called with the process id of a program before it runs, and with 0 when it has ended;
        ``log_errors`` with the pipe from which standard error of a program can be read.
        """
        self._listener = listener
        self._program = program
        self._programs = programs
        self._loop = loop
        self._null = null
        self._started = started
        self._ended = ended
        self._failed = failed
        self._held = held
        self._log_errors = log_errors
        self._running: Running | None = None
        self._failures = 0
        self._starts = _BURST  # that may follow without a pause
        self._last_start = 0.0
        self._timer: Timer | None = None
        self._is_watched = False

    def start(self) -> None:
        """Start the program when something comes."""
        if self._timer is None and self._running is None and not self._is_watched:
            self._watch()

    def _watch(self) -> float | None:
        self._timer = None
        self._is_watched = True
        self._loop.watch(self._listener.fileno(), EPOLLIN, self._on_ready)
        return None

    def _on_ready(self, mask: int) -> None:
        self._is_watched = False
        self._loop.unwatch(self._listener.fileno())
        if self._programs.is_ending(self._program.service):
            return self._poll_after(_PAUSE)  # one that a reload has replaced still has the socket
        self._listener.setblocking(True)
        number = self._listener.fileno()
        reader, errors = -1, self._null
        if self._program.errors == "log":
            with contextlib.suppress(OSError):  # no descriptors are left: better the program without its log than none
                reader, errors = os.pipe2(os.O_CLOEXEC)
        try:
            running = self._programs.start_listener(
                self._program,
                (number, number, errors),
                self._on_end,
                number,
                lambda pid: self._held(self._program, pid),
            )
        except StartError as error:
            self._held(self._program, 0)
            if reader >= 0:
                os.close(reader)
            self._failed(self._program, str(error))
            return self._poll_after(self._failure_delay())
        finally:
            if errors != self._null:
                os.close(errors)
        running.is_owned = False
        self._running = running
        self._started(running)
        if reader >= 0:  # from now on, so that its start is logged before its lines
            running.errors = os.fstat(reader).st_ino
            self._log_errors(running, reader)

    def adopt(self, pid: int, seconds: float) -> Running | None:
        """Keep a program of this socket that another launcher has started. None: it has ended."""
        pidfd = -1
        with contextlib.suppress(OSError):  # it has ended, or there is no room for a descriptor
            pidfd = open_above_limit(lambda: os.pidfd_open(pid))
        if pidfd < 0:
            self._held(self._program, 0)
            return None
        self._running = self._programs.adopt(self._program, pid, pidfd, monotonic() - seconds, self._on_end)
        return self._running

    def _on_end(self, running: Running, end: End) -> None:
        self._running = None
        self._held(self._program, 0)
        self._ended(running, end)
        if self._listener.fileno() < 0:
            return
        if end.seconds >= _STABLE:
            self._failures = 0
        self._poll_after(self._success_delay() if how_ended(end) == "success" else self._failure_delay())

    def _failure_delay(self) -> float:
        delay = _DELAYS[min(self._failures, len(_DELAYS) - 1)]
        self._failures += 1
        return delay

    def _success_delay(self) -> float:
        self._failures = 0
        now = self._loop.now
        self._starts = min(_BURST, self._starts + (now - self._last_start) * _RATE) - 1
        self._last_start = now
        return 0.0 if self._starts > 0 else _PAUSE

    def _poll_after(self, delay: float) -> None:
        if delay:
            self._timer = self._loop.later(delay, self._watch)
        else:
            self._watch()

    def close(self) -> None:
        """End the program, which has the socket open, and close the socket here."""
        if self._timer:
            self._loop.wheel.drop(self._timer)
        if self._running:
            self._programs.end(self._running)
        else:
            self._loop.unwatch(self._listener.fileno())
        self._listener.close()
