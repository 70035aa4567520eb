"""The problems of a config: each with its place in the file, a message, and a hint at the remedy."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from netd.errors import ConfigError
from netd.text import printable

_LOCATED = re.compile(r"(.+?):([0-9]{1,9}):([0-9]{1,9}): ((?:services|daemon|log)\.[^\s:]+): (.+)")

Where = tuple[str | int, ...]
"""The path of a value: keys and list positions from the top."""


class Mark(NamedTuple):
    """A position in a file; line and column count from 1. Line 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """``FILE:LINE:COLUMN``, or ``FILE``"""
        return f"{printable(self.file)}:{self.line}:{self.column}" if self.line else printable(self.file)


class Problem(NamedTuple):
    """An error in the config, for the operator to correct, or a notice: what is accepted, but may not be meant."""

    mark: Mark
    path: Where
    message: str
    hint: str = ""
    """What the operator may have meant, or what to do; empty if that is not known."""

    @property
    def subject(self) -> str:
        """The path as text, such as ``services.echo.listen[0]``; empty for the whole file."""
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step[:200])}" for step in self.path)
        return path.removeprefix(".")

    def statement(self, kind: str = "") -> str:
        """``FILE:LINE:COLUMN: kind: services.echo.listen[0]: message``, without the kind if it is empty"""
        return ": ".join(filter(None, (str(self.mark), kind, self.subject, _one_line(self.message))))

    def line(self, kind: str = "") -> str:
        """As `statement`, with the hint behind ``; ``"""
        return self.statement(kind) + (f"; {_one_line(self.hint)}" if self.hint else "")

    def __str__(self) -> str:
        return self.line()

    def fields(self) -> dict[str, Any]:
        """The parts for JSON: file, line, column, path, message and hint; null for those that it does not have."""
        return {
            "file": self.mark.file,
            "line": self.mark.line or None,
            "column": self.mark.column or None,
            "path": self.subject or None,
            "message": self.message,
            "hint": self.hint or None,
        }


class Finding(NamedTuple):
    """A problem of a service, or a notice, before its place in the config is known."""

    where: Where
    """The path of the value in the section of the service."""
    message: str
    hint: str = ""
    is_notice: bool = False
    mark: Mark | None = None
    """The place in another file, as that of its code; None: it is that of the value."""


def located(problem: str, places: Mapping[str, str]) -> str:
    """An error that begins with a key of the config (``daemon.user: …``), with its place (`Config.places`) before."""
    key = problem.partition(":")[0]
    return f"{places[key]}: {problem}" if key in places else problem


def _one_line(text: str) -> str:
    # The message of a service type from another package may have several lines; a problem has one.
    return printable(" ".join(text.split("\n")))


def parse(line: str) -> Problem | None:
    """The problem in a line ``FILE:LINE:COLUMN: key: message``; None for an error without a place in the config."""
    match = _LOCATED.fullmatch(line)
    return Problem(Mark(match[1], int(match[2]), int(match[3])), (match[4],), match[5]) if match else None


class InvalidConfigError(ConfigError):
    """A config with problems, and the notices about it, such as keys that were renamed."""

    def __init__(self, found: Iterable[Problem], notices: Iterable[Problem] = (), left_out: int = 0) -> None:
        self.found = tuple(found)
        self.notices = tuple(notices)
        self.left_out = left_out
        """The number of further problems, which are not in ``found``."""
        lines = list(map(str, self.found))
        if left_out:
            lines.append(f"{printable(self.found[0].mark.file)}: and {left_out} more problems")
        super().__init__(lines)
