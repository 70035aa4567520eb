"""How a message is written, and how one that came is read and checked.

A message is a JSON object. ``kind`` is the name of its type, and its fields stand beside that. ``request`` is the
number of a request, in the request and in its response. Descriptors come beside it (`netd.daemon.channel`).
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from netd.daemon.channel import Message, ProtocolError
from netd.text import shown

_MOST_FAULTS = 10  # of a message that are looked at

# Of what comes, a value of another type is no value: no text is a number, and no true is one.
Text = Annotated[str, Strict()]
Natural = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Strict(), Field(ge=0)]
Flag = Annotated[bool, Strict()]


@dataclass(frozen=True)
class Fields:
    """A message, or a part of one: has the fields it declares, and no others. A number is finite."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)


Readers = dict[str, TypeAdapter[Any]]


def readers(*kinds: type) -> Readers:
    """What reads messages of these types, by kind."""
    return {kind.__name__: TypeAdapter(kind) for kind in kinds}


def encode(message: Fields) -> bytes:
    """A message as it is sent, but for the number of a request, which the channel adds."""
    return json.dumps({"kind": type(message).__name__, **vars(message)}, default=vars, separators=(",", ":")).encode()


def read(message: Message, numbered: Readers, others: Readers) -> tuple[int | None, Any]:
    """The number of a request, which a message of a ``numbered`` kind has and another has not, and the message.

    `ProtocolError` says why it is no message: it may be any JSON object.
    """
    fields = dict(message)
    kind, request = fields.pop("kind", None), fields.pop("request", None)
    reader = (numbered.get(kind) or others.get(kind)) if isinstance(kind, str) else None
    if reader is None:
        raise ProtocolError(f"there is no message {shown(kind)}")
    if (type(request) is int) is not (kind in numbered):
        raise ProtocolError(f"{kind}: got {shown(request)} for the number of a request")
    try:
        return request, reader.validate_python(fields)
    except ValidationError as error:
        raise ProtocolError(f"{kind}: {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    """What is wrong, in one line, in which a name of the other end's choice is quoted as `shown` does."""
    if error.error_count() > _MOST_FAULTS:
        return f"{error.error_count()} faults"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{shown('.'.join(map(str, first['loc'])))}: {first['msg']}"
