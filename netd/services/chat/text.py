"""The text of a chat: the characters that may be shown, the name before a message, and its colour."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from zlib import crc32

from pydantic import AfterValidator, model_validator

from netd.notation import Notation
from netd.text import shown
from netd.values import Model

# Characters that move the cursor, control a terminal, or make a line look like another one: controls, those without
# width or that change the direction of text (Cf, and the code points reserved for such: UAX #44,
# Default_Ignorable_Code_Point), surrogates, and private use, which each font shows differently.
_UNSEEN = ("Cc", "Cf", "Cs", "Co")
_RESERVED = (range(0x2065, 0x2066), range(0xFFF0, 0xFFF9), range(0xE0000, 0xE0100), range(0xE01F0, 0xE1000))
_BLANKS = "\t\n\v\f\r\x85\u2028\u2029"  # they separate words, and become a blank
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them
# Invisible letters and marks: fillers, variation selectors, the blank of braille. A text may need them, a name may not.
_BLIND = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_NAMED = re.compile(r"([^\s:]{1,32})(?:( :)(?: |$)|: )(.*)")
_GRAPHICS = re.compile(rb"\x1b\[[0-9;]*m")
_CONTROL_SEQUENCES = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]")  # colours and others (ECMA-48, 5.4)
_FAREWELLS = ("q", "bye")

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
# For names without a configured colour: those that are readable on black and on white.
_PALETTE = tuple(_CODES[name] for name in ("red", "green", "yellow", "blue", "magenta", "cyan"))


_COLOR = Notation(
    "colour", f"{', '.join(f'`{name}`' for name in get_args(ColorName)[:8])}, or `bright_` and one of these."
)


class Color(Model):
    """The colours of a name."""

    fg: Annotated[ColorName | None, _COLOR] = None
    """The foreground: one of the eight ANSI colours, or bright_ and one. Unset: the terminal's own."""
    bg: Annotated[ColorName | None, _COLOR] = None
    """The background, from the same list. Unset: the terminal's own."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Color":
        if self.fg is None and self.bg is None:
            raise ValueError("expected fg, bg or both")
        return self


def check_name(name: str) -> str:
    """The name, if a member can take it in a room; else raise ValueError."""
    if split_name(f"{name} :") != (name, ""):
        raise ValueError(f"expected a word of at most 32 printable characters without a colon, got {shown(name)}")
    return name


Name = Annotated[str, AfterValidator(check_name)]


class _Shown(dict[int, str | None]):
    """A table for `str.translate`. Most characters are looked up when they come: to fill a table of all takes long."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        is_unseen = unicodedata.category(character) in _UNSEEN or any(code in some for some in _RESERVED)
        return None if is_unseen else character


_SHOWN = _Shown(
    {
        **dict.fromkeys(map(ord, _BLANKS), " "),
        **{ord(joiner): joiner for joiner in _JOINERS},
    }
)


def clean(message: bytes) -> str:
    """The text of a message that may be shown, without colours and leading blanks."""
    text = message.decode(errors="replace")
    return (text if text.isprintable() else _CONTROL_SEQUENCES.sub("", text).translate(_SHOWN)).lstrip()


def _is_name(word: str) -> bool:
    """Whether each character is visible, and the first is no mark: it would combine with the text before the name."""
    return word.isprintable() and not _BLIND.search(word) and unicodedata.category(word[0]) not in ("Mn", "Me")


def split_name(line: str, before: str = "") -> tuple[str | None, str]:
    """The name that a cleaned line sets, or None, and the text.

    ``NAME : text`` and ``NAME :`` set it. ``NAME: text`` sets it only if the sender has no other name ``before``: a
    member with a name that writes ``warning: disk is full`` does not mean to change it.
    """
    if (match := _NAMED.fullmatch(line)) and _is_name(match[1]) and (match[2] or before in ("", match[1])):
        return match[1], match[3].strip()
    return None, line.strip()


def is_farewell(line: str, name: str) -> bool:
    """Whether the sender of a cleaned line leaves: with ``q`` or ``bye``, or ``NAME : q`` with its own ``name``."""
    said, text = split_name(line, name)
    return text in _FAREWELLS and said in (None, name)


def folded(name: str) -> str:
    """A form that names which look alike have in common (Unicode, 3.13, compatibility caseless matching)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())


def painted(name: str, colors: Mapping[str, Color]) -> bytes:
    """The name in its colour: that in ``colors``, or one computed from the name, the same in every room."""
    if color := colors.get(name):
        codes = [_CODES[color.fg]] if color.fg else []
        codes += [_CODES[color.bg] + 10] if color.bg else []
    else:
        codes = [_PALETTE[crc32(name.encode()) % len(_PALETTE)]]
    return f"\x1b[{';'.join(map(str, codes))}m{name}\x1b[0m".encode()


def cut(line: bytes, most: int) -> bytes:
    """The start of a line without its line end: at most so many octets, whole characters, no colours."""
    return _GRAPHICS.sub(b"", line)[:most].decode(errors="ignore").encode()
