"""Preambles: a header that names the peer, a handshake that wraps the stream, a banner, before the service gets it.

A preamble is pure: it gets octets and returns values. The cheapest step comes first: the header that names the peer,
admission of that peer, the handshake, the banner, then the service. Until the service begins the connection is a
`PreambleConnection`, which counts for the limits of connections and has a short time-out.
"""

import select
from collections.abc import Callable, Generator
from dataclasses import dataclass
from socket import MSG_PEEK
from typing import Any, Protocol, TypeAlias, cast

from netd.admission.banner import NO_BANNERS, Banners
from netd.errors import PeerError
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.stream.connection import IN, OUT, Connection, Owner
from netd.transport.stream.pump import Pump
from netd.transport.stream.stream_socket import CHUNK, BareSocket, StreamSocket, WrappedSocket
from netd.transport.tap import Taps

Naming: TypeAlias = Callable[[bytes, Peer], tuple[int, Peer] | None]
"""Called with all input so far and the peer of the socket: returns the length of the header in octets, which alone are
received, and the peer that it names, or the same peer if it names none; None if the header is not complete. Raises
`PeerError` if it is no header, or this sender may not send one. It is called first with no input, so that such a sender
is refused before it sends anything; a length of 0 then means that this sender sends no header, and is the peer."""

Wrap: TypeAlias = Callable[[BareSocket], WrappedSocket]
Interrupt: TypeAlias = Callable[[PeerError], None]
Transforming: TypeAlias = Callable[[Peer, Interrupt], Generator[bytes | None, bytes, tuple[Wrap, Peer]]]
"""A handshake, as a conversation with the peer. The function that it gets raises an error in it, while it waits for
input, and so ends it in favour of others. It returns the function that wraps the socket, which holds the octets
received after the handshake, and the peer with what the handshake says of it. Raises `PeerError` where the peer
violates the protocol."""

TIMEOUT = 10.0
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
    banners: Banners = NO_BANNERS
    """Sent last; or to a peer that is refused."""

    is_wrapped: bool = False
    """Whether the stream is wrapped already, as where another service passes it on."""

    @property
    def begins_at_once(self) -> bool:
        """Whether nothing precedes the service."""
        return not (self.naming or self.transforming or self.banners.accepted)


NO_PREAMBLES = Preambles()


class Host(Owner, Protocol):
    """The owner of a connection that is in its preambles."""

    def admit_named(self, connection: "PreambleConnection", peer: Peer, /) -> bool:
        """Set the peer that the header names, and admit it. False: it is refused, and the connection is closed.

        A sender that may name a peer and names none is admitted itself.
        """

    def admit_certificate(self, connection: "PreambleConnection", stream: StreamSocket, /) -> bool:
        """Admit the peer by what its handshake says of it. False: it is refused, and the connection is closed."""

    def begin(self, connection: "PreambleConnection", stream: StreamSocket, /) -> None:
        """The preambles are done: have the service serve this stream."""


class PreambleConnection(Connection):
    """A connection in its preambles, before the service gets it."""

    __slots__ = ("_conversation", "_host", "_preambles", "_stream", "_wrap", "client_address")
    begun = False
    socket: BareSocket

    def __init__(self, host: Host, request: BareSocket, peer: Peer, client_address: Any, preambles: Preambles) -> None:
        super().__init__(host, request, peer)
        self._host = host
        self._preambles = preambles
        self.client_address = client_address
        self._conversation: Generator[bytes | None, bytes, tuple[Wrap, Peer]] | None = None
        self._wrap: Wrap | None = None
        self._rearm = False  # nothing was received
        self._stream: StreamSocket | None = None  # what the service will get, while the banner is sent
        until = self.opened + TIMEOUT
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

    def _count(self, received: int, sent: int) -> bool:
        super()._count(received, sent)
        return True  # `limits.bytes` is for the service

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
            return self._send_banner(self.socket)
        try:
            self._conversation = self._preambles.transforming(self.peer, self._interrupt)
        except BaseException as error:
            return self.fail(error)
        self._advance(None)

    def _receive_handshake(self, mask: int) -> None:
        data = self._recv(CHUNK)
        if data is None:
            return
        if not data:
            return self.close("done" if not self.bytes_in else "reset")
        self._rearm = mask != IN or len(data) == CHUNK
        self._advance(data)

    def _interrupt(self, error: PeerError) -> None:
        self._advance(None, error)

    def _advance(self, data: bytes | None, error: PeerError | None = None) -> None:
        conversation = self._conversation
        assert conversation, "`_transform` makes it"
        output = b""
        try:
            piece = conversation.throw(error) if error else conversation.send(data)  # type: ignore[arg-type]
            while piece is not None:
                output += piece
                piece = conversation.send(None)  # type: ignore[arg-type]
        except StopIteration as end:
            self._wrap, self.peer = end.value
        except PeerError as fault:
            output += fault.answer
            self._ending = "peer_error"
        except BaseException as bug:
            return self.fail(bug)
        if output:
            self._send_all(output)
        elif self._ending:
            self._finish(self._ending)
        else:
            self._continue()

    def _continue(self) -> None:
        if self._stream:
            return self._host.begin(self, self._stream)
        if self._wrap is None:
            return self._await_input()
        try:
            stream = self._wrap(self.socket)
        except BaseException as error:
            return self.fail(error)
        if self._host.admit_certificate(self, stream):
            self._send_banner(stream)

    def _send_banner(self, stream: StreamSocket) -> None:
        """Send the banner, and then have the service begin: what a peer does not read waits in its kernel, or here."""
        banner = self._preambles.banners.accepted
        if not banner:
            return self._host.begin(self, stream)
        self._stream = stream
        self.socket = cast("BareSocket", stream)  # of which only what both have is used from here on
        self._send_all(banner)

    def _send_all(self, data: bytes) -> None:
        """Send, and go on once the kernel has all of it."""
        output = self._output = Pump()
        output.pending = data
        self._flush(OUT)
        if output.pending:
            self._wait(OUT, self._flush)

    def _await_input(self) -> None:
        self._wait(self._owner.input, self._receive)  # its socket is not wrapped yet

    def close(self, outcome: Outcome) -> None:
        try:
            if self._conversation:
                self._conversation.close()
        except BaseException as error:
            self._owner.events.conversation_failed(self.peer, error)
        super().close(outcome)
