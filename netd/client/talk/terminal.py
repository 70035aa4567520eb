"""The user interface at a terminal: line editing, a history, and answers above the line being typed.

Imported only where there is a terminal, since prompt_toolkit takes long to import.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import History
from prompt_toolkit.output.vt100 import Vt100_Output

from netd.client.talk.screen import Sanitizer
from netd.client.talk.user_io import Interrupted, encoded

_HISTORY_LINES = 1000
"""Lines of history: weeks of typing, and read in a millisecond."""

_HISTORY_SIZE = 2**20
"""Octets that are read from the end of the history file."""

_PROMPT_LIMIT = 256
"""Characters of an unfinished line that become the prompt; a longer line is broken."""


class Terminal:
    """Lines from a prompt. An unfinished line of the other end, such as ``login: ``, becomes the prompt."""

    interactive = True

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._unfinished = ""  # the last line of the other end, if it has no line end yet
        self._sanitizer = Sanitizer()
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        # No cursor position requests: nothing is drawn below the line being typed, and a reply that arrives after the
        # end of the conversation would be input of the shell.
        output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            lambda: ANSI(self._unfinished or self._prompt),
            history=HistoryFile(_history_file()),
            output=output,
            enable_suspend=True,
        )

    async def lines(self) -> AsyncGenerator[bytes, None]:
        while (text := await self._read()) is not None:
            self._unfinished = ""
            for line in text.split("\n"):  # pasted text may have several
                yield line.encode("utf-8", "surrogateescape") + b"\n"

    async def _read(self) -> str | None:
        """The text that is entered; None at the end of input. A cancelled prompt, as after a schedule, is erased."""
        prompting = asyncio.create_task(self._prompt_once())
        try:
            await asyncio.wait((prompting,))
        except asyncio.CancelledError:
            self._erase_prompt()
            prompting.cancel()
            await asyncio.wait((prompting,))
            raise
        return prompting.result()

    async def _prompt_once(self) -> str | None:
        try:
            return await self._session.prompt_async(set_exception_handler=False)
        except EOFError:
            return None
        except KeyboardInterrupt:  # made from the key by prompt_toolkit; it must not end the loop as the signal would
            raise Interrupted from None

    async def show(self, data: bytes, *, whole: bool) -> None:
        text = self._unfinished + self._sanitizer.feed(data, final=whole)
        lines, end, self._unfinished = text.rpartition("\n")
        if self._unfinished and (whole or len(self._unfinished) > _PROMPT_LIMIT):
            lines, end, self._unfinished = text, "\n", ""
        if end:
            async with in_terminal():
                sys.stdout.buffer.write(encoded(lines + end))
                sys.stdout.buffer.flush()
        if self._unfinished:
            self._session.app.invalidate()

    async def show_end(self) -> None:
        await self.show(b"", whole=True)
        self._erase_prompt()

    def _erase_prompt(self) -> None:
        """Make prompt_toolkit erase the prompt at the end, unless some text was typed after it."""
        self._session.app.erase_when_done = not self._session.default_buffer.text

    def has_finished(self) -> bool:
        return False


class HistoryFile(History):
    """The lines typed, in a file with mode 0600; only in memory where the file cannot be written."""

    def __init__(self, file: str | None) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        try:
            with open(self._file or os.devnull, "rb") as file:
                begin = max(0, os.fstat(file.fileno()).st_size - _HISTORY_SIZE)
                file.seek(begin)
                lines = file.read(_HISTORY_SIZE).decode("utf-8", "surrogateescape").split("\n")[begin > 0 : -1]
        except OSError:
            return []
        if begin or len(lines) > 2 * _HISTORY_LINES:
            lines = lines[-_HISTORY_LINES:]
            self._write("".join(f"{line}\n" for line in lines), os.O_TRUNC)
        return lines[: -_HISTORY_LINES - 1 : -1]

    def store_string(self, string: str) -> None:
        self._write(string + "\n", os.O_APPEND)

    def _write(self, text: str, flag: int) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._file), 0o700, exist_ok=True)
            with open(os.open(self._file, os.O_WRONLY | os.O_CREAT | flag, 0o600), "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))


def _history_file() -> str | None:
    """A path under $XDG_STATE_HOME, if that is absolute as the XDG Base Directory Specification demands."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "netd", "talk_history") if os.path.isabs(state) else None
