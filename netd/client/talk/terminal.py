"""The person at a terminal: a line that can be edited, a history, and answers above what is being typed.

Only imported where there is one, since prompt_toolkit takes long to import.
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

_MOST_REMEMBERED = 1000
"""Lines of history: weeks of what a person types, and read in a millisecond."""

_MOST_READ = 2**20
"""Octets of the history file that are read, the last ones."""

_LONGEST_QUESTION = 256
"""Characters of an unfinished line that are shown as the prompt; a longer one is broken."""


class Terminal:
    """A person at a terminal. What the other end says without ending the line, as in ``login: ``, is the prompt."""

    present = True

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._question = ""
        self._sanitizer = Sanitizer()
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        # Nothing is drawn below the line being typed, so where it stands need not be asked; and an answer that comes
        # after the end of the talk would be typed into the shell.
        output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            lambda: ANSI(self._question or self._prompt),
            history=Remembered(_history_file()),
            output=output,
            enable_suspend=True,
        )

    async def lines(self) -> AsyncGenerator[bytes, None]:
        while (text := await self._ask()) is not None:
            self._question = ""
            for line in text.split("\n"):  # what was pasted may have several
                yield line.encode("utf-8", "surrogateescape") + b"\n"

    async def _ask(self) -> str | None:
        """What they enter, or None at the end. A prompt for which nobody waits, as after a schedule, does not stay."""
        prompting = asyncio.create_task(self._prompt_once())
        try:
            await asyncio.wait((prompting,))
        except asyncio.CancelledError:
            self._leave_no_prompt()
            prompting.cancel()
            await asyncio.wait((prompting,))
            raise
        return prompting.result()

    async def _prompt_once(self) -> str | None:
        try:
            return await self._session.prompt_async(set_exception_handler=False)
        except EOFError:
            return None
        except KeyboardInterrupt:  # a key like any other, which must not end the loop as the signal would
            raise Interrupted from None

    async def show(self, data: bytes, *, whole: bool) -> None:
        text = self._question + self._sanitizer.feed(data, final=whole)
        lines, end, self._question = text.rpartition("\n")
        if self._question and (whole or len(self._question) > _LONGEST_QUESTION):
            lines, end, self._question = text, "\n", ""
        if end:
            async with in_terminal():
                sys.stdout.buffer.write(encoded(lines + end))
                sys.stdout.buffer.flush()
        if self._question:
            self._session.app.invalidate()

    async def show_end(self) -> None:
        await self.show(b"", whole=True)
        self._leave_no_prompt()

    def _leave_no_prompt(self) -> None:
        """Have the prompt go away at the end, if nothing was typed behind it."""
        self._session.app.erase_when_done = not self._session.default_buffer.text

    def has_finished(self) -> bool:
        return False


class Remembered(History):
    """What was typed, in a file that is its owner's alone, or in memory where there can be none."""

    def __init__(self, file: str | None) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        """The latest first."""
        try:
            with open(self._file or os.devnull, "rb") as file:
                begin = max(0, os.fstat(file.fileno()).st_size - _MOST_READ)
                file.seek(begin)
                lines = file.read(_MOST_READ).decode("utf-8", "surrogateescape").split("\n")[begin > 0 : -1]
        except OSError:
            return []
        if begin or len(lines) > 2 * _MOST_REMEMBERED:
            lines = lines[-_MOST_REMEMBERED:]
            self._write("".join(f"{line}\n" for line in lines), os.O_TRUNC)
        return lines[: -_MOST_REMEMBERED - 1 : -1]

    def store_string(self, string: str) -> None:
        self._write(string + "\n", os.O_APPEND)

    def _write(self, text: str, how: int) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._file), 0o700, exist_ok=True)
            with open(os.open(self._file, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))


def _history_file() -> str | None:
    """Under $XDG_STATE_HOME (XDG Base Directory Specification), if it says an absolute path as it has to."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "netd", "talk_history") if os.path.isabs(state) else None
