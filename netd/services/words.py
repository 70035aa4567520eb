"""The words of a chat: what may be shown of a line, whose name stands before it, and in which colour."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from zlib import crc32

from pydantic import AfterValidator, model_validator

from netd.settings import Model, shown

# What moves the cursor, changes what a terminal does, or makes a line look like another one: C0, DEL, C1, the line and
# paragraph separators, and what overrides or isolates the direction of text (UAX #9). Those that part words become a
# blank.
_UNSEEN: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))),
    **dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " "),
}
_NAMED = re.compile(r"([^\s:]{1,32})(?: :(?: |$)|: )(.*)")
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


def clean(message: bytes) -> str:
    """What may be shown of a message, without blanks before it."""
    return message.decode(errors="replace").translate(_UNSEEN).lstrip()


def split_name(line: str) -> tuple[str | None, str]:
    """The name that a clean line sets, if it does (``NAME : text``, ``NAME: text``, ``NAME :``), and its text."""
    if (match := _NAMED.fullmatch(line)) and match[1].isprintable():
        return match[1], match[2].strip()
    return None, line.strip()


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
