"""The text that is sent: the fields of ``--send``, the name prefix of ``--name``, lines and their ends.

Values only: no input, no output.
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

    Raises ValueError where the text is no such template.
    """

    def __init__(self, text: str) -> None:
        self._pieces = list(_pieces(text))
        self.render(0.0, 1)  # raises ValueError now for a format that strftime refuses

    def render(self, now: float, number: int) -> bytes:
        """The text with its fields filled in: ``now`` is seconds since 1970, ``number`` the value of ``{seq}``."""
        pieces = []
        for literal, field, form in self._pieces:
            pieces.append(literal)
            match field:
                case "now":
                    pieces.append(str(int(now)))
                case "seq":
                    pieces.append(str(number))
                case "time":
                    pieces.append(time.strftime(form, time.localtime(now)))
        return "".join(pieces).encode("utf-8", "surrogateescape")


def _pieces(text: str) -> Iterator[tuple[str, str, str]]:
    """Pieces of literal text, each with the field after it and the format of that field."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(f"unmatched brace in {shown(text)}; write {{{{ and }}}} for literal braces") from None
    for literal, field, form, conversion in parsed:
        if field is not None:
            if field not in _FIELDS:
                raise ValueError(f"unknown field {shown(field)}{suggestion(field, _FIELDS)}")
            if conversion or bool(form) != (field == "time"):
                example = "{time:%H:%M:%S}" if field == "time" else f"{{{field}}}"
                raise ValueError(f"expected the field {field} as in {example}")
        yield literal, field or "", form or ""


def is_farewell(line: bytes) -> bool:
    """Whether a line is a farewell: ``q`` or ``bye``, which ends a conversation."""
    return line.strip() in _FAREWELLS


class NamePrefix:
    """Puts a name before each line: ``hello`` becomes ``alex : hello``. Without a name, lines stay as they are.

    A farewell gets no name, since a chat recognises only the bare word. A blank line is dropped. A line may come in
    pieces; the last one has the line end.
    """

    def __init__(self, name: str | None) -> None:
        self._prefix = f"{name} : ".encode() if name is not None else b""
        self._within = False
        self.farewell = False
        """Whether the last line was a farewell."""

    def add(self, piece: bytes) -> bytes:
        """The piece with the name before it, if it begins a line; empty where nothing is to be sent."""
        begins, self._within = not self._within, not piece.endswith(b"\n")
        self.farewell = begins and is_farewell(piece)
        if not self._prefix or not begins or self.farewell:
            return piece
        return self._prefix + piece if piece.strip() else b""


def with_end(line: bytes, end: bytes | None) -> bytes:
    """The line with another line end, if it has one. ``end``: LF, CR LF or nothing; None leaves the line as it is."""
    if end is None or not line.endswith(b"\n"):
        return line
    return line.removesuffix(b"\n").removesuffix(b"\r") + end


def split(data: bytes, most: int) -> list[bytes]:
    """Lines with their line ends; the last may have none. A line of more than ``most`` octets is cut into pieces."""
    return [
        line[start : start + most]
        for line in re.findall(rb"[^\n]*\n|[^\n]+", data)
        for start in range(0, len(line), most)
    ]
