"""Connections that a program serves through this process (`relay: true`): it gets one end of a socket pair.

So the limits of a connection hold, its octets are counted, and what wraps the client's stream does not concern the
program.
"""

import socket

from netd.contract import End, RunningProgram, Why
from netd.peer import Peer
from netd.reasons import Outcome
from netd.telemetry.program_events import ProgramEvents
from netd.transport.stream.connection import Owner
from netd.transport.stream.program import ErrorLines, ProgramService, refuse
from netd.transport.stream.stream_socket import StreamSocket
from netd.transport.stream.waiting_relay import WaitingRelay


class ProgramRelay(WaitingRelay):
    """A client that is joined with a program."""

    __slots__ = ("_closed_as", "_program", "_service", "_theirs")

    def __init__(
        self, owner: Owner, request: StreamSocket, peer: Peer, service: ProgramService, events: ProgramEvents
    ) -> None:
        ours, self._theirs = socket.socketpair()
        ours.setblocking(False)
        super().__init__(owner, request, peer, ours)
        self._service = service
        self._program = RelayedProgram(self, events)
        self._closed_as: Outcome | None = None  # the client has gone, and the program has not ended

    @property
    def pid(self) -> int:  # type: ignore[override]
        return self._program.pid

    def start(self) -> None:
        wait = self._service.wait_for_data
        if wait is None:
            self._begin()
        else:
            self._wait_for_first(wait, self._begin)
        super().start()

    def _begin(self) -> None:
        """Have the program started."""
        self._waits = None
        self._program.start(self._service, self._theirs)

    def program_ended(self, outcome: Outcome = "done") -> None:
        """The program has ended, or was not started: send what it has left to the client, and finish."""
        if self._closed_as:
            super()._end(self._closed_as)
        elif outcome == "done":
            self.end_upstream()
        else:
            self.close(outcome)

    def _end(self, outcome: Outcome) -> None:
        """Both sockets are closed. It has its place in the limits until the program has ended too."""
        if self._wait_no_more():
            self._theirs.close()
        if not self._program.is_running:
            return super()._end(outcome)
        if self._closed_as is None:
            self._closed_as = outcome
            self._owner.loop.wheel.drop(self)
            self.socket.close()
        if outcome != "done":
            self._program.stop()

    def abandon(self) -> None:
        """Forget it: the loop has ended. The program goes on."""
        super()._end(self._closed_as or "stopped")


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
        self.is_running = False
        """Whether it was asked for, and has not ended."""

    def start(self, service: ProgramService, end: socket.socket) -> None:
        """Have it started, with this end of the pair, which is closed here."""
        self._end = end
        descriptors = [end.fileno()]
        if service.reads_errors:
            try:
                self._errors = ErrorLines(self._connection._owner.loop, self._events, self._connection.peer.remote)
            except OSError as error:  # no descriptors left
                end.close()
                return self.not_started("resources", str(error.strerror))
            descriptors.append(self._errors.writer)
        self.is_running = True
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
        self.is_running = False
        connection = self._connection
        connection.program_ended(refuse(connection._owner.events, self._events, connection.peer, why, error))

    def ended(self, end: End) -> None:
        if self._errors:
            self._errors.read_rest()
        self._close_errors()
        self.is_running = False
        self._events.program_ended(self._connection.peer, self.pid, end, expected=self._is_stopped)
        self._connection.program_ended()

    def _close_errors(self) -> None:
        if self._errors:
            self._errors.close()
            self._errors = None
