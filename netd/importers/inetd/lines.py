"""The lines of an inetd.conf, in each dialect: words, with the comments above them. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from netd.importers import source_files
from netd.importers.account import Place
from netd.importers.inetd import keys
from netd.importers.inetd.dialects import Dialect

_BLANKS = re.compile("[ \t]+")
_WHOLE = re.compile(r"""[ \t]*(?:"([^"]*)"?|'([^']*)'?|([^ \t]+))""")
_DEFINITION = re.compile(r"[ \t]*([^ \t#]+)[ \t]+(on|off)(|[ \t#].*)")
_OFF = "#<off>#"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, with those that continue it."""

    place: Place
    """Where it begins."""
    kind: Literal["words", "policy", "cut", "refused", "comments"]
    """words: a service, a default host or an include; policy: one of IPsec (``#@``); cut: longer than the buffer of
    inetd; refused: keys and values that inetd does not take; comments: those at the end of the file.
    """
    text: str
    """As the file has it, without its end."""
    words: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    """The comments above it, without their number signs."""
    is_off: bool = False
    """Whether it is switched off, by update-inetd(8) or by the word ``off``."""
    policy: str = ""
    """The IPsec policy that it has; empty: none."""
    ip_max: str = ""
    """The most connections of one address in a minute, of NetBSD's key of this name."""
    reason: str = ""
    """Why it is refused."""


def read(source: Iterable[source_files.Line], dialect: Dialect, policy: str = "") -> Iterator[Line]:
    """The lines of a file that say something, in its order. A CR at the end of a line is part of its last word.

    ``policy``: the IPsec policy that holds at its beginning.
    """
    comments: list[str] = []
    for line in _joined(source, dialect):
        if line.kind == "comments":
            comments.append(line.text.removeprefix("#").removeprefix(" "))
            place = line.place
        elif line.kind == "policy":
            policy = line.text[2:].strip()
            yield replace(line, comments=tuple(comments), policy=policy)
            comments.clear()
        else:
            yield replace(line, comments=(*comments, *line.comments), policy=line.policy or policy)
            comments.clear()
    if comments:
        yield Line(place, "comments", "", comments=tuple(comments))


def _joined(source: Iterable[source_files.Line], dialect: Dialect) -> Iterator[Line]:
    """The lines, with those that continue them; a comment is one without words."""
    parts: list[Line] = []  # the line that is open, and those that continue it
    source = iter(source)
    for read_line in source:
        if dialect.has_keys and (match := _DEFINITION.fullmatch(read_line.text)):
            if parts:
                yield _one(parts)
                parts = []
            try:
                yield _definition(read_line, match, source)
            except keys.DefinitionError as error:
                reason = f"{dialect.program} stops to read the file here: {error}"
                yield Line(read_line.place, "refused", read_line.text.strip(), reason=reason)
                return
            continue
        line = _line(read_line.place, read_line.text, dialect)
        if parts and dialect.continues and line and line.words and read_line.text.startswith((" ", "\t")):
            parts.append(line)
            continue
        if parts:
            yield _one(parts)
            parts = []
        if line and line.words:
            parts = [line]
        elif line:
            yield line
    if parts:
        yield _one(parts)


def _definition(line: source_files.Line, match: re.Match[str], more: Iterator[source_files.Line]) -> Line:
    """A service in keys and values, as a line of words. Raises `keys.DefinitionError`."""
    name, switch, rest = match.groups()
    found = keys.read(rest, more)
    made = Line(line.place, "refused", line.text.strip(), comments=tuple(found.comments), is_off=switch == "off")
    try:
        words = keys.words(name, found)
    except ValueError as error:
        return replace(made, reason=f"inetd skips it: {error}")
    return replace(made, kind="words", words=words, ip_max=found.value("ip_max"), policy=found.value("ipsec"))


def _one(parts: list[Line]) -> Line:
    """A line and those that continue it."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        kind="cut" if any(part.kind == "cut" for part in parts) else "words",
        text=" ".join(part.text for part in parts),
        words=tuple(word for part in parts for word in part.words),
    )


def _line(place: Place, text: str, dialect: Dialect) -> Line | None:
    """One line; None: it is blank."""
    is_off = text.startswith(_OFF)
    if text.startswith("#") and not is_off:
        if dialect.policies and text.startswith("#@"):
            return Line(place, "policy", text)
        return Line(place, "comments", text)
    words = _words(text.removeprefix(_OFF), dialect)
    if not words:
        return None
    return Line(place, "cut" if _is_cut(text, dialect) else "words", text.strip(), words, is_off=is_off)


def _is_cut(text: str, dialect: Dialect) -> bool:
    """Whether the buffer of inetd holds less than the line, its end and a NUL."""
    return 0 < dialect.longest_line < len(text.encode("utf-8", "surrogateescape")) + 2


def _words(text: str, dialect: Dialect) -> tuple[str, ...]:
    match dialect.quotes:
        case "none":
            return tuple(word for word in _BLANKS.split(text) if word)
        case "whole":
            found = (match.groups() for match in _WHOLE.finditer(text))
            return tuple(next(one for one in groups if one is not None) for groups in found)
        case "inside":
            return tuple(_with_quotes_inside(text))


def _with_quotes_inside(text: str) -> Iterator[str]:
    """Words of NetBSD: quotes are removed wherever they stand, and keep blanks together."""
    word: list[str] | None = None
    quote = ""
    for character in text:
        if character in " \t" and not quote:
            if word is not None:
                yield "".join(word)
            word = None
            continue
        word = [] if word is None else word
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        else:
            word.append(character)
    if word is not None:
        yield "".join(word)
