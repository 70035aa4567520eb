"""The options of a model of the config, as values: the type of each in words, its range, its default and meaning."""

import inspect
import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from netd.config.model import FileSection, ServiceSection
from netd.docstrings import meaning
from netd.notation import DURATION, SIZE, SIZE_OR_OFF, Notation
from netd.services import table
from netd.services.service_type import ServiceType
from netd.values import Model, duration_text, inner_model, size_text

_WORDS = {bool: "`true` or `false`", int: "number", float: "number", str: "text"}


@dataclass(frozen=True)
class Option:
    """A key of a mapping in the config."""

    name: str
    """As an operator writes it."""
    kind: str
    """The type, in words, with its range: ``duration, 100ms to 1h``."""
    notations: tuple[Notation, ...]
    """How values of this type are written."""
    default: str | None
    """As an operator writes it; None: it is required, or its keys have the defaults."""
    required: bool
    meaning: str
    inner: type[Model] | None
    """The model of its keys, if it is a mapping."""
    by_name: bool
    """Whether it has such a mapping under each of some names."""


def options_of(model: type[Model]) -> list[Option]:
    """The options of a model: those that it states itself, then those that it inherits, in the order of the source."""
    inherited = {name for base in model.__bases__ if issubclass(base, Model) for name in base.model_fields}
    names = sorted(model.model_fields, key=lambda name: name in inherited)
    return [_option(name, model.model_fields[name], meaning(model, name)) for name in names]


def tree(model: type[Model], prefix: str = "") -> Iterator[Option]:
    """The options of a model and of the models within it; the names of these begin with those of the outer ones."""
    for option in options_of(model):
        yield Option(**{**vars(option), "name": f"{prefix}{option.name}"})
        if option.inner:
            yield from tree(option.inner, f"{prefix}{option.name}.{'NAME.' * option.by_name}")


def notations() -> list[Notation]:
    """How the values of all options are written, by name."""
    models: list[type[Model]] = [FileSection, ServiceSection]
    models += (ServiceType.of(one).options for one in table.BUILT_IN.values())
    found = {one.name: one for model in models for option in tree(model) for one in option.notations}
    return [found[name] for name in sorted(found)]


def value_text(value: Any) -> str:
    """A value as an operator writes it in YAML, in one line; ``unset`` for none, and for empty text."""
    if value is None or value == "":
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(value_text(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {value_text(one)}" for name, one in value.items()) + "}"
    text = str(value)
    # What YAML would read as another value, or as nothing, stands in quotes.
    is_plain = text[0] not in "%*&!@[{" and ": " not in text and " #" not in text
    return text if is_plain else json.dumps(text)


def _option(name: str, field: FieldInfo, text: str) -> Option:
    notations: list[Notation] = []
    try:
        kind = _kind(field.annotation, field.metadata, notations)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    inner = inner_model(field)
    shown = field.serialization_alias or field.alias or name
    return Option(
        name=shown,
        kind=kind,
        notations=tuple(notations),
        default=_default(field, notations),
        required=field.is_required(),
        meaning=inspect.cleandoc(text),
        inner=inner,
        by_name=get_origin(field.annotation) is dict,
    )


def _default(field: FieldInfo, notations: list[Notation]) -> str | None:
    if field.is_required() or isinstance(field.default, Model):
        return None
    value = field.get_default(call_default_factory=True)
    if value is not None and {SIZE, SIZE_OR_OFF}.intersection(notations):
        return size_text(value)
    how: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return value_text(TypeAdapter(how).dump_python(value, mode="json"))


def _kind(annotation: Any, metadata: list[Any], found: list[Notation]) -> str:
    """The type in words. Appends the notations of its values to ``found``."""
    flat = [one for each in metadata for one in (each.metadata if isinstance(each, FieldInfo) else [each])]
    notation = next((one for one in flat if isinstance(one, Notation)), None)
    if notation:
        found.append(notation)
        return notation.name + _range(flat, notation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], [*arguments[1:], *flat], found)
    if origin in (Union, types.UnionType):
        kinds = [_kind(one, flat, found) for one in arguments if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        words = [f"`{value_text(one)}`" for one in arguments]
        return " or ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0]
    if origin is tuple:
        return f"list of {_plural(_kind(arguments[0], [], found))}{_range(flat, None, 'entries')}"
    if origin is dict:
        return f"mapping{_range(flat, None, 'entries')}"
    if inspect.isclass(annotation) and issubclass(annotation, Model):
        return "mapping"
    if annotation in _WORDS:
        return _WORDS[annotation] + _range(flat, None, "characters")
    raise TypeError(f"{annotation} says nowhere how it is written: it needs a netd.notation.Notation")


def _plural(kind: str) -> str:
    """As in "list of networks"."""
    word, *rest = kind.split(", ", 1)
    if word.startswith("`"):
        return kind
    many = (
        f"{word[:-1]}ies" if word.endswith("y") else "times of the week" if word == "time of the week" else f"{word}s"
    )
    return ", ".join(["texts" if word == "text" else many, *rest])


def _range(metadata: list[Any], notation: Notation | None, things: str = "") -> str:
    """The range as ``, 1 to 64``; empty if there is none but that of the type."""
    least = most = shortest = longest = None
    for one in metadata:
        if isinstance(one, annotated_types.Ge):
            least = one.ge
        elif isinstance(one, annotated_types.Le):
            most = one.le
        elif isinstance(one, annotated_types.MinLen):
            shortest = one.min_length
        elif isinstance(one, annotated_types.MaxLen):
            longest = one.max_length

    def text(bound: Any) -> str:
        return duration_text(bound) if notation is DURATION else size_text(bound) if notation is SIZE else str(bound)

    if least is not None or most is not None:
        return _between(least, most, text)
    if things and (shortest or longest is not None):
        return f"{_between(shortest, longest, str)} {things}".replace(f"empty {things}", "empty")
    return ""


def _between(least: Any, most: Any, text: Any) -> str:
    if text is str and (least, most) == (1, None):
        return ", not empty"
    if least is None:
        return f", at most {text(most)}"
    return f", at least {text(least)}" if most is None else f", {text(least)} to {text(most)}"
