"""A view of prepared answers, and the screen that shows it, for the tests of `netd top`."""

import io
import re
from typing import Any

from rich.console import Console

from netd.cli.top.screen import Screen
from netd.cli.top.view import View
from tests.cli.top.answers import answer


def view(*services: dict[str, Any], sort: str = "RATE") -> View:
    made = View(sort)
    made.on_status(answer(*services), 0.0)
    return made


def press(shown: View, *pressed: str) -> list[tuple[str, ...]]:
    return [words for key in pressed if (words := shown.press(key)) is not None]


def screen(shown: View, width: int = 80, height: int = 24, *, blocks: bool = True) -> list[str]:
    """The lines of the screen, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn(shown, width, height, blocks=blocks)).splitlines()


def drawn(shown: View, width: int = 80, height: int = 24, *, blocks: bool = True) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, markup=False, width=width, height=height, color_system="standard")
    console.print(Screen(shown, blocks=blocks).draw(width, height))
    return out.getvalue()
