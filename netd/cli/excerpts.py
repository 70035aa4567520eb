"""Problems of a config and notices on a terminal: with the line of the file, a mark below the value, their number."""

import itertools
import os
import re
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from netd.config.problems import InvalidConfigError, Problem, parse
from netd.text import printable

_LARGEST_FILE = 2**20
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_VALUE = re.compile(r""" "[^"]*" | '[^']*' | [^\s,\]}]+ """, re.VERBOSE)
_NARROWEST = 40
_NOTICE = "notice"


def report(error: InvalidConfigError) -> list[str]:
    """The lines for standard error: notices and problems, on a terminal with excerpts and a closing count."""
    if not sys.stderr.isatty():
        return [*notices(error.notices), *error.problems]
    closing = count(len(error.found) + error.left_out, "problem")
    if error.left_out:
        closing += f" ({len(error.found)} shown)"
    if error.notices:
        closing += f", {count(len(error.notices), _NOTICE)}"
    return [*notices(error.notices), *_lines(error.found), closing]


def refusals(problems: Iterable[str]) -> list[str]:
    """The lines for errors: with a place in the config as `report` shows problems, the others after ``netd: ``."""
    lines = []
    number = 0
    for located, group in itertools.groupby(problems, key=lambda line: parse(line) is not None):
        if located:
            found = list(filter(None, map(parse, group)))
            number += len(found)
            lines += _lines(found)
        else:
            lines += [f"netd: {line}" for line in group]
    if number and sys.stderr.isatty():
        lines.append(count(number, "problem"))
    return lines


def count(number: int, noun: str) -> str:
    """``1 notice``, ``2 notices``"""
    return f"{number} {noun}{'s' * (number != 1)}"


def notices(accepted: Iterable[Problem]) -> list[str]:
    """The lines for standard error about notices, without a count: ``FILE:LINE:COLUMN: notice: key: message``."""
    return _lines(accepted, _NOTICE)


def _lines(problems: Iterable[Problem], kind: str = "") -> list[str]:
    if not sys.stderr.isatty():
        return [problem.line(kind) for problem in problems]
    color = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return list(excerpts(problems, kind, color=color))


def excerpts(problems: Iterable[Problem], kind: str = "", *, color: bool) -> Iterator[str]:
    """Each problem in a line, then the line of the file with a mark at the place and the hint.

    With ``kind`` "notice" they are notices: the lines have that word, and the mark has another colour.
    """
    of_mark = "yellow" if kind else "red"
    for file, of_file in itertools.groupby(problems, key=lambda problem: problem.mark.file):
        lines = _read(file)
        for problem in of_file:
            yield _styled(problem.statement(kind), color, bold=True)
            number, column = problem.mark.line, problem.mark.column
            if 0 < number <= len(lines):
                yield from _excerpt(lines[number - 1], number, column, problem.hint, of_mark if color else "")
            elif problem.hint:
                yield f"  {printable(problem.hint)}"


def _excerpt(line: str, number: int, column: int, hint: str, color: str) -> Iterator[str]:
    """The lines below a statement; ``color`` is that of the mark, empty for none at all."""
    margin = f"{number:>5} | "
    room = max(_NARROWEST, shutil.get_terminal_size().columns - len(margin) - 1)
    value = _VALUE.match(line, column - 1)
    length = len(value[0].removesuffix(":")) if value else 1
    # The beginning of a long line is left out, so that the place is in view.
    first = 0 if column + min(length, room // 2) <= room else column - 1 - room // 4
    before, marked = _visible(line[first : column - 1]), _visible(line[column - 1 : column - 1 + length])
    text = _cut(_visible(line[first:]), room)
    mark = "^" * max(1, min(_width(marked), room - _width(before)))
    yield f"{_styled(margin, color, dim=True)}{text}"
    pointer = f"{' ' * (len(margin) + _width(before))}{_styled(mark, color, fg=color, bold=True)}"
    hint = printable(hint)
    if hint and _width(before) + len(mark) + 1 + _width(hint) <= room:
        yield f"{pointer} {_styled(hint, color, fg='cyan')}"
    else:
        yield pointer
        if hint:
            yield f"{' ' * len(margin)}{_styled(hint, color, fg='cyan')}"


def _visible(text: str) -> str:
    return printable(text.replace("\t", " "))


def _width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    return sum((unicodedata.east_asian_width(one) in "WF") + (not unicodedata.combining(one)) for one in text)


def _cut(text: str, room: int) -> str:
    while _width(text) > room:
        text = text[: -max(1, (_width(text) - room) // 2)]
    return text


def _styled(text: str, color: object, **style: object) -> str:
    return click.style(text, **style) if color else text  # type: ignore[arg-type]


def _read(file: str) -> list[str]:
    """The lines of a file; none if it cannot be read again, as a pipe cannot."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return []
        with Path(file).open("rb") as stream:
            return _BREAK.split(stream.read(_LARGEST_FILE).decode("utf-8-sig", "replace"))
    except (OSError, ValueError):
        return []
