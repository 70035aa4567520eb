"""The user interface at a terminal: line editing, a history, and answers above the line being typed.

Imported only where there is a terminal, since prompt_toolkit takes long to import.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator

from prompt_toolkit import PromptSession
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.output.vt100 import Vt100_Output

from netd.client.talk.history import HistoryFile, history_path
from netd.client.talk.screen import Sanitizer, is_prompt
from netd.client.talk.user_io import SILENCE, Interrupted, encoded

_PAUSE = 0.05
"""Seconds between two drawings, in which keys are handled. Data that arrives meanwhile is drawn together."""

_GATHERED = 8192
"""Characters that are drawn at once, and that wait to be drawn before no more data is received: a slow terminal takes a
fraction of a second for them, in which no key is handled."""

_PASSWORD = re.compile("passw|passphrase", re.IGNORECASE)

_PROMPT_LIMIT = 256
"""Characters of an unfinished line that become the prompt; a longer line is broken."""


class Terminal:
    """Lines from a prompt. An unfinished line of the other end, such as ``login: ``, becomes the prompt.

    If it does not look like a prompt, and nothing follows for a moment, it is an answer without a line end, and gets
    one.
    """

    interactive = True

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._unfinished = ""  # the last line of the other end, if it has no line end yet
        self._ended = False  # this side has ended that line
        self._gathered = ""  # text that was not drawn yet
        self._drawing: asyncio.Task[None] | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._sanitizer = Sanitizer()
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        # No cursor position requests: nothing is drawn below the line being typed, and a reply that arrives after the
        # end of the conversation would be input of the shell.
        output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            lambda: ANSI(self._unfinished or self._prompt),
            history=HistoryFile(history_path(), lambda: self._hides_input),
            output=output,
            enable_suspend=True,
            is_password=Condition(lambda: self._hides_input),
        )

    @property
    def _hides_input(self) -> bool:
        """Whether the other end asks for a password, which neither the screen nor the history shows."""
        return bool(_PASSWORD.search(self._unfinished)) and is_prompt(self._unfinished)

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
        text = self._sanitizer.feed(data, final=whole)
        if whole and text and not text.endswith("\n"):
            text += "\n"
        self._gather(text)
        while len(self._gathered) > _GATHERED:
            assert self._drawing
            if (await asyncio.wait((self._drawing,), timeout=_PAUSE))[0]:
                self._drawing.result()

    def _gather(self, text: str) -> None:
        """Have text drawn. Raises the error of an earlier drawing."""
        if self._silence:
            self._silence.cancel()
        if self._ended and text:
            text, self._ended = text.removeprefix("\n"), False
        self._gathered += text
        if self._drawing and self._drawing.done():
            self._drawing.result()
            self._drawing = None
        self._drawing = self._drawing or asyncio.create_task(self._draw_with_pauses())

    async def _draw_with_pauses(self) -> None:
        while self._gathered:
            self._draw()
            await asyncio.sleep(_PAUSE)

    def _draw(self) -> None:
        """Draw what was gathered above the line being typed.

        The terminal stays in raw mode, unlike in prompt_toolkit's `in_terminal`: a Ctrl-D that comes meanwhile would be
        lost, and data without a break would keep all keys away.
        """
        lines, end, self._unfinished = (self._unfinished + self._next_piece()).rpartition("\n")
        if len(self._unfinished) > _PROMPT_LIMIT:
            lines, end, self._unfinished = lines + end + self._unfinished, "\n", ""
        if self._unfinished:
            self._silence = asyncio.get_running_loop().call_later(SILENCE, self._on_silence)
        app = self._session.app
        if end:
            if app.is_running:
                app.renderer.erase()
            sys.stdout.buffer.write(encoded(lines + end))
            sys.stdout.buffer.flush()
        app.invalidate()

    def _next_piece(self) -> str:
        """Take the text to draw next: lines, or a part of a line that is long, but no part of a colour sequence."""
        cut = len(self._gathered)
        if cut > _GATHERED:
            cut = self._gathered.rfind("\n", 0, _GATHERED) + 1 or self._gathered.rfind("\x1b", 1, _GATHERED)
            cut = cut if cut > 0 else _GATHERED
        piece, self._gathered = self._gathered[:cut], self._gathered[cut:]
        return piece

    def discard(self) -> None:
        self._gathered = ""

    def _on_silence(self) -> None:
        if self._unfinished and not is_prompt(self._unfinished):
            self._gather("\n")
            self._ended = True

    async def show_end(self) -> None:
        await self.show(b"", whole=True)
        if self._drawing:
            await asyncio.wait((self._drawing,))
            self._drawing.result()
        if self._silence:
            self._silence.cancel()
        if self._unfinished:
            self._gathered = "\n"
            self._draw()
        self._erase_prompt()

    def _erase_prompt(self) -> None:
        """Make prompt_toolkit erase the prompt at the end, unless some text was typed after it."""
        self._session.app.erase_when_done = not self._session.default_buffer.text

    def has_finished(self) -> bool:
        return False
