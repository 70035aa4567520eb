"""A program at a terminal in memory, for what a person sees."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

from tests.support.pseudoterminal import read_terminal

_END = b"\x1b]0;end\x07"
"""A title of the window, which no program here sets."""


class Terminal:
    """A terminal of this size, with a program on it."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int,
        lines: int,
        environment: Mapping[str, str],
        directory: str | None = None,
    ) -> None:
        self.primary, self.terminal = os.openpty()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        """All that the program has written."""
        self.resize(columns, lines)
        self.attributes = termios.tcgetattr(self.terminal)
        """How the terminal was set before the program began (termios(3))."""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            env=environment,
            cwd=directory,
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.primary, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, *keys: bytes) -> None:
        os.write(self.primary, b"".join(keys))

    def read(self, seconds: float) -> bool:
        """Take what is drawn within this time; False: nothing was."""
        if not select.select([self.primary], [], [], seconds)[0]:
            return False
        data = read_terminal(self.primary, "\n".join(self.lines))
        self.output += data
        self._stream.feed(data)
        return True

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until the screen, or the program, is so."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "\n".join(self.lines)
            self.read(0.02)

    def read_rest(self) -> None:
        """Wait until the program has ended, and take all that it has drawn.

        A pseudoterminal delivers by a work queue of the kernel, so also after the end of the program. What is written
        next comes after it.
        """
        self.wait(lambda: self.process.poll() is not None)
        os.write(self.terminal, _END)
        self.wait(lambda: self.output.endswith(_END))
        self.output = self.output.removesuffix(_END)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self.screen.display]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.primary)
        os.close(self.terminal)
