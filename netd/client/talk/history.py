"""The history of lines typed at a terminal, in a file."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

from prompt_toolkit.history import History

_LINES = 1000
"""Lines of history: weeks of typing, and read in a millisecond."""

_SIZE = 2**20
"""Octets that are read from the end of the file."""


class HistoryFile(History):
    """The lines typed, in a regular file that only its owner can read; in memory alone where there can be none.

    A line that begins with a blank is not stored, as in a shell, and none while ``hidden`` returns true.
    """

    def __init__(self, file: str | None, hidden: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._file = file
        self._hidden = hidden

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        try:
            with self._open(os.O_RDONLY) as file:
                begin = max(0, os.fstat(file.fileno()).st_size - _SIZE)
                file.seek(begin)
                lines = file.read(_SIZE).decode("utf-8", "surrogateescape").split("\n")[begin > 0 : -1]
        except OSError:
            return []
        if begin or len(lines) > 2 * _LINES:
            lines = lines[-_LINES:]
            self._shorten(lines)
        return lines[: -_LINES - 1 : -1]

    def append_string(self, string: str) -> None:
        """Add a line that was typed."""
        if not string.startswith(" ") and not self._hidden():
            super().append_string(string)

    def store_string(self, string: str) -> None:
        try:
            if self._file:
                os.makedirs(os.path.dirname(self._file), 0o700, exist_ok=True)
            with self._open(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
                os.fchmod(file.fileno(), 0o600)  # it may be from a program with another idea of it
                file.write(_encoded([string]))
        except OSError:
            pass

    def _open(self, flags: int) -> BinaryIO:
        """Open the file. Raises OSError, also where it is no regular one: a fifo blocks, and /dev/zero never ends."""
        if self._file is None:
            raise FileNotFoundError
        descriptor = os.open(self._file, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{self._file} is not a regular file")
        return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "wb")

    def _shorten(self, lines: Iterable[str]) -> None:
        """Keep only these lines in the file. A link is left alone, as it may lead to a file that is kept for more."""
        assert self._file
        temporary = None
        try:
            if os.path.islink(self._file):
                return
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(self._file), delete=False) as file:  # mode 0600
                temporary = file.name
                file.write(_encoded(lines))
            os.replace(temporary, self._file)
        except OSError:
            if temporary:
                os.unlink(temporary)


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def history_path() -> str | None:
    """A path under $XDG_STATE_HOME, if that is absolute as the XDG Base Directory Specification demands."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "netd", "talk_history") if os.path.isabs(state) else None
