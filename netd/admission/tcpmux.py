"""How a service is reached through tcpmux (RFC 1078): the key ``tcpmux`` of a service."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema, model_serializer, model_validator

from netd.errors import InvalidValueError
from netd.notation import JsonSchema
from netd.text import shown
from netd.values import Model

_NAME = r"[!-~]{1,64}"
_HELP = "help"


def _name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(_NAME, value) and value.lower() != _HELP:
        return value
    raise ValueError(f"expected 1 to 64 printable ASCII characters without blanks, and not HELP, got {shown(value)}")


class TcpmuxOptions(Model):
    """How a service is reached through tcpmux."""

    name: Annotated[
        str | None,
        BeforeValidator(lambda value: None if value is None else _name(value)),
        WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"}),
    ] = None
    """The name that clients send, in any case. Unset: that of the service."""
    plain: bool = False
    """Whether the service gets the connection at once, and sends the line that begins with + or - by itself (TCPMUX of
    xinetd). Off: netd sends the + (TCPMUXPLUS), since services know nothing of tcpmux."""

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: object) -> object:
        if value is True:
            return {}
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict | TcpmuxOptions):
            return value
        raise InvalidValueError(f"expected true, a name, or {{name: NAME, plain: true}}, got {shown(value)}")

    @model_serializer
    def _written(self) -> bool | str | dict[str, Any]:
        if not self.plain:
            return self.name or True
        return {"name": self.name, "plain": True} if self.name else {"plain": True}


def _schema() -> dict[str, Any]:
    options = TcpmuxOptions.model_json_schema()
    del options["properties"]["name"]["default"]  # null means "unset", and is no value to insert
    return {
        "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"^{_NAME}$"}, options, {"type": "null"}],
    }


Tcpmux = Annotated[
    TcpmuxOptions | None,
    BeforeValidator(lambda value: None if value is False else value),
    JsonSchema(_schema),
]
