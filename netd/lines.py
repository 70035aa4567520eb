"""Messages in a stream: lines, what a pause ends, or each received segment (`Framing`)."""

import re
from collections.abc import Generator
from typing import Literal, Protocol, TypeAlias

from netd.contract import Receive
from netd.errors import PeerError
from netd.telnet import TelnetFilter

Framing: TypeAlias = Literal["auto", "line", "chunk"]

Receiving: TypeAlias = Generator[bytes | Receive | None, bytes | None, bytes | None]
"""The part of a conversation that receives a message: ``message = yield from reader.read()``; None at end of input."""

PAUSE = 0.3
"""Seconds without input after which a message may have ended without a line end. TCP keeps back the second half of a
message that is sent in two until the first one is acknowledged, which takes up to 0.2 s (RFC 9293, 3.8.6.3)."""
_LATE_LINE_END = re.compile(rb"\r?[\n\0]|\r|")
_HINT = "; framing: chunk answers without one"


class LineTooLong(PeerError):
    """A line or message above ``limits.line``."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line may have at most {limit} octets")


class Reader(Protocol):
    """Splits the input of a stream into messages."""

    terminator: bytes
    """The line end for the answer: that of the message, or empty if it had none."""

    def read(self) -> Receiving: ...

    def is_silent(self, seconds: float) -> Generator[bytes | Receive | None, bytes | None, bool]:
        """Whether no message begins within so many seconds. One that begins is kept for `read`."""
        ...


def messages(framing: Framing, limit: int, pause: float = PAUSE) -> Reader:
    """The reader for a ``framing`` option; ``limit`` is the longest message in octets, ``pause`` is in seconds."""
    match framing:
        case "auto":
            return Messages(limit, pause)
        case "line":
            return Lines(limit, pause, _HINT)
        case "chunk":
            return Chunks(limit)


def split_terminator(message: bytes) -> tuple[bytes, bytes]:
    """A whole message as its text and its line end (CRLF, LF, CR NUL or none)."""
    for terminator in (b"\r\n", b"\n", b"\r\0"):
        if message.endswith(terminator):
            return message[: -len(terminator)], terminator
    return message, b""


class Chunks:
    """Reads each received segment as one message, for programs that send no line end and wait for the answer."""

    __slots__ = ("_limit", "_next", "terminator")

    def __init__(self, limit: int) -> None:
        self.terminator = b"\r\n"
        self._limit = limit
        self._next: bytes | None = None  # what `is_silent` has received

    def read(self) -> Receiving:
        """The next segment without its line end, or None at end of input.

        Raises `LineTooLong` for one above the limit.
        """
        data, self._next = self._next, None
        if data is None:
            data = yield None
        if not data:
            return None
        message, self.terminator = split_terminator(data)
        if len(message) > self._limit:
            raise LineTooLong(self._limit)
        return message

    def is_silent(self, seconds: float) -> Generator[Receive, bytes | None, bool]:
        """Whether no segment comes within so many seconds."""
        self._next = yield Receive(seconds)
        return not self._next


class Lines:
    """Splits the input into lines, also that of a telnet client.

    CRLF, LF and CR NUL (RFC 854's bare carriage return) end a line. Telnet commands are removed, IAC IAC is the octet
    255, and every option is refused (`TelnetFilter`). Input after the last line end is a line too. After ``pause``
    seconds without the rest of a line, `Receive.unanswered` says so, with the ``hint``.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_hint",
        "_is_undecided",
        "_limit",
        "_pause",
        "_position",
        "_telnet",
        "terminator",
    )

    def __init__(self, limit: int, pause: float = PAUSE, hint: str = "") -> None:
        self.terminator = b"\r\n"
        self._limit = limit
        self._pause = pause
        self._hint = hint
        self._telnet = TelnetFilter()
        self._buffer = b""
        self._position = 0  # where the next line starts; the buffer is cut once per segment, not once per line
        self._ended = False
        self._is_undecided = False

    def read(self) -> Receiving:
        """The next line without its line end, or None at end of input.

        Raises `LineTooLong` as soon as the line exceeds the limit, without waiting for its end.
        """
        while True:
            line = self._next()
            if line is not None:
                return line
            if self._ended:
                return self._rest()
            data = yield None if not self._buffer else Receive(self._pause)
            if data is None:
                message = self._on_pause()
                if message is not None:
                    return message
                data = yield Receive(None, self._unanswered(), len(self._buffer))
                assert data is not None
            self._ended = not data
            self._buffer += self._telnet.strip(data)
            del data  # the generator would keep it in memory while it waits
            if refusal := self._telnet.refusal():
                yield refusal

    def is_silent(self, seconds: float) -> Generator[bytes | Receive, bytes | None, bool]:
        """Whether no octet of a line comes within so many seconds, or ever."""
        while not self._buffer and not self._ended:
            data = yield Receive(seconds)
            if data is None:
                return True
            self._ended = not data
            self._buffer += self._telnet.strip(data)
            if refusal := self._telnet.refusal():
                yield refusal
        return not self._buffer

    def rest(self) -> bytes:
        """Remove and return the input after the last line, for a conversation that continues without lines."""
        rest, self._buffer, self._position = self._buffer[self._position :], b"", 0
        return rest

    def _rest(self) -> bytes | None:
        """The last line, which has no line end; None: there is none."""
        self.terminator = b"\r\n"
        return self.rest().removesuffix(b"\r") or None

    def _on_pause(self) -> bytes | None:
        """The message that has ended with a pause; None: the rest of it may come later."""
        return None

    def _decide(self) -> None:
        """What has come is the first text of the peer, or of a message."""

    def _unanswered(self) -> str:
        number = len(self._buffer)
        return f"{number} octet{'s' * (number != 1)} without a line end{self._hint}"

    def _next(self) -> bytes | None:
        """The next complete line in the buffer, or None if there is none."""
        buffer, start = self._buffer, self._position
        if start == len(buffer):  # the common case: a client waits for the answer to a line
            self._buffer, self._position = b"", 0
            return None
        if self._is_undecided:
            self._decide()
            if not (buffer := self._buffer):
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


class Messages(Lines):
    """As `Lines`, and a pause ends the messages of a program that sends no line ends.

    These are messages of a peer that has sent no line end yet, if two octets or more came first. So a line stays whole
    where a telnet client sends each key, and where a segment of it comes late, unless it is the first line. The answer
    to such a message has no line end; a CR without LF or NUL after it counts as one. A line end that comes late, in a
    segment of its own, ends no second message.
    """

    __slots__ = ("_is_answered", "_pauses")

    def __init__(self, limit: int, pause: float = PAUSE) -> None:
        super().__init__(limit, pause, _HINT)
        self._is_undecided = True  # until a line end comes
        self._pauses: bool | None = None  # whether a pause ends a message; None: nothing has come yet
        self._is_answered = False  # a pause has ended the message before, of which the line end may come now

    def _decide(self) -> None:
        if self._is_answered:
            self._drop_line_end()
        if b"\n" in self._buffer or b"\r\0" in self._buffer:
            self._is_undecided = self._pauses = False
        elif self._pauses is None:
            self._pauses = len(self._buffer) > 1

    def _drop_line_end(self) -> None:
        """Remove the line end of the message before, if it has come."""
        line_end = _LATE_LINE_END.match(self._buffer)
        assert line_end
        self._buffer = self._buffer[line_end.end() :]
        self._is_answered = not self._buffer
        if line_end[0][-1:] in (b"\n", b"\0"):
            self._is_undecided = self._pauses = False

    def _on_pause(self) -> bytes | None:
        if not self._pauses:
            return None
        self._is_answered = True
        return self._rest() or b""

    def _rest(self) -> bytes | None:
        message = self.rest()
        text = message.removesuffix(b"\r")
        self.terminator = b"\r\n" if text != message else b""
        return text or None
