"""The lines of a file of xinetd, as xinetd splits them: entries in braces, with attributes, and comments.

There is no quoting, no escape and no continuation, and no comment at the end of a line. A line that is not as it should
be ends its entry, and reading goes on behind the next ``}``.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from netd.errors import ConfigError
from netd.importers.account import Place
from netd.importers.source_files import Line

_LONGEST_LINE = 16 * 1024
_ATTRIBUTE = re.compile(r"[ \t]*([^ \t]+)[ \t]+([-+]?=)(.*)", re.DOTALL)
_WORD = re.compile(r"\S+", re.ASCII)  # other blanks, such as U+00A0, are characters
_KEYWORDS = ("service", "defaults", "include", "includedir")


@dataclass
class Attribute:
    """A line ``NAME OP VALUE...`` within an entry."""

    name: str
    """In lower case."""
    operator: str
    """``=``, ``+=`` or ``-=``."""
    values: list[str]
    place: Place
    text: str
    comments: list[str] = field(default_factory=list)
    """The comments above it."""


@dataclass
class Entry:
    """An entry: ``service NAME``, ``defaults``, ``include FILE``, ``includedir DIR``; or the end of the file."""

    keyword: str
    """In lower case; empty for the end of the file, which may have comments."""
    name: str
    place: Place
    text: str
    comments: list[str]
    attributes: list[Attribute] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)
    """The comments behind the last attribute."""
    fault: str = ""
    """Why xinetd drops the entry."""
    fault_place: Place | None = None

    def all_comments(self) -> list[str]:
        """The comments above it and within it."""
        within = (text for one in self.attributes for text in one.comments)
        return [*self.comments, *within, *self.closing]


def entries(lines: Iterable[Line]) -> Iterator[Entry]:
    """The entries of a file. Raises `ConfigError` for a line that is longer than xinetd reads."""
    source = _Source(lines)
    end = Place("")
    while (line := source.next()) is not None:
        end = line.place
        words = _WORD.findall(line.text)
        keyword = words[0].lower()
        name = words[1] if len(words) > 1 else ""
        entry = Entry(keyword, name, line.place, line.text.strip(), source.take_comments())
        if keyword not in _KEYWORDS:
            entry.fault = "unknown keyword: xinetd skips all up to the next }"
            source.skip()
        elif keyword.startswith("include"):
            if not name:
                entry.fault = "the name is missing"
        elif keyword == "service" and not name:
            entry.fault = "the name of the service is missing: xinetd skips it"
            source.skip()
        else:
            _read_attributes(entry, source)
        yield entry
    if source.comments:
        yield Entry("", "", end, "", source.take_comments())


def _read_attributes(entry: Entry, source: "_Source") -> None:
    line = source.next()
    if line is None or line.text.strip(" \t") != "{":
        where = " in a line of its own" if re.search(r"\{[ \t]*$", entry.text) else ""
        ends = "; the line ends in CR LF, and xinetd takes the CR for a character"
        entry.fault = (
            f"the {{{where} is missing: xinetd skips the entry{ends if line and line.text[-1:] == chr(13) else ''}"
        )
        entry.fault_place = line.place if line else None
        source.skip()
        return
    while True:
        line = source.next()
        if line is None:
            entry.fault = "the } is missing: xinetd drops the entry"
            return
        if line.text.strip(" \t") == "}":
            entry.closing = source.take_comments()
            return
        match = _ATTRIBUTE.fullmatch(line.text)
        if match is None:
            entry.fault = "no attribute, a blank and =, += or -=: xinetd drops the whole entry"
            entry.fault_place = line.place
            entry.closing = source.take_comments()
            source.skip()
            return
        entry.attributes.append(
            Attribute(
                match[1].lower(),
                match[2],
                [word for word in re.split("[ \t]+", match[3]) if word],
                line.place,
                " ".join(line.text.split()),
                source.take_comments(),
            )
        )


class _Source:
    """The lines that are neither blank nor comments; those are kept until they are taken."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.comments: list[str] = []

    def next(self) -> Line | None:
        """The next line. None: there is none. Raises ConfigError for a line that xinetd does not read."""
        for line in self._lines:
            if len(line.text) > _LONGEST_LINE:
                raise ConfigError([f"{line.place}: the line is longer than 16 KiB, which xinetd does not read"])
            bare = line.text.strip(" \t")
            if bare.startswith("#"):
                self.comments.append(re.sub("^#+ ?", "", bare.rstrip("\r")).rstrip())
            elif _WORD.search(bare):
                return line
        return None

    def skip(self) -> None:
        """Go on behind the next ``}`` that stands alone."""
        while (line := self.next()) is not None and line.text.strip(" \t") != "}":
            pass

    def take_comments(self) -> list[str]:
        """The comments since the last call, a text for each line."""
        taken, self.comments = self.comments, []
        return taken
