"""What the options of several commands have in common."""

from collections.abc import Callable
from typing import TypeVar

import click

T = TypeVar("T")


def parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """A callback that says what an argument means; ValueError becomes a usage error that names it."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback
