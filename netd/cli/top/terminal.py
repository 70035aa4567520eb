"""The terminal of `netd top`: its mode, which is restored at every exit, its capabilities, and the names of keys."""

import contextlib
import locale
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import TracebackType

from netd.errors import UsageError

_SIGNALS = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGCONT,
)
_KEY_TIMEOUT = 0.05  # seconds for the rest of an escape sequence over a slow line; without it, it was the escape key
_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|\x1b|[^\x1b]")
_INCOMPLETE = re.compile(rb"\x1b(?:\[[0-9;]*|O)?")
_SEQUENCES = {
    b"A": "up",
    b"B": "down",
    b"H": "home",
    b"F": "end",
    b"Z": "tab",
    b"1~": "home",
    b"4~": "end",
    b"5~": "page up",
    b"6~": "page down",
    b"7~": "home",
    b"8~": "end",
}
_CHARACTERS = {b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x1b": "escape"}


def require_terminal() -> None:
    """Raise `UsageError` if standard input and output are not a terminal that can be drawn on."""
    for number, name in ((1, "output"), (0, "input")):
        if not os.isatty(number):
            raise UsageError([f"netd top needs a terminal, and standard {name} is none; netd status prints the table"])
    if (term := os.environ.get("TERM", "")) in ("", "dumb", "unknown"):
        raise UsageError([f"netd top cannot draw on a terminal of the type '{term}' ($TERM)"])


def has_blocks() -> bool:
    """Whether the terminal shows block characters.

    In a C locale Python uses UTF-8 (PEP 540), whatever the terminal uses; the font of the Linux console has no blocks.
    """
    utf_8 = locale.getencoding().upper() in ("UTF-8", "UTF8") and not sys.flags.utf8_mode
    return utf_8 and os.environ.get("TERM") != "linux"


class Capabilities:
    """The capabilities of the terminal, from terminfo(5).

    A terminal without an entry is probably newer than this host's terminfo: assume a second screen, and no colours.
    """

    def __init__(self) -> None:
        self.colours = 0
        self.alternate_screen = True
        # Some Pythons have no curses, and some hosts no entry for the terminal.
        with contextlib.suppress(ImportError):
            import curses

            with contextlib.suppress(curses.error):
                curses.setupterm()
                self.colours = curses.tigetnum("colors")
                self.alternate_screen = bool(curses.tigetstr("smcup"))


class Keyboard:
    """Standard input key by key, as a context manager that restores the terminal.

    Keys arrive at once and are not echoed. Signals are caught, and returned like keys.
    """

    def __init__(self) -> None:
        self._before: list[object] = []
        self._handlers: dict[int, object] = {}
        self._pending = b""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> "Keyboard":
        self._before = termios.tcgetattr(0)
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, _wake)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self.set_cbreak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def set_cbreak(self) -> None:
        """Put the terminal into cbreak mode: each key is read at once."""
        tty.setcbreak(0, termios.TCSADRAIN)

    def restore(self) -> None:
        """Restore the mode that the terminal had before."""
        with contextlib.suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def suspend(self) -> None:
        """Stop this process, as Ctrl-Z asks, until SIGCONT. The kernel ignores it where no shell could continue it."""
        self.restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _wake)
        self.set_cbreak()

    def wake(self) -> None:
        """Make `wait` return. Any thread may call this."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float) -> Iterator[str]:
        """Wait at most so many seconds. The names of the keys and signals that arrived."""
        if self._pending:
            seconds = min(seconds, _KEY_TIMEOUT)
        ready = select.select([0, self._reader], [], [], max(0.0, seconds))[0]
        if self._reader in ready:
            numbers = os.read(self._reader, 4096)
            yield from (signal.Signals(number).name for number in numbers if number)
        if 0 in ready:
            try:
                data = os.read(0, 4096)
            except OSError:
                data = b""
            if not data:
                yield "SIGHUP"  # the terminal was closed
        else:
            data = b""
        names, self._pending = keys(self._pending + data, complete=not ready)
        yield from names


def _wake(number: int, frame: object) -> None:
    """Do nothing: `signal.set_wakeup_fd` writes the number of the signal to its pipe."""


def keys(data: bytes, *, complete: bool) -> tuple[list[str], bytes]:
    """The names of the keys in octets of a terminal, and an incomplete sequence at the end; none with ``complete``."""
    names = []
    while data and (complete or not _INCOMPLETE.fullmatch(data)):
        key = _KEY.match(data)
        assert key
        data = data[key.end() :]
        if len(key[0]) > 1:
            names.append(_SEQUENCES.get(key[0][2:], "unknown"))
        else:
            names.append(_CHARACTERS.get(key[0]) or key[0].decode("latin-1"))
    return names, data
