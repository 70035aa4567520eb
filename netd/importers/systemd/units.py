"""Unit files of systemd: sections, keys and drop-ins, with the place of each (systemd.syntax(7)). Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from netd.importers.account import Place
from netd.importers.source_files import Line

_YES = frozenset(("1", "yes", "y", "true", "t", "on"))
_NO = frozenset(("0", "no", "n", "false", "f", "off"))
_SECONDS = {
    "": 1.0,
    **dict.fromkeys(("us", "usec", "µs", "μs"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_OCTETS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}


@dataclass(frozen=True, slots=True)
class Directive:
    """One assignment of a unit file."""

    place: Place
    """The line on which it begins."""
    section: str
    key: str
    value: str
    comments: tuple[str, ...] = ()
    """The comments above it, without their marks."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line that systemd ignores, with a warning."""

    place: Place
    text: str
    reason: str


@dataclass(slots=True)
class Unit:
    """A unit: its file and its drop-ins, in the order in which systemd reads them."""

    name: str
    directives: list[Directive] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    """Comments at the ends of its files, after all assignments."""

    def add(self, lines: Iterable[Line]) -> None:
        """Read the lines of a further file of the unit."""
        comments: list[str] = []
        section = ""
        for place, line, is_comment in _joined(lines):
            if is_comment:
                comments.append(line.lstrip("#;").strip())
            elif line.startswith("["):
                if line.endswith("]"):
                    section = line[1:-1]
                else:
                    self.ignored.append(Ignored(place, line, "it is no section"))
            else:
                key, equals, value = line.partition("=")
                key = key.rstrip()
                if not equals or not key:
                    self.ignored.append(Ignored(place, line, "it is no assignment"))
                elif not section:
                    self.ignored.append(Ignored(place, line, "it is in no section"))
                else:
                    self.directives.append(Directive(place, section, key, value.strip(), tuple(comments)))
                    comments.clear()
        self.comments += comments

    def last(self, section: str, key: str) -> Directive | None:
        """The assignment that counts, of a key with one value; None: there is none, or it is empty."""
        found = self.listed(section, key)
        return found[-1] if found else None

    def value(self, section: str, key: str, default: str = "") -> str:
        """The value that counts, of a key with one value; ``default`` where there is none, or an empty one."""
        found = self.last(section, key)
        return found.value if found else default

    def listed(self, section: str, *keys: str) -> list[Directive]:
        """The assignments of keys that make one list; an empty value of any of them begins it anew."""
        found: list[Directive] = []
        for one in self.directives:
            if one.section == section and one.key in keys:
                if one.value:
                    found.append(one)
                else:
                    found.clear()
        return found

    def set_aside(self, section: str, *keys: str) -> set[Directive]:
        """The assignments of keys that make one list which a later empty value has removed."""
        kept = set(self.listed(section, *keys))
        return {one for one in self.directives if one.section == section and one.key in keys and one not in kept}


def drop_in_names(name: str) -> list[str]:
    """The directories of drop-ins for a unit, the first to win: its own, those of its prefixes, as ``foo-.socket.d``.

    A template has those of its prefixes as templates too (``foo-@.service.d``), which systemd.unit(5) does not say.
    Those for all units of a type, as ``socket.d``, come after all of these.
    """
    stem, _, kind = name.rpartition(".")
    prefix, at, _ = stem.partition("@")
    prefixes = []
    while "-" in (prefix := prefix[:-1]):
        prefix = prefix[: prefix.rindex("-") + 1]
        prefixes.append(prefix)
    templates = [f"{one}@" for one in prefixes] if at else []
    return [f"{one}.{kind}.d" for one in (stem, *prefixes, *templates)]


def drop_in_order(names: Iterable[tuple[str, str]]) -> list[str]:
    """The drop-ins to read, of (directory, file name), the first directory being the first to win.

    A name in a directory hides the same one in later directories; all are read in the order of their names.
    """
    chosen: dict[str, str] = {}
    for directory, name in names:
        if name.endswith(".conf") and not name.startswith("."):
            chosen.setdefault(name, directory)
    return [f"{directory}/{name}" for name, directory in sorted(chosen.items())]


def _joined(lines: Iterable[Line]) -> Iterator[tuple[Place, str, bool]]:
    """Each line with its place, and whether it is a comment. Continued ones are joined by a blank."""
    joined = ""
    begin: Place | None = None
    for line in lines:
        text = line.text.removesuffix("\r")
        if text.lstrip(" \t").startswith(("#", ";")):
            yield line.place, text.strip(), True
            continue
        begin = begin or line.place
        joined += text if joined else text.lstrip(" \t")
        if (len(text) - len(text.rstrip("\\"))) % 2:
            joined = joined[:-1] + " "
            continue
        if found := joined.strip():
            yield begin, found, False
        joined, begin = "", None
    if begin and (found := joined.strip()):
        yield begin, found, False


def switch(text: str) -> bool:
    """A boolean. Raises ValueError."""
    if (word := text.lower()) in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError("it is no boolean")


def seconds(text: str) -> float | None:
    """A time span such as ``5min 20s``, in seconds; None: infinity. Raises ValueError."""
    if text.strip() == "infinity":
        return None
    total = 0.0
    rest = text.strip()
    while rest:
        match = re.match(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-zµμ]*)\s*", rest, re.ASCII)
        if match is None or match[2] not in _SECONDS:
            raise ValueError("it is no time span")
        total += float(match[1]) * _SECONDS[match[2]]
        rest = rest[match.end() :]
    return total


def octets(text: str) -> int | None:
    """A size such as ``64K``, in octets; None: infinity. Raises ValueError."""
    if text == "infinity":
        return None
    match = re.fullmatch(r"(\d{1,18})\s*([BKMGTPE]?)", text, re.ASCII)
    if match is None:
        raise ValueError("it is no size")
    return int(match[1]) * _OCTETS[match[2]]


def count(text: str) -> int:
    """A number that is not negative. Raises ValueError."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError("it is no number")
    return int(text)
