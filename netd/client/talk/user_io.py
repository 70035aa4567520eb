"""The user interface: its protocol, and the one of a pipe. ``terminal.py`` has the one of a terminal."""

import asyncio
import os
import select
import sys
from collections.abc import AsyncGenerator
from typing import Protocol

from netd.client.talk.screen import Sanitizer
from netd.client.talk.template import split

_READ_SIZE = 65536
"""Octets that are read from standard input with one call, and of the longest line that is sent in one piece."""


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
        self._within_line = False  # of the output

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
            text = self._sanitizer.feed(data, final=whole)
            if whole and (text or self._within_line) and not text.endswith("\n"):
                text += "\n"
            if text:
                self._within_line = not text.endswith("\n")
            data = encoded(text)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async def show_end(self) -> None:
        if self._sanitizer:
            await self.show(b"", whole=True)

    def has_finished(self) -> bool:
        return self._all_yielded and (self._ended or (bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)))


def encoded(text: str) -> bytes:
    """Text in the encoding of standard output."""
    return text.encode(sys.stdout.encoding, "backslashreplace")
