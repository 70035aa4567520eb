"""Text for terminals, logs and error messages: escaping, quoted values, suggestions for misspelt words."""

import difflib
import reprlib
from collections.abc import Iterable

_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxlong = _QUOTE.maxother = 50
_QUOTE.maxlevel = 3


def printable(text: str) -> str:
    """The text on one line, with control characters and others that are not printable escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else escaped(one) for one in text)


def escaped(text: str) -> str:
    """The text in printable ASCII, the rest escaped as in a Python string: different texts stay different."""
    return text.encode("unicode_escape").decode("ascii")


def shown(value: object) -> str:
    """A value as error messages quote it: at most 60 characters, and cheap for any value."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else _QUOTE.repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def suggestion(given: str, known: Iterable[str]) -> str:
    """``; did you mean 'idle'?`` for a misspelt word, or ``; known: …`` if none is similar."""
    known = sorted(known)
    if near := difflib.get_close_matches(given, known, n=1):
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
