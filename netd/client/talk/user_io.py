"""The user interface: its protocol, and the one of a pipe. ``terminal.py`` has the one of a terminal."""

import asyncio
import os
import select
import sys
from collections.abc import AsyncGenerator
from typing import Protocol

from netd.client.talk.screen import Sanitizer, is_prompt
from netd.client.talk.template import split

_READ_SIZE = 65536
"""Octets that are read from standard input with one call, and of the longest line that is sent in one piece."""

SILENCE = 0.3
"""Seconds without data that end a line of the other end which has no line end: an answer is sent at once, and a lost
segment is repeated after 0.2 s at least (RFC 6298 as Linux has it)."""

_LINE_LIMIT = 256
"""Characters of an unfinished line that are remembered."""


class Interrupted(Exception):
    """The user has pressed Ctrl-C."""


class UserInterface(Protocol):
    """Reads input of the user, and shows what the other end sends."""

    interactive: bool
    """Whether the input is typed, so that its end (Ctrl-D) or a farewell means that the user leaves."""

    def lines(self) -> AsyncGenerator[bytes, None]:
        """The input, line by line, each with its line end if it has one."""

    async def show(self, data: bytes, *, whole: bool) -> None:
        """Show data from the other end. ``whole``: it is a message, and not a part of a stream."""

    def discard(self) -> None:
        """Do not show what waits to be shown: the user has left."""

    async def show_end(self) -> None:
        """Show the end of the other end's data."""

    def has_finished(self) -> bool:
        """Whether all input was read and sent, as far as can be found out without blocking."""


class Pipe:
    """Standard input and output, of which at most one is a terminal."""

    interactive = False

    def __init__(self) -> None:
        self._ended = False
        self._all_yielded = True  # of the octets that were read
        self._sanitizer = Sanitizer() if sys.stdout.isatty() else None
        self._unfinished = ""  # the end of the last line of the output, if it has no line end
        self._ended = False  # this side has ended that line
        self._silence: asyncio.TimerHandle | None = None

    async def lines(self) -> AsyncGenerator[bytes, None]:
        rest = b""
        while data := await self._read():
            self._all_yielded = False
            *lines, rest = split(rest + data, _READ_SIZE)
            if rest.endswith(b"\n") or len(rest) == _READ_SIZE:
                lines.append(rest)
                rest = b""
            for line in lines:
                yield line
            self._all_yielded = not rest
        self._ended = True
        if rest:
            yield rest
        self._all_yielded = True

    async def _read(self) -> bytes:
        """Wait for standard input and read it. It is not made non-blocking, since other processes may share it."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(0, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(0)
        return os.read(0, _READ_SIZE)

    async def show(self, data: bytes, *, whole: bool) -> None:
        if self._sanitizer:
            self._show_text(self._sanitizer.feed(data, final=whole), whole=whole)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _show_text(self, text: str, *, whole: bool) -> None:
        """Show text at a terminal, where an answer without a line end is followed by one."""
        if self._silence:
            self._silence.cancel()
        if self._ended and text:
            text, self._ended = text.removeprefix("\n"), False
        if whole and (text or self._unfinished) and not text.endswith("\n"):
            text += "\n"
        sys.stdout.buffer.write(encoded(text))
        sys.stdout.buffer.flush()
        self._unfinished = (self._unfinished + text).rpartition("\n")[2][-_LINE_LIMIT:]
        if self._unfinished:
            self._silence = asyncio.get_running_loop().call_later(SILENCE, self._on_silence)

    def _on_silence(self) -> None:
        if not is_prompt(self._unfinished):
            self._show_text("", whole=True)
            self._ended = True

    def discard(self) -> None:
        pass  # nothing waits

    async def show_end(self) -> None:
        if self._sanitizer:
            await self.show(b"", whole=True)

    def has_finished(self) -> bool:
        return self._all_yielded and (self._ended or (bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)))


def encoded(text: str) -> bytes:
    """Text in the encoding of standard output."""
    return text.encode(sys.stdout.encoding, "backslashreplace")
