"""Writes the YAML of a `Document`, with comments.

Text that YAML would read as something else, or that has other than plain characters, stands in double quotes.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import yaml

from netd.importers.document import Document, Path, Word
from netd.text import printable

_LONGEST_LINE = 110
_PLAIN = re.compile(r"-*[A-Za-z0-9_/.*+=~^][A-Za-z0-9_/.*+=~^:@%-]*")
_RESOLVER: Any = yaml.resolver.Resolver()
_TEXT = "tag:yaml.org,2002:str"


def render(document: Document) -> str:
    """The text of a config."""
    lines = [_comment(line, "") for line in document.heading]
    if lines:
        lines.append("")
    if document.daemon:
        lines += ["daemon:", *_mapping(document.daemon, (), {}, 1)]
    lines.append("services:" if document.services else "services: {}")
    for number, (name, service) in enumerate(document.services.items()):
        if number:
            lines.append("")
        lines += [_comment(line, "  ") for line in service.comments]
        lines.append(f"  {scalar(name)}:")
        lines += _mapping(service.tree, (), service.explained, 2)
    if document.closing:
        lines += ["", *(_comment(line, "") for line in document.closing)]
    return "\n".join(lines) + "\n"


def _comment(line: str, indent: str) -> str:
    return f"{indent}# {printable(line.expandtabs())}".rstrip()


def _mapping(tree: dict[str, Any], path: Path, explained: dict[Path, list[str]], depth: int) -> Iterator[str]:
    """The lines of a mapping: in a block where keys of it have comments or it is long, else in a line."""
    indent = "  " * depth
    for key, value in tree.items():
        here = (*path, key)
        yield from (_comment(line, indent) for line in explained.get(here, ()))
        line = f"{indent}{scalar(key)}: {flow(value)}"
        within = any(other[: len(here)] == here and len(other) > len(here) for other in explained)
        if not isinstance(value, dict | list) or not value or (len(line) <= _LONGEST_LINE and not within):
            yield line
            continue
        yield f"{indent}{scalar(key)}:"
        if isinstance(value, dict):
            yield from _mapping(value, here, explained, depth + 1)
        else:
            yield from (f"{indent}  - {flow(item)}" for item in value)


def flow(value: object) -> str:
    """A value as YAML in a line."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | Word) else scalar(str(value))


@functools.lru_cache(maxsize=65536)
def scalar(text: str) -> str:
    """A text as YAML, in quotes where it is needed."""
    plain = _PLAIN.fullmatch(text) and not text.endswith(":") and not text.startswith("*")
    if plain and _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(one: str) -> str:
    if one in '"\\':
        return f"\\{one}"
    if one.isprintable():
        return one
    return f"\\x{ord(one):02x}" if one < "\x80" else f"\\U{ord(one):08x}"
