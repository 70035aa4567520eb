"""Messages in a stream: lines, or each received segment (`Framing`)."""

from collections.abc import Generator
from typing import Literal, Protocol, TypeAlias

from netd.errors import PeerError
from netd.telnet import TelnetFilter

Framing: TypeAlias = Literal["line", "chunk"]

Receiving: TypeAlias = Generator[bytes | None, bytes, bytes | None]
"""The part of a conversation that receives a message: ``message = yield from reader.read()``; None at end of input."""


class LineTooLong(PeerError):
    """A line or message above ``limits.line``."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line may have at most {limit} octets")


class Reader(Protocol):
    """Splits the input of a stream into messages."""

    terminator: bytes
    """The line end for the answer: that of the message, or empty if it had none."""

    def read(self) -> Receiving: ...


def messages(framing: Framing, limit: int) -> Reader:
    """The reader for a ``framing`` option; ``limit`` is the longest message in octets."""
    return Lines(limit) if framing == "line" else Chunks(limit)


def split_terminator(message: bytes) -> tuple[bytes, bytes]:
    """A whole message as its text and its line end (CRLF, LF, CR NUL or none)."""
    for terminator in (b"\r\n", b"\n", b"\r\0"):
        if message.endswith(terminator):
            return message[: -len(terminator)], terminator
    return message, b""


class Chunks:
    """Reads each received segment as one message, for programs that send no line end and wait for the answer."""

    __slots__ = ("_limit", "terminator")

    def __init__(self, limit: int) -> None:
        self.terminator = b"\r\n"
        self._limit = limit

    def read(self) -> Receiving:
        """The next segment without its line end, or None at end of input.

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
    """Splits the input into lines, also that of a telnet client.

    CRLF, LF and CR NUL (RFC 854's bare carriage return) end a line. Telnet commands are removed, IAC IAC is the octet
    255, and every option is refused (`TelnetFilter`). Input after the last line end is a line too.
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
        """The next line without its line end, or None at end of input.

        Raises `LineTooLong` as soon as the line exceeds the limit, without waiting for its end.
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
            del data  # the generator would keep it in memory while it waits
            if refusal := self._telnet.refusal():
                yield refusal

    def rest(self) -> bytes:
        """Remove and return the input after the last line, for a conversation that continues without lines."""
        rest, self._buffer, self._position = self._buffer[self._position :], b"", 0
        return rest

    def _next(self) -> bytes | None:
        """The next complete line in the buffer, or None if there is none."""
        buffer, start = self._buffer, self._position
        if start == len(buffer):  # the common case: a client waits for the answer to a line
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
            # A CR at the end may be the first half of a line end, and does not count yet.
            if len(self._buffer) - self._buffer.endswith(b"\r") > self._limit:
                raise LineTooLong(self._limit)
            return None
        if end - start > self._limit:
            raise LineTooLong(self._limit)
        self._position = following
        self.terminator = b"\n" if following == end + 1 else b"\r\n"
        return buffer[start:end]
