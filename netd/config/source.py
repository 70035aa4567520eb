"""Reads YAML, with the position of each value, and with bounds on what a file can cost.

The values are built from the events of PyYAML's parser, which makes it possible to record the line of each, to refuse
duplicate keys, and to limit depth, size and the expansion of aliases. The result consists of dicts, lists, strings,
numbers, booleans and None.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

import yaml

from netd.config import syntax
from netd.config.problems import Mark, Problem, Where

_LARGEST_FILE = 2**20
_MOST_VALUES = 50_000
_MOST_OCTETS = 2 * _LARGEST_FILE  # with aliases expanded
_DEEPEST = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"


Place = tuple[Any, ...]
"""The position of a value: line and column; then for a list the positions of its items, for a mapping those of each key
and its value, by key. Tuples, since objects would cost much memory for tens of thousands of items."""


class SourceError(Exception):
    """The file cannot be read, or is no mapping."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Source:
    """The values of a file and their positions."""

    def __init__(self, file: str, tree: dict[str, Any], place: Place, problems: list[Problem], values: int) -> None:
        self.file = file
        self.tree = tree
        self.problems = problems
        """Duplicate keys and the like, which leave a tree that can be checked for more problems."""
        self.values = values
        """The number of values, aliases expanded."""
        self.unreadable = {problem.path for problem in problems}
        self.place = place
        """The position of the tree."""

    def mark(self, path: Where, *, key: bool = False) -> Mark:
        """The position of a value (or its key), or of the nearest one that contains it."""
        place: Any = self.place
        for number, step in enumerate(path, 1):
            inner: Any = place[2] if len(place) > 2 else ()
            try:
                at_key, at_value = inner[step] if isinstance(inner, dict) else (None, inner[step])
            except (LookupError, TypeError):
                break
            if key and number == len(path) and at_key:
                return Mark(self.file, *at_key)
            place = at_value
        return Mark(self.file, *place[:2])

    def rename(self, section: str, old: str, new: str) -> None:
        """Rename a key of a section, at the same position, unless the new name is there already."""
        # A copy, since another section may be an alias of the same mapping.
        given = dict(self.tree[section])
        given.setdefault(new, given.pop(old))
        self.tree[section] = given
        at_key, at_value = self.place[2][section]
        if len(at_value) > 2:
            keys = dict(at_value[2])
            keys.setdefault(new, keys.pop(old))
            self.place[2][section] = (at_key, (*at_value[:2], keys))
        if (section, old) in self.unreadable:
            self.unreadable.add((section, new))


def read(file: str) -> Source:
    """Read a file. Raises `SourceError`, also for anything but a regular file: reading a FIFO could block for ever."""
    top = Mark(file)
    try:
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SourceError(Problem(top, (), "not a regular file"))
            content = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(Problem(top, (), f"cannot be read: {reason}")) from None
    if len(content) > _LARGEST_FILE:
        raise SourceError(Problem(top, (), "the file is larger than 1 MiB"))
    if not content.strip():
        # A full disk leaves such a file, or an editor for a moment; a reload would end all services.
        raise SourceError(Problem(top, (), "the file is empty", "a comment makes a file without services valid"))
    return parse(content, file)


def parse(content: bytes, file: str) -> Source:
    """Parse the content of a file. Raises `SourceError`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SourceError(Problem(Mark(file, line + 1, column), (), "invalid UTF-8")) from None
    if bad := re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]", text):
        line = text.count("\n", 0, bad.start())
        mark = Mark(file, line + 1, bad.start() - text.rfind("\n", 0, bad.start()))
        raise SourceError(Problem(mark, (), f"invalid character {bad[0]!r}"))
    builder = _Builder(file)
    try:
        tree, place = builder.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        fault = syntax.explain(error, text, _LOADER)
        raise SourceError(Problem(Mark(file, fault.line, fault.column), (), fault.message, fault.hint)) from None
    except (yaml.YAMLError, RecursionError):  # its limit of nesting, for example
        raise SourceError(Problem(Mark(file), (), "invalid YAML: nested too deep, or a line too long")) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SourceError(Problem(Mark(file, *place[:2]), (), "expected a mapping of sections such as services:"))
    return Source(file, tree, place, builder.problems, builder.values)


class _Builder:
    """Builds the values of a document, and their positions, from its events."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.values = 0
        self._octets = 0
        # The value, the number of values in it, and of their octets; None while it is being built.
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        self.problems: list[Problem] = []

    def document(self, events: Iterator[Any]) -> tuple[Any, Place]:
        """The value of the only document, and its line and column; None for an empty one. Raises SourceError."""
        found: tuple[Any, Place] = (None, (1, 1))
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop(event, (), "more than one document in the file")
            elif isinstance(event, yaml.NodeEvent):
                found = self._value(event, events, ())
        return found

    def _stop(self, event: Any, path: Where, message: str) -> SourceError:
        return SourceError(Problem(Mark(self._file, *_place(event)), path, message))

    def _add_problem(self, event: Any, path: Where, message: str, hint: str = "") -> None:
        self.problems.append(Problem(Mark(self._file, *_place(event)), path, message, hint))

    def _count(self, event: Any, path: Where, number: int = 1, octets: int = 0) -> None:
        self.values += number
        self._octets += octets
        if self.values > _MOST_VALUES:
            raise self._stop(event, path, f"more than {_MOST_VALUES} values, aliases expanded")
        if self._octets > _MOST_OCTETS:
            raise self._stop(event, path, f"more than {_MOST_OCTETS} octets, aliases expanded")
        if len(path) > _DEEPEST:
            raise self._stop(event, path[:3], f"nested deeper than {_DEEPEST} levels")

    def _value(self, event: Any, events: Iterator[Any], path: Where) -> tuple[Any, Place]:
        if type(event) is yaml.ScalarEvent and not event.anchor:  # nearly all events
            self._count(event, path, octets=len(event.value))
            return self._scalar(event, path), _place(event)
        before = self.values, self._octets
        self._count(event, path, octets=len(getattr(event, "value", "")))
        place: Place = _place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path), place
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.CollectionStartEvent) and event.tag and not event.tag.startswith(_TAG):
            self._add_problem(event, path, f"unknown tag {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            value: Any = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value, places = [], []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                inner, at_inner = self._value(item, events, (*path, len(value)))
                value.append(inner)
                places.append(at_inner)
            place = (*place, places)
        else:
            value, keys = self._mapping(events, path)
            place = (*place, keys)
        if event.anchor:
            self._anchors[event.anchor] = (value, self.values - before[0], self._octets - before[1])
        return value, place

    def _alias(self, event: Any, path: Where) -> Any:
        # Problems inside an alias have the position of the alias, since the values in it have none.
        found = self._anchors.get(event.anchor)
        if found is None:
            what = "recursive" if event.anchor in self._anchors else "undefined"
            self._add_problem(event, path, f"{what} alias *{event.anchor}")
            return None
        value, number, octets = found
        self._count(event, path, number, octets)
        return value

    def _mapping(self, events: Iterator[Any], path: Where) -> tuple[dict[str, Any], dict[str, tuple[Place, Place]]]:
        mapping: dict[str, Any] = {}
        places: dict[str, tuple[Place, Place]] = {}
        merged: list[tuple[Any, Any]] = []
        while not isinstance(key_event := next(events), yaml.MappingEndEvent):
            key = self._key(key_event, path)
            inner = (*path, key)
            at_key = _place(key_event)
            if key == "<<" and not getattr(key_event, "style", None):
                merged.append((key_event, self._value(next(events), events, inner)[0]))
                continue
            if key in mapping:
                at_key = places[key][0]
                self._add_problem(key_event, inner, f"duplicate key, first in line {at_key[0]}")
            mapping[key], at_value = self._value(next(events), events, inner)
            places[key] = at_key, at_value
        for key_event, value in merged:
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    self._add_problem(key_event, path, "<< merges mappings only")
                    continue
                for key in one:
                    if key not in mapping:
                        mapping[key] = one[key]
                        places[key] = _place(key_event), _place(key_event)
        return mapping, places

    def _key(self, event: Any, path: Where) -> str:
        key = event.value if isinstance(event, yaml.ScalarEvent) else None
        if isinstance(event, yaml.AliasEvent):
            key = self._alias(event, path)
        if not isinstance(key, str):
            raise self._stop(event, path, "a key must be a string")
        self._count(event, (*path, key), octets=len(key))
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            self._anchors[event.anchor] = (key, 1, len(key))
        return key

    def _scalar(self, event: Any, path: Where) -> Any:
        """A string, or what YAML 1.1 resolves a plain scalar to: null, a boolean or a number.

        Dates and the base-60 numbers of YAML 1.1 ("12:30") stay strings, since no value of a config is one.
        """
        text = event.value
        if event.implicit[0] and ("/" in text or text.count(".") > 1):
            return text  # a network or address, as most values of a long file, and never a number or boolean
        tag = event.tag or _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
        node = yaml.ScalarNode(tag, event.value)
        try:
            match tag.removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return _CONSTRUCTOR.construct_yaml_bool(node)
                case "int" if path[-1:] == ("umask",):
                    return text  # octal, as in the shell, with or without a zero
                case "int" if ":" not in event.value and len(event.value) < 32:
                    number = _CONSTRUCTOR.construct_yaml_int(node)
                    if event.implicit[0] and re.match("[-+]?0[0-7_]+$", event.value):
                        self._add_problem(
                            event,
                            path,
                            f"{event.value} is {number} in YAML 1.1, which takes a leading zero for octal",
                            "write it without the zero, or in quotes",
                        )
                    return number
                case "float" if ":" not in event.value:
                    return _CONSTRUCTOR.construct_yaml_float(node)
                case "!" | "str" | "int" | "float" | "timestamp" | "value" | "merge":
                    return event.value
        except (ValueError, KeyError, IndexError):  # from PyYAML, for an invalid int or float
            pass
        self._add_problem(event, path, f"cannot be read as {tag.removeprefix(_TAG)}")
        return None


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
