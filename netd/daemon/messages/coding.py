"""The encoding of messages, and the check of received ones.

A message is a JSON object. ``kind`` is the name of its type. ``request`` is the number of a request, in the request and
in its response. The other members are the fields of the type. Descriptors are sent beside it (`netd.daemon.channel`).
"""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from netd.daemon.channel import Message, ProtocolError
from netd.text import shown

_MOST_FAULTS = 10  # of a message; an error with more of them gives their number only

# Strict: neither "1" nor true is a number.
Text = Annotated[str, Strict()]
Natural = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Strict(), Field(ge=0)]
Flag = Annotated[bool, Strict()]


T = TypeVar("T", bound="Fields")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def message(kind: type[T]) -> type[T]:
    """Make a dataclass of a subclass of `Fields`. Its fields are not to be set; only mypy sees to that.

    Of the methods of a dataclass it has `__init__` alone, since there are many messages, and each method of each of
    them takes time and memory at every start.
    """
    return dataclass(eq=False, repr=False)(kind)


class Fields:
    """A message, or a part of one. A received object has exactly the declared fields. NaN and infinity are invalid."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    __hash__ = None  # type: ignore[assignment]  # a list in it has none

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


Readers = dict[str, type]
"""The types of messages that a process can get, by kind."""


def readers(*kinds: type) -> Readers:
    """These types, by kind."""
    return {kind.__name__: kind for kind in kinds}


@cache
def validator(kind: type) -> TypeAdapter[Any]:
    """The validator of a type, made at first use: most messages are never sent, and a validator takes 1 ms to make."""
    return TypeAdapter(kind)


def encode(message: Fields) -> bytes:
    """A message as JSON. The channel adds the number of a request."""
    return json.dumps({"kind": type(message).__name__, **vars(message)}, default=vars, separators=(",", ":")).encode()


def read(message: Message, numbered: Readers, others: Readers) -> tuple[int | None, Any]:
    """The number of the request, and the message. Only a message of a ``numbered`` kind has a number; else it is None.

    ``message`` may be any JSON object. Raises `ProtocolError` where it is not a message.
    """
    fields = dict(message)
    kind, request = fields.pop("kind", None), fields.pop("request", None)
    reader = (numbered.get(kind) or others.get(kind)) if isinstance(kind, str) else None
    if reader is None:
        raise ProtocolError(f"unknown message kind {shown(kind)}")
    if (type(request) is int) is not (kind in numbered):
        raise ProtocolError(f"{kind}: invalid request number {shown(request)}")
    try:
        return request, validator(reader).validate_python(fields)
    except ValidationError as error:
        raise ProtocolError(f"{kind}: {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    """The first fault, in one line. The sender chooses the names of fields, so they are escaped and cut (`shown`)."""
    if error.error_count() > _MOST_FAULTS:
        return f"{error.error_count()} invalid fields"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{shown('.'.join(map(str, first['loc'])))}: {first['msg']}"
