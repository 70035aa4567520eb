"""Reading YAML so that every value can be found again in the file, and no file can hurt.

PyYAML's parser gives events; building the values from them here is what it takes to know each value's line, to refuse
a key that stands twice, and to bound depth, size and what aliases expand to. The result is plain dicts, lists, strings,
numbers, booleans and None.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_LARGEST_FILE = 2**20
_MOST_VALUES = 50_000
_MOST_OCTETS = 2 * _LARGEST_FILE  # with aliases counted out
_DEEPEST = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1


Where = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""


class Problem(NamedTuple):
    """One thing the operator has to mend."""

    mark: Mark
    path: Where
    message: str

    def __str__(self) -> str:
        """``FILE:LINE:COLUMN: services.echo.listen[0]: message``"""
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{_printable(step)}" for step in self.path)
        where = f"{_printable(self.mark.file)}:{self.mark.line}:{self.mark.column}: "
        # What a plugin says about its options may have several lines; a problem has one.
        message = " ".join(self.message.split("\n"))
        if not message.isprintable():
            message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        return where + (f"{path.removeprefix('.')}: " if path else "") + message


def _printable(text: str) -> str:
    return text if text.isprintable() and len(text) < 200 else repr(text[:200])


class SourceError(Exception):
    """The file cannot be read as one mapping."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass
class Source:
    """What a file holds, and where."""

    tree: dict[str, Any]
    marks: dict[Where, Mark]
    """The place of each value, and of each key under the path of its value with "key" put before."""
    problems: list[Problem]
    """Keys that stand twice and the like: the tree is usable all the same, to look for more."""

    def mark(self, path: Where, *, key: bool = False) -> Mark:
        """Where the value (or its key) stands, or the nearest one around it."""
        if key and ("key", *path) in self.marks:
            return self.marks["key", *path]
        while path not in self.marks:
            path = path[:-1]
        return self.marks[path]


def read(file: str, *, included: bool = False) -> Source:
    """The file's tree. `SourceError` says why there is none.

    A file that a pattern found must be a regular one: to open a fifo waits for somebody to write to it.
    """
    top = Mark(file)
    try:
        if included and not stat.S_ISREG(os.stat(file).st_mode):
            raise SourceError(Problem(top, (), "not a regular file"))
        with Path(file).open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(Problem(top, (), f"cannot be read: {reason}")) from None
    if len(content) > _LARGEST_FILE:
        raise SourceError(Problem(top, (), "larger than 1 MiB, which no config of this daemon needs"))
    return parse(content, file)


def parse(content: bytes, file: str) -> Source:
    """The tree in a file's content. `SourceError` says why there is none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SourceError(Problem(Mark(file, line + 1, column), (), "not UTF-8 text")) from None
    if bad := re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]", text):
        line = text.count("\n", 0, bad.start())
        mark = Mark(file, line + 1, bad.start() - text.rfind("\n", 0, bad.start()))
        raise SourceError(Problem(mark, (), f"not text: character {bad[0]!r}"))
    builder = _Builder(file)
    try:
        tree = builder.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise SourceError(Problem(mark, (), f"not YAML: {what}")) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SourceError(Problem(Mark(file), (), f"not YAML: {str(error).splitlines()[0]}")) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SourceError(Problem(builder.marks[()], (), "expected a mapping of sections such as services:"))
    return Source(tree, builder.marks, builder.problems)


class _Builder:
    """Builds one document's value from its events."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._values = 0
        self._octets = 0
        # The value, the number of values in it and of their octets; None while it is still being built.
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        self.marks: dict[Where, Mark] = {}
        self.problems: list[Problem] = []

    def document(self, events: Iterator[Any]) -> Any:
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop(event, (), "a second document in one file")
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, events, ())
        self.marks.setdefault((), Mark(self._file))
        return value

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _stop(self, event: Any, path: Where, message: str) -> SourceError:
        return SourceError(Problem(self._mark(event), path, message))

    def _note(self, event: Any, path: Where, message: str) -> None:
        self.problems.append(Problem(self._mark(event), path, message))

    def _count(self, event: Any, path: Where, number: int = 1, octets: int = 0) -> None:
        self._values += number
        self._octets += octets
        if self._values > _MOST_VALUES:
            raise self._stop(event, path, f"more than {_MOST_VALUES} values, aliases counted out")
        if self._octets > _MOST_OCTETS:
            raise self._stop(event, path, f"more than {_MOST_OCTETS} octets, aliases counted out")
        if len(path) > _DEEPEST:
            raise self._stop(event, path[:3], f"nested deeper than {_DEEPEST} levels")

    def _value(self, event: Any, events: Iterator[Any], path: Where) -> Any:
        before = self._values, self._octets
        self._count(event, path, octets=len(getattr(event, "value", "")))
        self.marks[path] = self._mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.CollectionStartEvent) and event.tag and not event.tag.startswith(_TAG):
            self._note(event, path, f"unknown tag {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            value: Any = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                value.append(self._value(item, events, (*path, len(value))))
        else:
            value = self._mapping(events, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._values - before[0], self._octets - before[1])
        return value

    def _alias(self, event: Any, path: Where) -> Any:
        # What is wrong below an alias is shown where the alias stands, since no mark is set below it.
        found = self._anchors.get(event.anchor)
        if found is None:
            known = event.anchor in self._anchors
            self._note(
                event, path, f"alias *{event.anchor} " + ("contains itself" if known else "has no anchor before it")
            )
            return None
        value, number, octets = found
        self._count(event, path, number, octets)
        return value

    def _mapping(self, events: Iterator[Any], path: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[tuple[Any, Any]] = []
        while not isinstance(key_event := next(events), yaml.MappingEndEvent):
            key = self._key(key_event, path)
            inner = (*path, key)
            if key == "<<" and not getattr(key_event, "style", None):
                merged.append((key_event, self._value(next(events), events, inner)))
                continue
            if key in mapping:
                first = self.marks["key", *inner]
                self._note(key_event, inner, f"this key stands twice, first in line {first.line}")
            else:
                self.marks["key", *inner] = self._mark(key_event)
            mapping[key] = self._value(next(events), events, inner)
        for key_event, value in merged:
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    self._note(key_event, path, "<< merges mappings only")
                    continue
                for key in one:
                    if key in mapping:
                        continue
                    mapping[key] = one[key]
                    self.marks["key", *path, key] = self.marks[*path, key] = self._mark(key_event)
        return mapping

    def _key(self, event: Any, path: Where) -> str:
        key = event.value if isinstance(event, yaml.ScalarEvent) else None
        if isinstance(event, yaml.AliasEvent):
            key = self._alias(event, path)
        if not isinstance(key, str):
            raise self._stop(event, path, "a key must be plain text")
        self._count(event, (*path, key), octets=len(key))
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            self._anchors[event.anchor] = (key, 1, len(key))
        return key

    def _scalar(self, event: Any, path: Where) -> Any:
        """Text, unless YAML 1.1 reads a plain scalar as null, a boolean or a number.

        Dates and the base-60 numbers of YAML 1.1 ("12:30") stay text, since nothing in a config is one.
        """
        tag = event.tag or _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
        node = yaml.ScalarNode(tag, event.value)
        try:
            match tag.removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return _CONSTRUCTOR.construct_yaml_bool(node)
                case "int" if ":" not in event.value and len(event.value) < 32:
                    return _CONSTRUCTOR.construct_yaml_int(node)
                case "float" if ":" not in event.value:
                    return _CONSTRUCTOR.construct_yaml_float(node)
                case "!" | "str" | "int" | "float" | "timestamp" | "value" | "merge":
                    return event.value
        except (ValueError, KeyError, IndexError):  # what PyYAML raises for an int or float that is none
            pass
        self._note(event, path, f"cannot be read as {tag.removeprefix(_TAG)}")
        return None
