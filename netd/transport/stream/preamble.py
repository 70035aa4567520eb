"""Preambles: a header that names the peer, or a handshake that wraps the stream, before the service gets a connection.

A preamble is pure: it gets octets and returns values. The cheapest step comes first: the header that names the peer,
admission of that peer, the handshake, then the service. Until the service begins the connection is a
`PreambleConnection`, which counts for the limits of connections and has a short time-out.
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
"""Called with all input so far and the peer of the socket: returns the length of the header in octets, which alone are
received, and the peer that it names, or the same peer if it names none; None if the header is not complete. Raises
`PeerError` if it is no header, or this sender may not send one. It is called first with no input, so that such a sender
is refused before it sends anything; a length of 0 then means that this sender sends no header, and is the peer."""

Wrap: TypeAlias = Callable[[StreamSocket], WrappedSocket]
Transforming: TypeAlias = Callable[[Peer], Generator[bytes | None, bytes, Wrap]]
"""A handshake, as a conversation with the peer. It returns the function that wraps the socket, which holds the octets
received after the handshake. Raises `PeerError` where the peer violates the protocol."""

_TIMEOUT = 10.0
"""Seconds that a peer has for all preambles together."""
LONGEST_HEADER = 4096
"""Octets of the longest header."""
_NEW_INPUT = IN | select.EPOLLRDHUP | select.EPOLLET
"""Edge-triggered: the header is only peeked at, and the kernel is to report new input alone."""


@dataclass(frozen=True, slots=True)
class Preambles:
    """The preambles of an endpoint."""

    naming: Naming | None = None
    transforming: Transforming | None = None


NO_PREAMBLES = Preambles()


class Host(Owner, Protocol):
    """The owner of a connection that is in its preambles."""

    def admit_named(self, connection: "PreambleConnection", peer: Peer, /) -> bool:
        """Set the peer that the header names, and admit it. False: it is refused, and the connection is closed.

        A sender that may name a peer and names none is admitted itself.
        """

    def begin(self, connection: "PreambleConnection", stream: StreamSocket, /) -> None:
        """The preambles are done: have the service serve this stream."""


class PreambleConnection(Connection):
    """A connection in its preambles, before the service gets it."""

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
        names = self._preambles.naming and not self._preambles.naming(b"", self.peer)
        if names:
            self._mask = _NEW_INPUT
        super().start()
        if not names:
            self._transform()

    def trace(self, taps: Taps) -> None:
        """Preambles are not traced: a trace shows the service alone."""

    def _receive(self, mask: int) -> None:
        if self._conversation:
            self._receive_handshake(mask)
        elif self._preambles.naming:
            self._receive_header(mask, self._preambles.naming)

    def _receive_header(self, mask: int, naming: Naming) -> None:
        """Peek at the input, and receive the header once it is complete."""
        data = self._take(self.socket.recv, LONGEST_HEADER, MSG_PEEK)
        if data is None:
            return
        if not data:
            return self.close("done")
        try:
            found = naming(data, self.peer)
        except PeerError:
            found, mask = None, 0
        except BaseException as error:
            return self.fail(error)
        left = found[0] if found else 0
        while left:
            if not (header := self._take(self.socket.recv, left)):
                return
            left -= len(header)
        if found:
            self._admit_named(found[1])
        elif mask != IN or len(data) == LONGEST_HEADER:  # the peer has finished, or the header is too long
            self.bytes_in = len(data)
            self.close("peer_error")

    def _admit_named(self, peer: Peer) -> None:
        try:
            is_admitted = self._host.admit_named(self, peer)
        except BaseException as error:
            return self.fail(error)
        if is_admitted:
            self._transform()

    def _transform(self) -> None:
        if self._preambles.transforming is None:
            return self._host.begin(self, self.socket)
        try:
            self._conversation = self._preambles.transforming(self.peer)
        except BaseException as error:
            return self.fail(error)
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
        assert self._conversation, "`_transform` makes it"
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
            return self.fail(error)
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
            return self.fail(error)
        self._host.begin(self, stream)

    def _await_input(self) -> None:
        self._wait(self._owner.input, self._receive)  # its socket is not wrapped yet

    def close(self, outcome: Outcome) -> None:
        try:
            if self._conversation:
                self._conversation.close()
        except BaseException as error:
            self._owner.events.conversation_failed(self.peer, error)
        super().close(outcome)
