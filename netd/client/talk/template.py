"""What is put into words before it is sent: the fields of ``--send``, and the name that ``--name`` puts before a line.

Only values live here; nothing in this file performs input or output.
"""

import re
import string
import time
from collections.abc import Iterator

from netd.text import shown, suggestion

_FIELDS = ("now", "seq", "time")
_FAREWELLS = (b"q", b"bye")


class Template:
    """A text with fields: ``{now}``, ``{seq}``, ``{time:%H:%M}``; ``{{`` and ``}}`` are braces.

    ValueError says what is wrong with it.
    """

    def __init__(self, text: str) -> None:
        self._pieces = list(_pieces(text))
        self.render(0.0, 1)  # a format that strftime refuses is refused now

    def render(self, now: float, number: int) -> bytes:
        """The text at this time (seconds since 1970), as the ``number``-th of its kind."""
        words = []
        for literal, field, form in self._pieces:
            words.append(literal)
            match field:
                case "now":
                    words.append(str(int(now)))
                case "seq":
                    words.append(str(number))
                case "time":
                    words.append(time.strftime(form, time.localtime(now)))
        return "".join(words).encode("utf-8", "surrogateescape")


def _pieces(text: str) -> Iterator[tuple[str, str, str]]:
    """Literal text, with the field behind it and that field's format."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(f"a brace has no partner in {shown(text)}; {{{{ and }}}} are braces") from None
    for literal, field, form, conversion in parsed:
        if field is not None:
            if field not in _FIELDS:
                raise ValueError(f"unknown field {shown(field)}{suggestion(field, _FIELDS)}")
            if conversion or bool(form) != (field == "time"):
                example = "{time:%H:%M:%S}" if field == "time" else f"{{{field}}}"
                raise ValueError(f"expected the field {field} as in {example}")
        yield literal, field or "", form or ""


def is_farewell(line: bytes) -> bool:
    """Whether a line says that whoever says it leaves."""
    return line.strip() in _FAREWELLS


class NamePrefix:
    """Puts a name before each line: ``hello`` becomes ``alex : hello``. Without a name, lines stay as they are.

    A farewell stays bare, for that is how a service knows it; a blank line is nothing said, and is not sent in
    anybody's name. A line may come in pieces, of which the last ends it.
    """

    def __init__(self, name: str | None) -> None:
        self._prefix = f"{name} : ".encode() if name is not None else b""
        self._within = False
        self.took_leave = False
        """Whether the last line was a farewell."""

    def say(self, piece: bytes) -> bytes:
        """What to send for it; nothing where that is empty."""
        begins, self._within = not self._within, not piece.endswith(b"\n")
        self.took_leave = begins and is_farewell(piece)
        if not self._prefix or not begins or self.took_leave:
            return piece
        return self._prefix + piece if piece.strip() else b""


def split(data: bytes, most: int) -> list[bytes]:
    """Lines with their ends; the last may have none. One longer than ``most`` octets comes in pieces."""
    return [
        line[start : start + most]
        for line in re.findall(rb"[^\n]*\n|[^\n]+", data)
        for start in range(0, len(line), most)
    ]
