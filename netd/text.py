"""Text for terminals, logs and error messages: escaping, quoted values, suggestions for misspelt words."""

import difflib
import reprlib
from collections.abc import Iterable

_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxlong = _QUOTE.maxother = 50
_QUOTE.maxlevel = 3
_QUOTE.fillvalue = "…"
_LONGEST_PORT = len(":65535")


def printable(text: str) -> str:
    """The text on one line, with control characters and others that are not printable escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else escaped(one) for one in text)


def escaped(text: str) -> str:
    """The text in printable ASCII, the rest escaped as in a Python string: different texts stay different."""
    return text.encode("unicode_escape").decode("ascii")


def shortened(text: str, width: int) -> str:
    """The text, cut in the middle where it has more than ``width`` characters: both ends of a URL tell it apart.

    The end has all digits of a port, also where there is space for little else.
    """
    if len(text) <= width:
        return text
    end = max(0, width - 1) // 2
    port = len(text) - text.rfind(":")
    if port <= _LONGEST_PORT and port <= width - 2:
        end = max(end, port)
    return text[: max(0, width - 1 - end)] + "…" + text[len(text) - end :]


def shown(value: object) -> str:
    """A value as error messages quote it: at most 60 characters, and cheap for any value."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else _QUOTE.repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def likely(given: str, known: Iterable[str]) -> str:
    """``did you mean 'idle'?`` for a misspelt word, ``known: …`` if none is similar, empty if none is known."""
    by_lower = {word.lower(): word for word in sorted(known, reverse=True)}
    if near := difflib.get_close_matches(given.lower(), by_lower, n=1):
        return f"did you mean '{by_lower[near[0]]}'?"
    return f"known: {', '.join(sorted(by_lower.values()))}" if by_lower else ""


def suggestion(given: str, known: Iterable[str]) -> str:
    """As `likely`, to append to a message: ``; did you mean 'idle'?``"""
    hint = likely(given, known)
    return f"; {hint}" if hint else ""
