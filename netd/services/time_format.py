"""The ``format`` option of daytime and time: a strftime(3) format that is safe to take from a peer."""

import math
import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator

from netd.notation import Notation
from netd.text import shown

LONGEST_FORMAT = 256
# The directives that may go to strftime(3): each yields some thirty characters at most. No widths ("%1000000000d" is an
# attack), no %n and %t (an answer is one line), and only those that every libc supports.
_DIRECTIVE = re.compile(r"%(?:[aAbBcCdDeFgGhHIjmMprRSTuUVwWxXyYzZfs%]|-[dHIjmMSUWVy])")


def check_format(text: str) -> str:
    """The format, if it is a strftime format that is safe to use; else raise ValueError."""
    if len(text) > LONGEST_FORMAT:
        raise ValueError(f"expected a format of at most {LONGEST_FORMAT} characters, got {len(text)}")
    if not text.isprintable():
        raise ValueError(f"expected a format of printable characters, got {shown(text)}")
    if "%" in (rest := _DIRECTIVE.sub("", text)):
        at = rest.index("%")
        raise ValueError(f"unknown directive {shown(rest[at : at + 2])}")
    return text


def format_time(text: str, when: datetime) -> str:
    """``when`` in a checked format.

    Only the directives go to strftime, so other text cannot fail in some locale. Each goes there once, however often
    the format repeats it, so that a long format costs little.
    """
    expanded = {"%%": "%"}

    def expand(match: re.Match[str]) -> str:
        directive = match[0]
        if directive not in expanded:
            # strftime's %s ignores the time zone of its argument.
            seconds = directive == "%s"
            expanded[directive] = str(math.floor(when.timestamp())) if seconds else when.strftime(directive)
        return expanded[directive]

    return _DIRECTIVE.sub(expand, text)


Format = Annotated[str, AfterValidator(check_format), Notation("format of strftime(3)")]
