"""Banners: what a peer of a stream gets before the service, or before it is refused."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema, model_serializer, model_validator

from netd.errors import InvalidValueError
from netd.notation import JsonSchema, Notation
from netd.text import shown
from netd.values import Model, parse_path

LONGEST = 4096
"""Octets of the longest text or file. Two of these fit into the send buffer of a new connection (tcp_wmem, tcp(7))."""
_KEYS = ("always", "accepted", "refused")


@dataclass(frozen=True, slots=True)
class BannerFile:
    """A file that is sent as it is."""

    path: str


def _piece(value: object) -> str | BannerFile:
    if isinstance(value, str) and value:
        if (size := len(text_octets(value))) > LONGEST:
            raise ValueError(f"expected at most {LONGEST} octets, got {size}")
        return value
    if isinstance(value, dict) and value.keys() == {"file"}:
        return BannerFile(parse_path(value["file"]))
    hint = "put quotes around it" if isinstance(value, int | float) else ""
    raise InvalidValueError(f"expected a text, or {{file: PATH}}, got {shown(value)}", hint)


_PIECE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST},
        {
            "type": "object",
            "properties": {"file": {"type": "string", "pattern": "^/"}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ]
}
Piece = Annotated[
    str | InstanceOf[BannerFile] | None,
    BeforeValidator(lambda value: None if value is None else _piece(value)),
    PlainSerializer(lambda value: {"file": value.path} if isinstance(value, BannerFile) else value, when_used="json"),
    WithJsonSchema(_PIECE_SCHEMA),
    Notation(f"text of at most {LONGEST} octets or `{{file: PATH}}`"),
]


class BannerOptions(Model):
    """What peers get before the service, or before they are refused. A text alone is `always`."""

    always: Piece = None
    """For each peer: a text, of which each line is sent with CR LF, or `{file: PATH}`, which is sent as it is, octet by
    octet. At most 4096 octets. netd reads the file when it starts and at each reload."""
    accepted: Piece = None
    """For a peer that the service gets, after `always`."""
    refused: Piece = None
    """For a peer that is refused, after `always`, and before the line of `refuse`. It is sent if there is room, without
    waiting."""

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: object) -> object:
        if isinstance(value, str) or (isinstance(value, dict) and value.keys() == {"file"}):
            return {"always": value}
        if isinstance(value, dict | BannerOptions) and value:
            return value
        raise InvalidValueError(f"expected a text, {{file: PATH}}, or {', '.join(_KEYS)}, got {shown(value)}")

    @model_serializer
    def _written(self) -> dict[str, Any]:
        return {
            key: {"file": value.path} if isinstance(value, BannerFile) else value
            for key in _KEYS
            if (value := getattr(self, key)) is not None
        }


def _schema() -> dict[str, Any]:
    options = BannerOptions.model_json_schema()
    for one in options["properties"].values():
        del one["default"]  # null means "unset", and is no value to insert
    return {"anyOf": [*_PIECE_SCHEMA["anyOf"], options, {"type": "null"}]}


Banner = Annotated[
    BannerOptions | None,
    JsonSchema(_schema),
    Notation("text, `{file: PATH}` or mapping"),
]


class Banners(NamedTuple):
    """The octets of banners."""

    accepted: bytes = b""
    """Sent before the service gets the connection."""
    refused: bytes = b""
    """Sent before a connection is closed that is refused."""


NO_BANNERS = Banners()


def text_octets(text: str) -> bytes:
    """A text as it is sent: each line with CR LF, as protocols of text have it (RFC 854)."""
    return b"".join(line.encode() + b"\r\n" for line in text.splitlines())
