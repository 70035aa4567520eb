"""Which line of which file a value of a config in force came from, in little memory: each file as a compressed text.

A running netd keeps it for `netd config` (`in_force.py`), since the files may have changed meanwhile.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

from netd.config.source import Place, Source

Node = list[Any]
"""The line of a value, and the value: a scalar; for a list or a mapping the nodes of its items. Of a list of more than
a thousand items no lines are kept: its third item is the list."""

_SECTIONS = ("include", "daemon", "log", "bans", "defaults", "services")
_MOST_ITEMS = 1000
_FASTEST = 1  # of zlib, which makes it half as long again as the slowest


def pack(part: Source) -> bytes:
    """What a file says."""
    places = part.place[2] if len(part.place) > 2 else {}
    nodes = {key: _node(part.tree[key], places[key][1]) for key in _SECTIONS if key in part.tree}
    return zlib.compress(json.dumps([part.file, nodes]).encode(), _FASTEST)


def unpack(packed: bytes) -> tuple[str, dict[str, Node]]:
    """The path of a file, and the nodes of its sections, from what `pack` made."""
    file, nodes = json.loads(zlib.decompress(packed))
    return file, nodes


def _node(value: Any, place: Place) -> Node:
    # What an alias or << has brought in has no position of its own, but that of the alias.
    inner: Any = place[2] if len(place) > 2 else None
    if isinstance(value, dict):
        known = inner if isinstance(inner, dict) else {}
        return [place[0], {key: _node(one, known[key][1] if key in known else place) for key, one in value.items()}]
    if isinstance(value, list):
        if len(value) > _MOST_ITEMS:
            return [place[0], None, value]
        places = inner if isinstance(inner, list) else [place] * len(value)
        return [place[0], [_node(*both) for both in zip(value, places, strict=True)]]
    return [place[0], value]


def inner(node: Node | None, key: str) -> Node | None:
    """The node of a key, or None."""
    value = node[1] if node else None
    found: Node | None = value.get(key) if isinstance(value, dict) else None
    return found


def value_of(node: Node) -> Any:
    """The value as the file has it."""
    if len(node) > 2:
        return node[2]
    value = node[1]
    if isinstance(value, dict):
        return {key: value_of(one) for key, one in value.items()}
    return [value_of(one) for one in value] if isinstance(value, list) else value


def item_lines(node: Node) -> Iterator[int]:
    """The line of each item of a list; nothing for another value, and for a long list."""
    if isinstance(node[1], list):
        yield from (one[0] for one in node[1])
