"""Connections that a program serves: another process starts it, and netd sees none of its octets.

This process has no right to start a program, so it asks one that has (`netd.contract.StartProgram`). It keeps its copy
of the socket until the program runs, and its place in the limits until the program has ended.
"""

import os
import socket
from collections.abc import Sequence
from typing import Protocol

from netd.contract import End, ProgramObserver, RunningProgram, Why
from netd.peer import Peer
from netd.reasons import Outcome, Refusal
from netd.telemetry.program_events import ProgramEvents
from netd.telemetry.service_events import ServiceEvents
from netd.telemetry.throttle import LONGEST_LINE
from netd.transport.loop import Loop
from netd.transport.stream.connection import IN, Connection, Owner
from netd.transport.stream.stream_socket import BareSocket
from netd.transport.tap import Taps

_PIECE = 4096  # octets of standard error that are read at once
_PAUSE = 0.05  # seconds until more is read of a program: one that writes a lot waits, as with any full pipe


class ProgramService(Protocol):
    """A service that has a program serve each connection."""

    wait_for_data: float | None
    """Seconds to wait for the first octet of a peer before the program is started; None: it is started at once."""
    reads_errors: bool
    """Whether netd logs its standard error."""
    relay: bool
    """Whether the program gets a socket pair in place of the connection."""

    def start(self, peer: Peer, descriptors: list[int], observer: ProgramObserver, /) -> RunningProgram:
        """Start the program (`StartProgram`)."""


class ProgramConnection(Connection):
    """A connection that is given to a program."""

    socket: BareSocket
    is_unseen = True
    __slots__ = ("_errors", "_events", "_is_handed_over", "_pid", "_program", "_service")

    def __init__(
        self, owner: Owner, request: BareSocket, peer: Peer, service: ProgramService, events: ProgramEvents
    ) -> None:
        super().__init__(owner, request, peer)
        self._service = service
        self._events = events
        self._program: RunningProgram | None = None
        self._errors: ErrorLines | None = None
        self._is_handed_over = False
        self._pid = 0
        wait = service.wait_for_data
        self._deadline = None if wait is None else self.opened + wait

    @property
    def pid(self) -> int:  # type: ignore[override]
        return self._pid

    def start(self) -> None:
        if self._deadline is None:
            return self._hand_over()
        self._owner.loop.watch(self.descriptor, IN, self._on_first_octet)
        self._owner.loop.wheel.add(self, self._deadline)

    def trace(self, taps: Taps) -> None:
        """There is nothing to trace: the octets do not pass through this process."""

    def _next_timeout(self) -> float | None:
        return self._deadline

    def expire(self, now: float) -> None:
        """Nothing has come: start the program all the same."""
        self._hand_over()

    def _on_first_octet(self, mask: int) -> None:
        """The first octet or the end of file has come."""
        first = self._take(self.socket.recv, 1, socket.MSG_PEEK)  # the program reads it
        if first is None:
            return
        if not first:
            return self.close("done")
        self._owner.loop.wheel.drop(self)
        self._hand_over()

    def _hand_over(self) -> None:
        """Have the program started."""
        # epoll(7) would go on to report it, since the program has it open too.
        self._owner.loop.unwatch(self.descriptor)
        self._deadline = None
        self.socket.setblocking(True)
        descriptors = [self.descriptor]
        if self._service.reads_errors:
            try:
                self._errors = ErrorLines(self._owner.loop, self._events, self.peer.remote)
            except OSError as error:  # no descriptors left
                return self.not_started("resources", str(error.strerror))
            descriptors.append(self._errors.writer)
        self._is_handed_over = True
        self._program = self._service.start(self.peer, descriptors, self)

    def sent(self) -> None:
        """The connection is on its way: the peer sees its end once the program closes it."""
        self.socket.close()
        if self._errors:
            self._errors.close_writer()

    def started(self, pid: int) -> None:
        """The program runs."""
        self._pid = pid
        if self._errors:
            self._errors.start(pid)
        self._events.program_started(self.peer, pid)

    def not_started(self, why: Why, error: str) -> None:
        """The program does not run."""
        outcome = refuse(self._owner.events, self._events, self.peer, why, error)
        self._end(self._ending or outcome)

    def ended(self, end: End) -> None:
        """The program has ended."""
        if self._errors:
            self._errors.read_rest()
        self._events.program_ended(self.peer, self._pid, end, expected=bool(self._ending))
        self._end(self._ending or ("lifetime" if end.timed_out else "lost" if end.code is None else "done"))

    def close(self, outcome: Outcome) -> None:
        """End it now; a program has its time for that (`stop`), and the connection ends with it."""
        if not self._is_handed_over:
            self._owner.loop.unwatch(self.descriptor)
            return self._end(outcome)
        self._ending = self._ending or outcome
        if self._program:
            self._program.stop()

    def leave(self) -> None:
        if self._is_handed_over:
            self._end("stopped")

    def abandon(self) -> None:
        """Forget it: the loop has ended. The program goes on."""
        self._end(self._ending or "stopped")

    def _end(self, outcome: Outcome) -> None:
        if self._errors:
            self._errors.close()
            self._errors = None
        super()._end(outcome)


def refuse(events: ServiceEvents, programs: ProgramEvents, peer: Peer, why: Why, error: str) -> Outcome:
    """Count a connection for which no program was started. Returns its outcome."""
    if why != "failed":  # it was counted as accepted already
        reason: Refusal = "connections" if why == "connections" else "no_resources"
        events.connection_refused(reason, peer.credentials or peer.host)
    if why != "connections":
        programs.program_not_started(peer.remote, error)
    return "not_started" if why == "failed" else "done"


class TakesLines(Protocol):
    """The events of a program, or of what else writes to a pipe."""

    def error_lines(self, peer: str, pid: int, lines: Sequence[bytes], /) -> None:
        """Lines were written."""


class ErrorLines:
    """The standard error of a program: a pipe, each line of which is logged.

    ``reader`` is the end to read of one that another process has made, which this owns.
    """

    def __init__(self, loop: Loop, events: TakesLines, peer: str, reader: int = -1) -> None:
        self._loop = loop
        self._events = events
        self._peer = peer
        self._pid = 0
        self._line = b""
        self._is_watched = False
        self._reader, self.writer = reader, -1
        if reader < 0:
            self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
            # So that the user of the program may open /dev/stderr, and a launcher the end to read (error_pipes.py).
            os.fchmod(self.writer, 0o666)
        os.set_blocking(self._reader, False)

    def start(self, pid: int) -> None:
        """Read from now on."""
        self._pid = pid
        self._watch()

    def close_writer(self) -> None:
        """Close the other end, which the program has."""
        os.close(self.writer)
        self.writer = -1

    def _watch(self) -> None:
        if self._reader >= 0 and not self._is_watched:
            self._is_watched = True
            self._loop.watch(self._reader, IN, self._on_readable)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.unwatch(self._reader)

    def _on_readable(self, mask: int) -> None:
        data = self._read()
        if data == b"":
            self.close()
        elif data:
            self._unwatch()
            self._loop.later(_PAUSE, self._watch)

    def _read(self) -> bytes | None:
        """Read a piece and log its lines: none at the end of file; None: there is nothing yet."""
        if self._reader < 0:
            return b""
        try:
            data = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return None
        *lines, self._line = (self._line + data).split(b"\n")
        if not data or len(self._line) > LONGEST_LINE:
            lines.append(self._line)
            self._line = b""
        # Some programs write as if to a terminal, such as sshd(8).
        if found := [text for line in lines if (text := line.removesuffix(b"\r"))]:
            self._events.error_lines(self._peer, self._pid, found)
        return data

    def read_rest(self) -> None:
        """The program has ended: log what it has left in the pipe, which holds little."""
        for _ in range(16):
            if not self._read():
                return

    def close(self) -> None:
        """Read no more. What still writes, such as a child of the program, gets SIGPIPE."""
        self._unwatch()
        for descriptor in (self._reader, self.writer):
            if descriptor >= 0:
                os.close(descriptor)
        self._reader = self.writer = -1
