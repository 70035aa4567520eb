"""The contract between a service and whatever carries its bytes.

A service is a small class that never sees a socket, a thread or a logger. Over a stream it holds a conversation, a
generator that reads like blocking code::

    class Echo:
        def stream(self, peer):
            while data := (yield):      # a bare yield receives; b"" = the peer has finished sending
                yield data              # yield data sends
                                        # return closes

Over datagrams it answers one message at a time, with bytes or with None for silence. Having ``stream`` and/or
``datagram`` is the declaration of what a service supports. A service that cannot be written so has a ``handler``
instead of ``stream`` (`BlockingService`). What a service may declare besides, as attributes of the class:

``rfc``
    The number of the RFC it follows, for people who list the services.
``reflects``
    True: it answers exactly what it gets, so a transport moves the bytes without asking it: its methods are never
    called, so it has no ``shortened``, and is not ``unasked``.
``ignores_input``
    True: a stream of it never receives, so a transport throws away what comes instead of leaving it in the kernel
    until the peer can send no more (RFC 864: "the data received is thrown away"). Such a stream gets no `Post`.
``unasked``
    True: it also speaks without being asked, so ``stream`` gets one more argument, a `Post`, and ``datagram`` one that
    is None where the peer may not be spoken to unasked: over UDP its address may be forged, so only those on this host
    may, and those whom `amplify` lists.
``peer_begins``
    True: its ``handler`` says nothing before the peer has, so a connection takes a thread only once something came, for
    which it has ten seconds.
``one_worker``
    True: its peers share what it keeps in memory, so with several workers one of them serves it.
``inherit``
    A method: called with the service object before, of the same class, when a reload has changed the service; the
    conversations under way go on with that one.
``shortened``
    A method: the answer to a datagram (bytes) in at most so many octets (64 or more), where a stranger may not get all
    of it, or None where that makes no sense. An answer that cannot be shortened is dropped then.
``counters``
    A tuple of names, such as ``("started", "exited.0")``: what is counted for services of this type alone, besides what
    is counted for all. What serves the type counts it; `netd status --json` shows the sums under these names.
``Options``
    The model of its options (a `netd.values.Model`). Such a class is built as ``cls(options, context)``, any other
    as ``cls()``.

These are read once, from the class, when its type is found (`netd.services.service_type`). A public attribute with nearly such
a name, a value of another type, and two declarations that contradict each other are errors, which `netd check` and
`netd services` show. None, or False in place of True, takes back what a base class declares. The name of what a class
keeps for itself begins with an underscore.

After ``b""`` was delivered nothing more can come: a conversation that asks again is closed. A conversation that waits
for something other than its peer yields a `Wait`.

Only values live here; nothing in this file performs input or output.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, final, runtime_checkable

from netd.addresses import address_text
from netd.errors import PeerError

Conversation: TypeAlias = Generator[bytes | None, bytes, None]
"""Yields what to send, or None to receive; is sent what was received; returns to close."""

WaitingConversation: TypeAlias = "Generator[bytes | Wait | None, bytes, None]"
"""The same for one that also waits for something else (`Wait`)."""


@final
class Wait:
    """What a conversation yields to wait for something other than its peer: it is resumed after `finish`.

    Meanwhile nothing is received, and the idle time-out does not run; a peer that closes the connection ends the
    conversation. It may be resumed early, so that it says ``while not wait.done: yield wait``.
    """

    __slots__ = ("_waiting", "done")

    def __init__(self) -> None:
        self.done = False
        self._waiting: list[Callable[[], object]] = []

    def finish(self) -> None:
        """It has come. To be called in the thread of the loop."""
        self.done = True
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def then(self, resume: Callable[[], object]) -> None:
        """Call this at the `finish`, or now if that was before."""
        if self.done:
            resume()
        else:
            self._waiting.append(resume)


Receiving: TypeAlias = Generator[bytes | None, bytes, bytes | None]
"""The part of a conversation that receives one message: ``message = yield from reader.read()``; None at the end."""

Post: TypeAlias = Callable[[bytes], bool]
"""Says something to one peer, between its conversation's own words. Safe from any thread, and never waits. False when
the peer is gone, or has not read what was posted before: then it is lost."""

Transport: TypeAlias = Literal["tcp", "udp", "unix", "unixgram"]

Framing: TypeAlias = Literal["line", "chunk"]


class Credentials(NamedTuple):
    """Who is at the other end of a UNIX stream, as the kernel vouches for it (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"pid={self.pid},uid={self.uid},gid={self.gid}"

    @property
    def user(self) -> str:
        """The user alone: every process has a number of its own."""
        return f"uid={self.uid}"


class Peer(NamedTuple):
    """The other end of a conversation or datagram, and the local address it came to.

    ``host`` and ``local_host`` are numeric addresses (an IPv4 peer of a dual-stack socket is IPv4), or the socket's
    path over UNIX, which is empty for a client that did not bind one.
    """

    transport: Transport
    host: str
    port: int = 0
    local_host: str = ""
    local_port: int = 0
    credentials: Credentials | None = None

    @property
    def family(self) -> Literal["ipv4", "ipv6", "unix"]:
        if self.transport in ("unix", "unixgram"):
            return "unix"
        return "ipv6" if ":" in self.host else "ipv4"

    @property
    def remote(self) -> str:
        """The peer as text: ``192.0.2.7:5353``, ``[2001:db8::1]:5353``, ``/run/x.sock`` or ``pid=17,uid=0,gid=0``."""
        if not self.host and self.credentials:
            return str(self.credentials)
        return address_text(self.host, self.port, unix=self.family == "unix")

    @property
    def source(self) -> str:
        """What stays the same when the peer comes again: its address without the port.

        Over UNIX it is the path, or else the user.
        """
        if self.family != "unix":
            return self.host
        return self.credentials.user if not self.host and self.credentials else self.remote

    @property
    def local(self) -> str:
        """The local address it came to, as text."""
        return address_text(self.local_host, self.local_port, unix=self.family == "unix")


@dataclass(frozen=True, slots=True)
class Context:
    """What a service may know of the daemon around it; tests hand in a fixed clock and a seeded `Random`."""

    clock: Callable[[], float] = time.time
    """Seconds since 1970-01-01 00:00 UTC."""
    random: Random = field(default_factory=Random)
    line_limit: int = 4096
    """The longest line or message a peer may send, in octets (``limits.line``)."""
    inspect: Callable[[str], Mapping[str, Any]] = lambda what: {}
    """What netd says of itself: its ``status``, as `netd status --json` prints it, or the ``history`` of its numbers.
    It waits for the answer, so it is for blocking handlers alone. TimeoutError when there is none."""


@runtime_checkable
class StreamService(Protocol):
    """A service that holds conversations over TCP and UNIX streams."""

    def stream(self, peer: Peer) -> WaitingConversation: ...


@runtime_checkable
class DatagramService(Protocol):
    """A service that answers datagrams over UDP and UNIX datagram sockets."""

    def datagram(self, data: bytes, peer: Peer) -> bytes | None: ...


@runtime_checkable
class BlockingService(Protocol):
    """A service that takes a thread for each connection over TCP and UNIX streams, and blocks in it.

    ``handler`` is what `socketserver` calls a request handler: called with the socket, the client's address and the
    server, it has served the connection when it returns. So a subclass of `socketserver.BaseRequestHandler` will do, as
    an attribute of the class. It is for what comes seldom and does not take long: there are 32 threads a listener, of
    which one source gets 8, for a minute each, unless the config has `limits.per_source` and `limits.lifetime`.
    """

    def handler(self, request: Any, client_address: Any, server: Any, /) -> object: ...


class LineTooLong(PeerError):
    """A line or message above ``limits.line``."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line may have at most {limit} octets")


class Reader(Protocol):
    """Cuts what a stream brings into messages."""

    terminator: bytes
    """What to end the answer with: the line end of the message, or nothing where it had none."""

    def read(self) -> Receiving: ...


def messages(framing: Framing, limit: int) -> Reader:
    """The reader for a ``framing`` option; ``limit`` is the longest message in octets."""
    return Lines(limit) if framing == "line" else Chunks(limit)


def split_terminator(message: bytes) -> tuple[bytes, bytes]:
    """A message that came in one piece, as text and the line end it came with (CRLF, LF, CR NUL or none)."""
    for terminator in (b"\r\n", b"\n", b"\r\0"):
        if message.endswith(terminator):
            return message[: -len(terminator)], terminator
    return message, b""


class Chunks:
    """Takes each received segment as one message, for programs that send without a newline and wait for the answer."""

    __slots__ = ("_limit", "terminator")

    def __init__(self, limit: int) -> None:
        self.terminator = b"\r\n"
        self._limit = limit

    def read(self) -> Receiving:
        """The next segment without its line end, or None once the peer has finished.

        Raises `LineTooLong` for one above the limit.
        """
        data = yield None
        if not data:
            return None
        message, self.terminator = split_terminator(data)
        if len(message) > self._limit:
            raise LineTooLong(self._limit)
        return message


class Lines:
    """Reads lines as people and telnet clients send them.

    CRLF, LF and CR NUL (RFC 854's bare carriage return) end a line. Telnet commands are removed and IAC IAC is the
    octet 255; what a telnet peer wants to negotiate is refused. What comes before the end of file without a line end is
    the last line.
    """

    __slots__ = ("_buffer", "_ended", "_limit", "_position", "_telnet", "terminator")

    def __init__(self, limit: int) -> None:
        self.terminator = b"\r\n"
        self._limit = limit
        self._telnet = TelnetFilter()
        self._buffer = b""
        self._position = 0  # where the next line starts; the buffer is cut once per segment, not once per line
        self._ended = False

    def read(self) -> Receiving:
        """The next line without its end, or None once the peer has finished.

        Raises `LineTooLong` for one above the limit, as soon as that is certain.
        """
        while True:
            line = self._next()
            if line is not None:
                return line
            if self._ended:
                rest, self._buffer = self._buffer, b""
                self.terminator = b"\r\n"
                return rest.removesuffix(b"\r") or None
            data = yield None
            self._ended = not data
            self._buffer += self._telnet.strip(data)
            del data  # it would be kept for as long as this waits
            if refusal := self._telnet.refusal():
                yield refusal

    def rest(self) -> bytes:
        """What has come behind the last line, and is taken out of here: for who goes on without lines."""
        rest, self._buffer, self._position = self._buffer[self._position :], b"", 0
        return rest

    def _next(self) -> bytes | None:
        """The next complete line in the buffer, or None when there is none yet."""
        buffer, start = self._buffer, self._position
        if start == len(buffer):  # the common case: people and programs wait for the answer to a line
            self._buffer, self._position = b"", 0
            return None
        end = buffer.find(b"\n", start)
        following = end + 1
        if end > start and buffer[end - 1] == 13:
            end -= 1
        if (bare := buffer.find(b"\r\0", start, end if end >= 0 else len(buffer))) >= 0:
            end, following = bare, bare + 2
        if end < 0:
            self._buffer, self._position = buffer[start:], 0
            # A final CR may be the first half of a line end, and does not count yet.
            if len(self._buffer) - self._buffer.endswith(b"\r") > self._limit:
                raise LineTooLong(self._limit)
            return None
        if end - start > self._limit:
            raise LineTooLong(self._limit)
        self._position = following
        self.terminator = b"\n" if following == end + 1 else b"\r\n"
        return buffer[start:end]


class TelnetFilter:
    """Removes telnet commands (RFC 854) from a stream, wherever the segments were cut.

    Whatever option the peer asks for (DO) or offers (WILL) is refused, as the RFC demands of a party that does not know
    it: a telnet client shows nothing after an interrupt until its DO TIMING-MARK is answered. A refusal is never
    answered, so two of these cannot keep each other busy.
    """

    __slots__ = ("_command", "_refusals", "_state")

    _IAC, _DONT, _DO, _WONT, _WILL, _SB, _SE = 255, 254, 253, 252, 251, 250, 240
    _NEGOTIATIONS = (_WILL, _WONT, _DO, _DONT)  # one octet follows, the option

    def __init__(self) -> None:
        self._state: Literal["text", "command", "option", "sub", "sub_command"] = "text"
        self._command = 0
        self._refusals = b""

    def strip(self, data: bytes) -> bytes:
        """The text in ``data``."""
        if self._state == "text" and self._IAC not in data:
            return data
        text = bytearray()
        for octet in data:
            match self._state:
                case "text" if octet == self._IAC:
                    self._state = "command"
                case "text":
                    text.append(octet)
                case "command" if octet in self._NEGOTIATIONS:
                    self._command = octet
                    self._state = "option"
                case "command":
                    self._state = "sub" if octet == self._SB else "text"
                    if octet == self._IAC:
                        text.append(octet)
                case "option":
                    self._state = "text"
                    if self._command in (self._DO, self._WILL):
                        refusal = self._WONT if self._command == self._DO else self._DONT
                        self._refusals += bytes((self._IAC, refusal, octet))
                case "sub" if octet == self._IAC:
                    self._state = "sub_command"
                case "sub_command":
                    self._state = "text" if octet == self._SE else "sub"
        return bytes(text)

    def refusal(self) -> bytes:
        """What to answer to what came since the last call."""
        refusals, self._refusals = self._refusals, b""
        return refusals
