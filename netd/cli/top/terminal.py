"""A terminal that is read key by key: its state, which is put back whatever happens, and the names of the keys."""

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
_PATIENCE = 0.05  # seconds that the rest of a key may take over a slow line; after that it was the escape key
_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|\x1b|[^\x1b]")
_PART = re.compile(rb"\x1b(?:\[[0-9;]*|O)?")
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
    """`UsageError` where there is no terminal to draw on."""
    for number, name in ((1, "output"), (0, "input")):
        if not os.isatty(number):
            raise UsageError([f"netd top needs a terminal, and standard {name} is none; netd status prints the table"])
    if (term := os.environ.get("TERM", "")) in ("", "dumb", "unknown"):
        raise UsageError([f"netd top cannot draw on a terminal of the type '{term}' ($TERM)"])


def has_blocks() -> bool:
    """Whether the terminal shows block characters.

    Python takes a C locale for UTF-8 (PEP 540), which says nothing of the terminal; the font of the console has none.
    """
    utf_8 = locale.getencoding().upper() in ("UTF-8", "UTF8") and not sys.flags.utf8_mode
    return utf_8 and os.environ.get("TERM") != "linux"


class Capabilities:
    """What terminfo(5) says of the terminal.

    One that it does not know is a newer emulator than this host is: it has a second screen, and no colours that matter.
    """

    def __init__(self) -> None:
        self.colours = 0
        self.alternate_screen = True
        # Not every Python has it, and not every host the description of every terminal.
        with contextlib.suppress(ImportError):
            import curses

            with contextlib.suppress(curses.error):
                curses.setupterm()
                self.colours = curses.tigetnum("colors")
                self.alternate_screen = bool(curses.tigetstr("smcup"))


class Keyboard:
    """Standard input, key by key, while this is entered; and what else wakes whoever waits for a key.

    Keys come at once and are not echoed. Signals are caught, to be told like keys.
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
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def take(self) -> None:
        """Have keys come one by one."""
        tty.setcbreak(0, termios.TCSADRAIN)

    def give_back(self) -> None:
        """Leave the terminal as it was found. It may be gone."""
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def suspend(self) -> None:
        """Stop this process, as Ctrl-Z asks, until it is continued; not where no shell is there to do that."""
        self.give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _wake)
        self.take()

    def wake(self) -> None:
        """From another thread: have `wait` return."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float) -> Iterator[str]:
        """Wait so long for something to happen; the keys and the signals that came, by name."""
        if self._pending:
            seconds = min(seconds, _PATIENCE)
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
                yield "SIGHUP"  # nobody is there any more
        else:
            data = b""
        names, self._pending = keys(self._pending + data, complete=not ready)
        yield from names


def _wake(number: int, frame: object) -> None:
    """Nothing: that it came stands in the pipe of `signal.set_wakeup_fd`."""


def keys(data: bytes, *, complete: bool) -> tuple[list[str], bytes]:
    """The names of the keys in what a terminal sent, and what may be the first part of one; none where ``complete``."""
    names = []
    while data and (complete or not _PART.fullmatch(data)):
        key = _KEY.match(data)
        assert key
        data = data[key.end() :]
        if len(key[0]) > 1:
            names.append(_SEQUENCES.get(key[0][2:], "unknown"))
        else:
            names.append(_CHARACTERS.get(key[0]) or key[0].decode("latin-1"))
    return names, data
