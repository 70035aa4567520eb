"""The output of commands: a table of text, or the answer of netd as JSON."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from netd.client.control import Answer
from netd.errors import EXIT_OK
from netd.reasons import FORMAT_VERSION
from netd.text import printable, shortened

_GAP = 2  # columns between two cells
_NARROWEST = 8  # columns of a cell that is cut or wrapped


def print_answer(answer: Answer, text: str, *, as_json: bool) -> int:
    """Print an answer: the text made of it, or the answer itself as JSON. The exit code."""
    shown = {key: value for key, value in answer.received.items() if key != "ok"}
    click.echo(json.dumps(shown, indent=2) if as_json else text)
    return EXIT_OK


def print_json(answer: Mapping[str, Any]) -> None:
    """Print an object that is no answer of netd as JSON, with the version of its format (docs/reference/json.md)."""
    click.echo(json.dumps({"format_version": FORMAT_VERSION, **answer}, indent=2))


def terminal_width() -> int | None:
    """The columns of the terminal that shows the output; None for a pipe or a file, which gets lines of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> str:
    """Columns as wide as their widest cell; those named in ``right`` are flush right. Cells are escaped.

    On a terminal that is too narrow for it, the last column is wrapped and others are cut in the middle, where the
    ends of addresses and URLs tell least; those in ``right`` and ``whole`` are neither. Where that is not enough, those
    in ``spare`` are left out, in this order.
    """
    texts = [list(heads), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    if width := terminal_width():
        firm = (*right, *whole)
        for name in spare:
            least = [one if head in firm else min(one, _NARROWEST) for head, one in zip(heads, widths, strict=True)]
            if _line_width(least) <= width:
                break
            if name in heads:
                place = heads.index(name)
                heads = [*heads[:place], *heads[place + 1 :]]
                del widths[place]
                for row in texts:
                    del row[place]
        _narrow(widths, [number for number, head in enumerate(heads) if head not in firm], width)
    lines = []
    for row in texts:
        *cells, last = row
        cells = [shortened(cell, width) for cell, width in zip(cells, widths, strict=False)]
        wrapped = textwrap.wrap(last, widths[-1]) if len(last) > widths[-1] else [last]
        lines += [_line(heads, [*cells, wrapped[0]], widths, right)]
        lines += [_line(heads, [*([""] * len(cells)), more], widths, right) for more in wrapped[1:]]
    return "\n".join(lines)


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _narrow(widths: list[int], columns: Sequence[int], width: int) -> None:
    """Take from the widest of these columns until the line fits, or all of them are narrow."""
    over = _line_width(widths) - width
    while over > 0 and columns:
        widest = max(columns, key=lambda column: widths[column])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
        over -= 1


def _line(heads: Sequence[str], cells: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> str:
    return (
        (" " * _GAP)
        .join(
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, cells, widths, strict=True)
        )
        .rstrip()
    )
