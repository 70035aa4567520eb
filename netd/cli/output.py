"""The output of commands: a table of text, or the answer of netd as JSON."""

import json
from collections.abc import Iterable, Sequence

import click

from netd.client.control import Answer
from netd.errors import EXIT_OK
from netd.text import printable


def print_answer(answer: Answer, text: str, *, as_json: bool) -> int:
    """Print an answer: the text made of it, or the answer itself as JSON. The exit code."""
    shown = {key: value for key, value in answer.received.items() if key != "ok"}
    click.echo(json.dumps(shown, indent=2) if as_json else text)
    return EXIT_OK


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> str:
    """Columns as wide as their widest cell; those named in ``right`` are flush right. Cells are escaped."""
    texts = [list(heads), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in texts
    )
