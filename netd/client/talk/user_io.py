"""Who talks from this end: a program behind a pipe. `terminal.py` has the person at a terminal."""

import asyncio
import os
import select
import sys
from collections.abc import AsyncGenerator
from typing import Protocol

from netd.client.talk.screen import Sanitizer
from netd.client.talk.template import split

_MOST_AT_ONCE = 65536
"""Octets that are read from standard input with one call, and the longest line that is sent in one piece."""


class Interrupted(Exception):
    """The person wants to leave at once (Ctrl-C)."""


class UserInterface(Protocol):
    """Whoever talks from this end."""

    present: bool
    """Whether somebody sits there, so that the end of what they say is theirs to decide: they leave then."""

    def lines(self) -> AsyncGenerator[bytes, None]:
        """What they say, line by line, each with its line end if it has one."""

    async def show(self, data: bytes, *, whole: bool) -> None:
        """Show what came from the other end; ``whole`` where that is a message, and not a part of a stream."""

    async def show_end(self) -> None:
        """Show that nothing more comes."""

    def has_finished(self) -> bool:
        """Whether nothing more comes from them, as far as can be told without waiting."""


class Pipe:
    """Standard input and output as a program has them, or a terminal that is only one of the two."""

    present = False

    def __init__(self) -> None:
        self._ended = False
        self._said_all = True  # of what has been read
        self._sanitizer = Sanitizer() if sys.stdout.isatty() else None
        self._within = False

    async def lines(self) -> AsyncGenerator[bytes, None]:
        begun = b""
        while data := await self._read():
            self._said_all = False
            *lines, begun = split(begun + data, _MOST_AT_ONCE)
            if begun.endswith(b"\n") or len(begun) == _MOST_AT_ONCE:
                lines.append(begun)
                begun = b""
            for line in lines:
                yield line
            self._said_all = not begun
        self._ended = True
        if begun:
            yield begun
        self._said_all = True

    async def _read(self) -> bytes:
        """Wait for standard input, which others may have open too: so it is not made non-blocking."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(0, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(0)
        return os.read(0, _MOST_AT_ONCE)

    async def show(self, data: bytes, *, whole: bool) -> None:
        if self._sanitizer:
            text = self._sanitizer.feed(data, final=whole)
            if whole and (text or self._within) and not text.endswith("\n"):
                text += "\n"
            if text:
                self._within = not text.endswith("\n")
            data = encoded(text)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async def show_end(self) -> None:
        if self._sanitizer:
            await self.show(b"", whole=True)

    def has_finished(self) -> bool:
        return self._said_all and (self._ended or (bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)))


def encoded(text: str) -> bytes:
    """Text as standard output has it."""
    return text.encode(sys.stdout.encoding, "backslashreplace")
