"""Connections of tcpmux (RFC 1078): the first line names the service that goes on with the connection.

The line alone is received, so what follows it is for that service, also where a program has the socket or splice(2)
moves the octets. Behind TLS there is nothing to peek at, so the line comes octet by octet.
"""

import select
from socket import MSG_PEEK
from typing import Any, Protocol

from netd.admission.control import Ticket
from netd.peer import Peer
from netd.transport.stream.connection import IN, Connection, Owner
from netd.transport.stream.stream_socket import StreamSocket

LONGEST = 256
"""Octets of the longest line, without its line end."""
TIMEOUT = 10.0
"""Seconds that a peer has for the line."""
_NEW_INPUT = IN | select.EPOLLRDHUP | select.EPOLLET  # the line is peeked at until it is complete
_HELP = b"help"


class Target(Protocol):
    """A service that can be named."""

    @property
    def is_plain(self) -> bool:
        """Whether it sends the line that begins with + by itself."""

    def admit_passed(self, stream: StreamSocket, peer: Peer, /) -> Ticket | None:
        """The ticket of a connection that is admitted. None: it is refused and counted, and still open."""

    def adopt(self, stream: StreamSocket, peer: Peer, client_address: Any, ticket: Ticket, /) -> None:
        """Serve an admitted connection."""

    def release_ticket(self, ticket: Ticket, /) -> None:
        """Release the ticket of a connection that is not served."""


class Switch(Owner, Protocol):
    """The owner of such a connection."""

    targets: dict[str, Target]
    """By name, in lower case."""

    def hand_over(self, connection: "TcpmuxConnection", /) -> StreamSocket:
        """End a connection here, and leave its socket open: returns that."""


class TcpmuxConnection(Connection):
    """A connection before its service is known."""

    __slots__ = ("_client_address", "_line", "_switch")

    def __init__(self, switch: Switch, request: StreamSocket, peer: Peer, client_address: Any) -> None:
        super().__init__(switch, request, peer)
        self._switch = switch
        self._client_address = client_address
        self._line = b""
        until = self.opened + TIMEOUT
        self._deadline = until if self._deadline is None else min(self._deadline, until)

    @property
    def stream(self) -> StreamSocket:
        """Its socket, without a trace."""
        return self._untraced

    def start(self) -> None:
        if not self._owner.wraps:
            self._mask = _NEW_INPUT
        super().start()
        if self._owner.wraps:
            self._await_input()

    def _receive(self, mask: int) -> None:
        if self._owner.wraps:
            return self._receive_wrapped()
        bare: Any = self._untraced
        data = self._take(bare.recv, LONGEST + 2, MSG_PEEK)
        if data is None:
            return
        if not data:
            return self.close("done")
        line, end, _ = data.partition(b"\n")
        if end:
            if self._recv(len(line) + 1):
                self._choose(line)
        elif mask != IN or len(data) == LONGEST + 2:
            self.close("peer_error")  # it has finished, or the line is too long

    def _receive_wrapped(self) -> None:
        while len(self._line) < LONGEST + 2:
            octet = self._take(self._untraced.recv, 1)
            if octet is None:
                if self.descriptor >= 0:
                    self._rearm = True
                    self._await_input()
                return
            if not octet:
                return self.close("peer_error" if self._line else "done")
            self._count(1, 0)
            if octet == b"\n":
                return self._choose(self._line)
            self._line += octet
        self.close("peer_error")

    def _choose(self, line: bytes) -> None:
        """The line is complete."""
        name = line.removesuffix(b"\r").lower()
        if name == _HELP:
            return self._answer(b"".join(f"{one}\r\n".encode() for one in sorted(self._switch.targets)))
        target = self._switch.targets.get(name.decode("latin-1"))
        if target is None:
            return self._answer(b"-no such service\r\n")
        stream = self._untraced
        ticket = target.admit_passed(stream, self.peer)
        if ticket is None:
            return self._answer(b"-not available\r\n")
        if not (target.is_plain or self._send(b"+\r\n")):
            target.release_ticket(ticket)  # a peer that is gone, since the buffer of a new connection has room
            return self.close("reset") if self.descriptor >= 0 else None
        self._mask = 0  # what was received already, and a call waits for, is the target's (`_receive_pending`)
        target.adopt(self._switch.hand_over(self), self.peer, self._client_address, ticket)

    def _answer(self, data: bytes) -> None:
        """Send this, and finish."""
        self._ending = "done"
        self._keep(data)
        self._flush(select.EPOLLOUT)
