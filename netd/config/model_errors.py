"""Converts the errors of pydantic to messages in the terms of a YAML file."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from netd.config.problems import Where
from netd.errors import InvalidValueError, faults_of
from netd.text import likely, shown
from netd.values import Model, bound_text, list_hint, number_hint, switch_hint


def exists(tree: Any, path: Where) -> bool:
    """Whether the tree has a value at the path."""
    for step in path:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return False
    return True


def is_section(model: type[Model], key: str) -> bool:
    """Whether the value of the key is a mapping, which is empty (null) if all its lines are commented out."""
    field = model.model_fields.get(key)
    return field is not None and (key == "options" or isinstance(field.default, Model))


def model_at(model: type[Model], loc: tuple[int | str, ...]) -> type[Model]:
    """The model of the mapping at ``loc``, relative to a section."""
    for step in loc:
        if field := model.model_fields.get(str(step)):
            # For list[Item] and the like, the model is Item: the positions in the list are other steps of ``loc``.
            for inner in (field.annotation, *get_args(field.annotation)):
                if isinstance(inner, type) and issubclass(inner, Model):
                    model = inner
    return model


_EXPECTED = {
    "bool": "true or false",
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
}
"""What is expected by the first word of the type of an error, such as ``bool_parsing``."""

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
_LENGTHS = {"too_long": ("at most", "max_length"), "too_short": ("at least", "min_length")}
_OF_PYDANTIC = frozenset(get_args(ErrorType))


def describe(item: Any) -> tuple[InvalidValueError, ...]:
    """The faults of the value for which pydantic reports an error: a message and a hint each, in netd's words."""
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return faults_of(context["error"])
    if kind not in _OF_PYDANTIC:  # the author of a service chose the type and the message
        return (InvalidValueError(item["msg"]),)
    return (InvalidValueError(f"expected {_expected(item)}, got {shown(given)}", _hint(kind, given, context)),)


def _expected(item: Any) -> str:
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind in ("literal_error", "enum"):
        # pydantic writes the values as Python does, and YAML has true and false.
        return re.sub(
            r"'[^']*'|True|False", lambda one: one[0] if "'" in one[0] else one[0].lower(), context["expected"]
        )
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{words} {bound_text(context[key], given)}"
    thing, _, size = kind.partition("_")
    if kind in _LENGTHS or size in _LENGTHS:
        words, key = _LENGTHS[kind if kind in _LENGTHS else size]
        return f"{words} {context[key]} {'characters' if thing == 'string' else 'items'}"
    if kind == "string_pattern_mismatch":
        return f"text of the form {context['pattern']}"
    if kind == "finite_number":
        return "a finite number"
    return _EXPECTED.get(thing, "another value")


def _hint(kind: str, given: object, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        near = likely(str(given), known)
        return "" if near.startswith("known") else near
    if kind.startswith("bool"):
        return switch_hint(given)
    if kind.startswith(("int", "float")):
        return number_hint(given)
    if kind.startswith(("list", "tuple", "set", "frozen")):
        return list_hint(given)
    glued = re.match(r"[\w.-]+:(?=[^\s:/])", given) if isinstance(given, str) else None  # YAML reads it as text
    return f"a space is missing after '{glued[0]}'" if glued else ""


def unknown_key(key: str, known: Iterable[str]) -> tuple[str, str]:
    """The message and the hint for a key that a section does not have."""
    known = list(known)
    name, colon, _ = key.partition(":")
    if colon and name in known:
        return "unknown key", f"a space is missing after '{name}:'"
    return "unknown key", likely(key, known)
