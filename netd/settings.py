"""What a value in the config may be: durations, sizes, counts, switches, and the strict model that holds them.

Every parser here takes what YAML made of the text and returns the value, or raises ValueError with the sentence the
operator reads behind ``FILE:LINE:COLUMN: path:``. YAML 1.1 reads a bare ``off`` as false, so false lifts a limit.
"""

import re
import reprlib
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,10})(|KiB|MiB|GiB)", re.ASCII)
_OCTETS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LONGEST = 366 * 86400.0
_LIFTED = (0, "0", "off")  # False equals 0


class Model(BaseModel):
    """A mapping in the config: frozen, no unknown keys, no values turned into other types on the quiet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxlong = _QUOTE.maxother = 50
_QUOTE.maxlevel = 3


def shown(value: object) -> str:
    """A value as an error message quotes it: at most sixty characters, and cheap, whatever it is."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else _QUOTE.repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def parse_duration(value: object) -> float:
    """Seconds, from ``250ms``, ``30s``, ``5m``, ``1h`` or ``1d``; at most 366 days."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) * _SECONDS[match[2]]
        if 0 < seconds <= _LONGEST:
            return seconds
    raise ValueError(f"expected a duration such as 30s, 5m or 1h, got {shown(value)}")


def parse_timeout(value: object) -> float | None:
    """Seconds, or None where the limit is lifted with ``off`` or ``0``."""
    if value is None:
        raise ValueError("expected a duration such as 30s, or off, got nothing")
    return None if value in _LIFTED else parse_duration(value)


def parse_size(value: object) -> int:
    """Octets, from ``512``, ``64KiB``, ``1MiB`` or ``1GiB``; 1 to 2^31 - 1, what a socket option can hold."""
    if isinstance(value, int | str) and not isinstance(value, bool) and (match := _SIZE.fullmatch(str(value))):
        size = int(match[1]) * _OCTETS[match[2]]
        if 0 < size < 2**31:
            return size
    raise ValueError(f"expected a size such as 512 or 64KiB, got {shown(value)}")


def parse_count(value: object) -> int | None:
    """A number from 1 up, or None where the limit is lifted with ``off`` or ``0``."""
    if value is not None and value in _LIFTED:
        return None
    if isinstance(value, int) and value is not True and 0 < value < 2**31:
        return value
    raise ValueError(f"expected a number such as 64, or off, got {shown(value)}")


def parse_switch(value: str) -> bool:
    """A switch in a URL's query: ``1``, ``on``, ``yes``, ``true`` or ``0``, ``off``, ``no``, ``false``."""
    if value in ("1", "on", "yes", "true"):
        return True
    if value in ("0", "off", "no", "false"):
        return False
    raise ValueError(f"expected on or off, got {shown(value)}")


def _text_schema(pattern: str, *others: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": pattern}, *others]})


_OFF_SCHEMA: dict[str, Any] = {"enum": ["off", "0", 0, False]}

Duration = Annotated[float, BeforeValidator(parse_duration), _text_schema(f"^{_DURATION.pattern}$")]
Timeout = Annotated[float | None, BeforeValidator(parse_timeout), _text_schema(f"^{_DURATION.pattern}$", _OFF_SCHEMA)]
Size = Annotated[
    int, BeforeValidator(parse_size), _text_schema(f"^{_SIZE.pattern}$", {"type": "integer", "minimum": 1})
]
Count = Annotated[
    int | None,
    BeforeValidator(parse_count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, _OFF_SCHEMA]}),
]
