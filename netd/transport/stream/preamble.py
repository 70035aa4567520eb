"""What comes on a connection before the service: a header that names the peer, a handshake that wraps the stream.

A preamble is pure: it gets octets and gives values. The order is that of the cost: what names the peer, then admission
of that peer, then what transforms the stream, then the service. Until then the connection is a `PreambleConnection`,
which has places and little time.
"""

import select
from collections.abc import Callable, Generator
from dataclasses import dataclass
from socket import MSG_PEEK
from typing import Any, Protocol, TypeAlias

from netd.errors import PeerError
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream.connection import IN, Connection, Owner
from netd.transport.stream.stream_socket import CHUNK, BareSocket, StreamSocket, WrappedSocket
from netd.transport.tap import Taps

Naming: TypeAlias = Callable[[bytes, Peer], tuple[int, Peer] | None]
"""Given all that has come, and the peer as the socket has it: how many octets its header has, which alone are taken,
and the peer that it names; or None where more has to come. `PeerError` where it is no header, or this sender may not
send one, which it is asked before anything has come. So a stranger takes no place by saying nothing."""

Wrap: TypeAlias = Callable[[StreamSocket], WrappedSocket]
Transforming: TypeAlias = Callable[[Peer], Generator[bytes | None, bytes, Wrap]]
"""Holds a conversation with the peer, as a service does, and returns what is put before the socket from then on, with
what it has received and is not its own. `PeerError` where the peer does not keep to the protocol."""

_TIMEOUT = 10.0
"""Seconds a peer has for all of it."""
_MOST = 4096
"""Octets of the longest header."""
_NEW_INPUT = IN | select.EPOLLRDHUP | select.EPOLLET
"""What is looked at stays in the kernel, which is to tell of more alone."""


@dataclass(frozen=True, slots=True)
class Preambles:
    """Those of an endpoint."""

    naming: Naming | None = None
    transforming: Transforming | None = None


NO_PREAMBLES = Preambles()


class Host(Owner, Protocol):
    """What a connection before its service knows of that which keeps it."""

    def admit_named(self, connection: "PreambleConnection", peer: Peer, /) -> bool:
        """It is of this peer. Whether that is let in; else it is over."""

    def begin(self, connection: "PreambleConnection", stream: StreamSocket, /) -> None:
        """Nothing more comes before the service, which has this stream from now on."""


class PreambleConnection(Connection):
    """A connection that the service does not have yet."""

    __slots__ = ("_conversation", "_host", "_preambles", "_wrap", "client_address")
    begun = False
    socket: BareSocket

    def __init__(self, host: Host, request: BareSocket, peer: Peer, client_address: Any, preambles: Preambles) -> None:
        super().__init__(host, request, peer)
        self._host = host
        self._preambles = preambles
        self.client_address = client_address
        self._conversation: Generator[bytes | None, bytes, Wrap] | None = None
        self._wrap: Wrap | None = None
        until = self.opened + _TIMEOUT
        self._deadline = until if self._deadline is None else min(self._deadline, until)

    def start(self) -> None:
        if self._preambles.naming:
            self._mask = _NEW_INPUT
        super().start()
        if not self._preambles.naming:
            self._transform()

    def trace(self, taps: Taps) -> None:
        """What is not the service's is not shown."""

    def _receive(self, mask: int) -> None:
        if self._conversation:
            self._receive_handshake(mask)
        elif self._preambles.naming:
            self._receive_header(mask, self._preambles.naming)

    def _receive_header(self, mask: int, naming: Naming) -> None:
        """Look at what has come, and take the header once it is there."""
        data = self._take(self.socket.recv, _MOST, MSG_PEEK)
        if data is None:
            return
        if not data:
            return self.close("done")
        try:
            found = naming(data, self.peer)
        except PeerError:
            found, mask = None, 0
        except BaseException as error:
            return self._fail(error)
        left = found[0] if found else 0
        while left:
            if not (header := self._take(self.socket.recv, left)):
                return
            left -= len(header)
        if found:
            self._admit_named(found[1])
        elif mask != IN or len(data) == _MOST:  # the peer has finished, or there can be no more of it
            self.bytes_in = len(data)
            self.close("peer_error")

    def _admit_named(self, peer: Peer) -> None:
        try:
            is_admitted = self._host.admit_named(self, peer)
        except BaseException as error:
            return self._fail(error)
        if is_admitted:
            self._transform()

    def _transform(self) -> None:
        if self._preambles.transforming is None:
            return self._host.begin(self, self.socket)
        try:
            self._conversation = self._preambles.transforming(self.peer)
        except BaseException as error:
            return self._fail(error)
        self._advance(None)

    def _receive_handshake(self, mask: int) -> None:
        data = self._recv(CHUNK)
        if data is None:
            return
        if not data:
            return self.close("done" if not self.bytes_in else "reset")
        self._rearm = True
        self._advance(data)

    def _advance(self, data: bytes | None) -> None:
        assert self._conversation, "it has begun"
        output = b""
        try:
            while (piece := self._conversation.send(data)) is not None:  # type: ignore[arg-type]
                output += piece
                data = None
        except StopIteration as end:
            self._wrap = end.value
        except PeerError as error:
            output += error.answer
            self._ending = "peer_error"
        except BaseException as error:
            return self._fail(error)
        if output and not self._send(output):
            return
        if self._ending:
            self._finish(self._ending)
        else:
            self._continue()

    def _continue(self) -> None:
        if self._wrap is None:
            return self._await_input()
        try:
            stream = self._wrap(self.socket)
        except BaseException as error:
            return self._fail(error)
        self._host.begin(self, stream)

    def _await_input(self) -> None:
        self._wait(self._owner.input, self._receive)  # nothing is put before its socket

    def _fail(self, error: BaseException) -> None:
        """A bug in a preamble ends this connection alone."""
        self._owner.events.conversation_failed(self.peer, error)
        self.close("failed")

    def close(self, outcome: Outcome) -> None:
        try:
            if self._conversation:
                self._conversation.close()
        except BaseException as error:
            self._owner.events.conversation_failed(self.peer, error)
        super().close(outcome)
