"""Text for a terminal from the octets of a peer: text and colours unchanged, everything else escaped.

Values only: no input, no output.
"""

import codecs
import re
import unicodedata

from netd.text import printable

_SGR_LIMIT = 64
"""The longest SGR sequence that passes, in octets: a foreground and a background of 24 bits take 36."""

# Select Graphic Rendition (SGR; ECMA-48, 8.3.117), a line end, or any character but plain ASCII.
_SPECIAL = re.compile(rf"\x1b\[[0-9;]{{0,{_SGR_LIMIT}}}m|\r\n|[^\n\t -~]")
# A possible start of one of the first two; the next octets decide.
_UNFINISHED = re.compile(rf"(?:\r|\x1b(?:\[[0-9;]{{0,{_SGR_LIMIT}}})?)\Z")
_SGR = re.compile(r"\x1b\[[0-9;]*m")
_RESET = "\x1b[0m"
_JOINERS = "\u200c\u200d"  # scripts and emojis are written with them


class Sanitizer:
    """Makes text for a terminal from a stream, piece by piece. It holds back at most one incomplete sequence."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next octets. ``final``: they end the stream or the message."""
        text = self._held + self._decoder.decode(data, final)
        self._held = ""
        if not final and (unfinished := _UNFINISHED.search(text)):
            text, self._held = text[: unfinished.start()], unfinished[0]
        text = _SPECIAL.sub(_show, text)
        if "\x1b" not in text:
            return text
        # The colour must not reach the text after it: the line being typed, or the shell's prompt.
        end = "\n" if text.endswith("\n") else ""
        return text.removesuffix("\n") + _RESET + end


def _show(special: re.Match[str]) -> str:
    text = special[0]
    if text == "\r\n":
        return "\n"
    if len(text) > 1:
        # No number of SGR is above 255, and prompt_toolkit fails on such a colour.
        return text if all(int(number) <= 255 for number in re.findall("[0-9]+", text)) else printable(text)
    return text if text in _JOINERS or unicodedata.category(text) == "Zs" else printable(text)


def is_prompt(line: str) -> bool:
    """Whether a line without an end asks for input, and is complete: it ends in a blank or a colon."""
    return _SGR.sub("", line).endswith((" ", ":"))
