"""Connections that a program serves through this process (`relay: true`): it gets one end of a socket pair.

So the limits of a connection hold, its octets are counted, and what wraps the client's stream does not concern the
program.
"""

import socket

from netd.contract import End, RunningProgram, Why
from netd.peer import Peer
from netd.reasons import Outcome
from netd.telemetry.program_events import ProgramEvents
from netd.transport.loop import Timer
from netd.transport.stream.connection import Owner
from netd.transport.stream.program import ErrorLines, ProgramService, refuse
from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.stream_socket import StreamSocket

# The connection has ended by itself: the program finds its end of the pair closed, and may finish what it does.
_ENDED = ("done", "reset")


class ProgramRelay(RelayConnection):
    """A client that is joined with a program."""

    __slots__ = ("_program", "_service", "_theirs", "_waits")

    def __init__(
        self, owner: Owner, request: StreamSocket, peer: Peer, service: ProgramService, events: ProgramEvents
    ) -> None:
        ours, self._theirs = socket.socketpair()
        ours.setblocking(False)
        super().__init__(owner, request, peer, ours, on_end=self._on_ended)
        self._service = service
        self._program = RelayedProgram(self, events)
        self._waits: Timer | None = None

    @property
    def pid(self) -> int:  # type: ignore[override]
        return self._program.pid

    def start(self) -> None:
        wait = self._service.wait_for_data
        if wait is None:
            self._begin()
        else:
            self._waits = self._owner.loop.later(wait, self._begin)
        super().start()

    def _begin(self) -> None:
        """Have the program started."""
        self._waits = None
        self._program.start(self._service, self._theirs)

    def _receive(self, mask: int) -> None:
        if self._waits:
            first = self._take(self.socket.recv, 1, socket.MSG_PEEK)
            if first is None:
                return
            if not first:
                return self.close("done")
            self._owner.loop.wheel.drop(self._waits)
            self._begin()
        super()._receive(mask)

    def program_ended(self) -> None:
        """The program has ended: send what it has left to the client, and finish."""
        self.end_upstream()

    def _on_ended(self, outcome: Outcome) -> None:
        if self._waits:
            self._owner.loop.wheel.drop(self._waits)
            self._theirs.close()
        elif outcome not in _ENDED:
            self._program.stop()


class RelayedProgram:
    """The program of such a connection. It may end before the connection, or after it."""

    def __init__(self, connection: ProgramRelay, events: ProgramEvents) -> None:
        self._connection = connection
        self._events = events
        self._errors: ErrorLines | None = None
        self._end: socket.socket
        self._running: RunningProgram | None = None
        self._is_stopped = False
        self.pid = 0
        """The process id, once it is known."""

    def start(self, service: ProgramService, end: socket.socket) -> None:
        """Have it started, with this end of the pair, which is closed here."""
        self._end = end
        descriptors = [end.fileno()]
        if service.reads_errors:
            self._errors = ErrorLines(self._connection._owner.loop, self._events, self._connection.peer.remote)
            descriptors.append(self._errors.writer)
        self._running = service.start(self._connection.peer, descriptors, self)

    def stop(self) -> None:
        """End it."""
        self._is_stopped = True
        if self._running:
            self._running.stop()

    def sent(self) -> None:
        self._end.close()
        if self._errors:
            self._errors.close_writer()

    def started(self, pid: int) -> None:
        self.pid = pid
        if self._errors:
            self._errors.start(pid)
        self._events.program_started(self._connection.peer, pid)

    def not_started(self, why: Why, error: str) -> None:
        self._close_errors()
        connection = self._connection
        outcome = refuse(connection._owner.events, self._events, connection.peer, why, error)
        if connection.descriptor >= 0:
            connection.close(outcome)

    def ended(self, end: End) -> None:
        if self._errors:
            self._errors.read_rest()
        self._close_errors()
        self._events.program_ended(self._connection.peer, self.pid, end, expected=self._is_stopped)
        if self._connection.descriptor >= 0:
            self._connection.program_ended()

    def _close_errors(self) -> None:
        if self._errors:
            self._errors.close()
            self._errors = None
