"""The words of a chat: what may be shown of a line, whose name stands before it, and in which colour."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from zlib import crc32

from pydantic import AfterValidator, model_validator

from netd.text import shown
from netd.values import Model

# What moves the cursor, changes what a terminal does, or makes a line look like another one: controls, what has no
# width or turns the direction of text (Cf, and what is reserved for the like: UAX #44, Default_Ignorable_Code_Point),
# surrogates, and private use, which is whatever a font makes of it.
_UNSEEN = ("Cc", "Cf", "Cs", "Co")
_RESERVED = (0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE0100), *range(0xE01F0, 0xE1000))
_BLANKS = "\t\n\v\f\r\x85\u2028\u2029"  # these part words
_JOINERS = "\u200c\u200d"  # words of Persian and of Indic scripts need them, and so do emoji
# Letters and marks that cannot be seen: fillers, variation selectors, the blank of braille. Texts may need them.
_BLIND = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_NAMED = re.compile(r"([^\s:]{1,32})(?:( :)(?: |$)|: )(.*)")
_GRAPHICS = re.compile(rb"\x1b\[[0-9;]*m")

ColorName = Literal[
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "white",
    "bright_black",
    "bright_red",
    "bright_green",
    "bright_yellow",
    "bright_blue",
    "bright_magenta",
    "bright_cyan",
    "bright_white",
]
# SGR codes (ECMA-48, 8.3.117; the bright ones are aixterm's); 10 more is the same for the background.
_CODES = dict(zip(get_args(ColorName), (*range(30, 38), *range(90, 98)), strict=True))
# What can be read on black and on white alike is for names that have no colour of their own.
_PALETTE = tuple(_CODES[name] for name in ("red", "green", "yellow", "blue", "magenta", "cyan"))


class Color(Model):
    """How a name is shown."""

    fg: ColorName | None = None
    """The colour of the letters: one of the eight of ANSI, or bright_ and one. Unset: the terminal's own."""
    bg: ColorName | None = None
    """The colour behind them, of the same. Unset: the terminal's own."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Color":
        if self.fg is None and self.bg is None:
            raise ValueError("expected fg, bg or both")
        return self


def check_name(name: str) -> str:
    """The name itself, if somebody could take it in a room; else ValueError."""
    if split_name(f"{name} :") != (name, ""):
        raise ValueError(f"expected a word of at most 32 printable characters without a colon, got {shown(name)}")
    return name


Name = Annotated[str, AfterValidator(check_name)]


class _Shown(dict[int, str | None]):
    """What becomes of a character. Most are looked up when they come, since a table of all takes long to make."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        return None if unicodedata.category(character) in _UNSEEN else character


_SHOWN = _Shown(
    {
        **dict.fromkeys(_RESERVED),
        **dict.fromkeys(map(ord, _BLANKS), " "),
        **{ord(joiner): joiner for joiner in _JOINERS},
    }
)


def clean(message: bytes) -> str:
    """What may be shown of a message, without blanks before it."""
    text = message.decode(errors="replace")
    return (text if text.isprintable() else text.translate(_SHOWN)).lstrip()


def _is_name(word: str) -> bool:
    """Whether all of it can be seen, and so as a name of its own: a mark would be on what stands before it."""
    return word.isprintable() and not _BLIND.search(word) and unicodedata.category(word[0]) not in ("Mn", "Me")


def split_name(line: str, before: str = "") -> tuple[str | None, str]:
    """The name that a clean line sets, if it does, and its text.

    ``NAME : text`` and ``NAME :`` set it. So does ``NAME: text``, but not in place of another one: who has a name
    ``before`` and writes ``warning: disk is full`` does not mean to change it.
    """
    if (match := _NAMED.fullmatch(line)) and _is_name(match[1]) and (match[2] or before in ("", match[1])):
        return match[1], match[3].strip()
    return None, line.strip()


def folded(name: str) -> str:
    """What a name has in common with those that would pass for it (Unicode, 3.13, compatibility caseless matching)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())


def painted(name: str, colors: Mapping[str, Color]) -> bytes:
    """The name in its colour: that in ``colors``, or one that follows from the name, and is the same everywhere."""
    if color := colors.get(name):
        codes = [_CODES[color.fg]] if color.fg else []
        codes += [_CODES[color.bg] + 10] if color.bg else []
    else:
        codes = [_PALETTE[crc32(name.encode()) % len(_PALETTE)]]
    return f"\x1b[{';'.join(map(str, codes))}m{name}\x1b[0m".encode()


def cut(line: bytes, most: int) -> bytes:
    """A line, without its end, in at most so many octets: without colours, and in whole characters."""
    return _GRAPHICS.sub(b"", line)[:most].decode(errors="ignore").encode()
