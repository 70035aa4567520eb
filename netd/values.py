"""Types of values in the config: durations, sizes, counts, rates, switches, time zones, paths, accounts, and the strict
model.

A parser takes the value from YAML and returns the converted one, or raises ValueError with the message that follows
``FILE:LINE:COLUMN: path:``. YAML 1.1 reads a bare ``off`` as false, so false lifts a limit. In JSON a model has values
in the same notation, so that another process can parse them.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args
from zoneinfo import TZPATH, ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    InstanceOf,
    PlainSerializer,
    SerializationInfo,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from netd import notation
from netd.accounts import parse_id
from netd.docstrings import meaning
from netd.errors import InvalidValueError
from netd.text import shown

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NANOSECONDS = {unit: round(seconds * 1e9) for unit, seconds in reversed(_SECONDS.items())}
_SIZE = re.compile(r"(\d{1,19})(|KiB|MiB|GiB)", re.ASCII)
_OCTETS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "": 1}
_RATE = re.compile(r"(?:(tcp|udp) +)?(\d{1,7})/(s|m|h|d)(?: +burst +(\d{1,7}))?", re.ASCII)
_LONGEST = 366 * 86400.0
_MOST_UNITS = 10**9  # a duration has at most nine digits before the point
_ACCOUNT = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?$"
_LIFTED = (0, "0", "off")  # False equals 0

# What operators write in place of the notation, for hints.
_UNIT_WORDS = {
    "ms": "ms msec msecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
}
_UNITS = {"": "s"} | {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
_OFF_WORDS = ("none", "never", "no", "unlimited", "infinite", "infinity", "disabled", "-1", "-1s")
_SWITCH_WORDS = {
    **dict.fromkeys(("1", "y", "yes", "on", "true", "enable", "enabled"), "true"),
    **dict.fromkeys(("0", "n", "no", "off", "false", "disable", "disabled"), "false"),
}
_LONGEST_GUESS = 32


class Model(BaseModel):
    """A mapping in the config: frozen, without unknown keys, without implicit conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with the docstrings of the options (``use_attribute_docstrings`` reads them at each start)."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, field in cls.model_fields.items():
            if (shown := properties.get(field.alias or name)) is not None and (text := meaning(cls, name)):
                shown["description"] = text
        return found

    def written(self) -> dict[str, Any]:
        """The values as an operator writes them: as in JSON (``model_dump``), but a size is ``64KiB``, not a number."""
        return self.model_dump(mode="json", context=_WRITTEN)


def inner_model(field: FieldInfo) -> type[Model] | None:
    """The model of the mapping that this field of a model has; None: it has another value."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, Model)), None)


def parse_duration(value: object) -> float:
    """Seconds, from ``250ms``, ``30s``, ``5m``, ``1h`` or ``1d``; at most 366 days."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        # Rounded to the precision of `duration_text`, so that a duration is the same after a round trip.
        seconds = round(float(match[1]) * _SECONDS[match[2]], 9)
        if seconds > _LONGEST:
            raise InvalidValueError(f"expected at most {duration_text(_LONGEST)}, got {shown(value)}")
        if seconds > 0:
            return seconds
    raise InvalidValueError(f"expected a duration such as 30s, 5m or 1h, got {shown(value)}", _duration_hint(value))


def duration_text(seconds: float) -> str:
    """A duration as in the config, in the largest unit of which it is a whole number: ``5m``, ``90s``, ``300ms``.

    A duration that is no whole number of milliseconds has a fraction: ``0.25ms``, ``2.0005s``. At least a nanosecond.
    """
    text = f"{max(seconds, 1e-9):.9f}"
    nanoseconds = int(text.replace(".", ""))
    for unit, length in _NANOSECONDS.items():
        number, rest = divmod(nanoseconds, length)
        if not rest and number < _MOST_UNITS:
            return f"{number}{unit}"
    if seconds < 1:
        return f"{nanoseconds / 10**6:.6f}".rstrip("0") + "ms"
    return text.rstrip("0").rstrip(".") + "s"


def parse_timeout(value: object) -> float | None:
    """Seconds, or None if the limit is lifted with ``off`` or ``0``."""
    if value is None:
        raise ValueError("expected a duration such as 30s, or off, got nothing")
    if value in _LIFTED:
        return None
    if hint := _off_hint(value):
        raise InvalidValueError(f"expected a duration such as 30s, or off, got {shown(value)}", hint)
    return parse_duration(value)


def parse_size(value: object, most: int = 2**31 - 1) -> int:
    """Octets, from ``512``, ``64KiB``, ``1MiB`` or ``1GiB``; 1 to ``most``, by default the range of a socket option."""
    if isinstance(value, int | str) and not isinstance(value, bool) and (match := _SIZE.fullmatch(str(value))):
        size = int(match[1]) * _OCTETS[match[2]]
        if size > most:
            raise InvalidValueError(f"expected at most {size_text(most)}, got {shown(value)}")
        if size > 0:
            return size
    raise InvalidValueError(f"expected a size such as 512 or 64KiB, got {shown(value)}", _size_hint(value))


def size_text(octets: int) -> str:
    """A size as in the config, in the largest unit of which it is a whole number: ``64KiB``, ``65535``."""
    return next(
        (f"{octets // length}{unit}" for unit, length in _OCTETS.items() if octets and octets % length == 0), "0"
    )


def parse_count(value: object) -> int | None:
    """A number from 1 to 2^31 - 1, or None if the limit is lifted with ``off`` or ``0``."""
    if value is not None and value in _LIFTED:
        return None
    if isinstance(value, int) and value is not True and 0 < value < 2**31:
        return value
    hint = _off_hint(value) or number_hint(value)
    raise InvalidValueError(f"expected a number such as 64, or off, got {shown(value)}", hint)


@dataclass(frozen=True)
class Rate:
    """A token bucket that holds ``burst`` tokens and gains one every ``interval``."""

    number: int
    """Tokens in a ``unit``, 1 to 9,999,999."""
    unit: Literal["s", "m", "h", "d"]
    burst: int
    """The capacity of the bucket, 1 to 9,999,999."""
    only: Literal["tcp", "udp"] | None = None
    """The transport to which the rate applies; None: both."""

    @cached_property
    def interval(self) -> int:
        """The time for one token, in nanoseconds."""
        return round(_SECONDS[self.unit] * 1e9 / self.number)

    @cached_property
    def depth(self) -> int:
        """The time in which an empty bucket fills, in nanoseconds."""
        return self.burst * self.interval

    def __str__(self) -> str:
        return f"{self.only} " * bool(self.only) + f"{self.number}/{self.unit} burst {self.burst}"


def parse_rate(value: object) -> Rate | None:
    """A rate such as ``50/s``, ``50/s burst 100`` or ``udp 50/s burst 100``, or None if it is lifted with ``off``.

    Units are s, m, h and d. Without ``burst``, the bucket holds the tokens of one unit.
    """
    if value is not None and value in _LIFTED:
        return None
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        number = int(match[2])
        burst = number if match[4] is None else int(match[4])
        if number > 0 and burst > 0:
            rate = Rate(number, match[3], burst, match[1])  # type: ignore[arg-type]  # the expression matches no others
            if rate.depth > _LONGEST * 1e9:
                raise ValueError(f"expected a burst that fills again within 366 days, got {shown(value)}")
            return rate
    hint = _off_hint(value) or _rate_hint(value)
    raise InvalidValueError(f"expected a rate such as 50/s, or 50/s burst 100, or off, got {shown(value)}", hint)


def parse_switch(value: str) -> bool:
    """A switch in a URL's query: ``1``, ``on``, ``yes``, ``true`` or ``0``, ``off``, ``no``, ``false``."""
    if value in ("1", "on", "yes", "true"):
        return True
    if value in ("0", "off", "no", "false"):
        return False
    raise ValueError(f"expected on or off, got {shown(value)}")


def parse_zone(name: str) -> tzinfo:
    """A time zone, from ``UTC`` or another IANA name in the time zone database of this system."""
    if name == "UTC":
        return UTC  # needs no time zone database
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        if not any(os.path.isdir(path) and os.listdir(path) for path in TZPATH):
            raise ValueError(
                f"no data for the time zone {shown(name)}: install tzdata (with daemon.chroot, in it), or use UTC"
            ) from None
        raise ValueError(f"unknown time zone {shown(name)}: expected an IANA name such as Asia/Shanghai") from None


def parse_path(value: object) -> str:
    """An absolute path."""
    if isinstance(value, str) and PurePath(value).is_absolute() and "\0" not in value:
        return value
    raise ValueError(f"expected an absolute path, got {shown(value)}")


def parse_account(value: object) -> str:
    """A user or group by name or number. YAML reads a number without quotes as one."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and re.fullmatch(_ACCOUNT, text) and not (text.isdigit() and parse_id(text) is None):
        return text
    raise ValueError(f"expected the name or number of an account, got {shown(value)}")


# Hints at what a value that cannot be parsed may mean: ``did you mean '5m'?``, or empty.


def _guess(text: str, given: object, parse: Callable[[str], object]) -> str:
    """The hint at a value, if it is another one than that given, and can be parsed."""
    try:
        if text == given:
            return ""
        parse(text)
    except ValueError:
        return ""
    return f"did you mean '{text}'?"


def _lower(value: object) -> str:
    """A text or number in lower case; empty for another value, and for one that is too long to be a mere slip."""
    text = str(value).strip().lower() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return text if len(text) <= _LONGEST_GUESS else ""


def _duration_hint(value: object) -> str:
    text = _lower(value)
    pattern = r"(\d+(?:\.\d+)?)\s*([a-z]*)"
    parts = [(number, _UNITS.get(word)) for number, word in re.findall(pattern, text, re.ASCII)]
    if not parts or re.sub(pattern, "", text, flags=re.ASCII).strip(" ,") or any(unit is None for _, unit in parts):
        return ""
    if len(parts) > 1 and re.search(r"\d$", text, re.ASCII):
        return ""  # 1h30
    if len(parts) == 1:
        return _guess("".join(map(str, parts[0])), value, parse_duration)
    seconds = sum(float(number) * _SECONDS[str(unit)] for number, unit in parts)  # 1h30m
    return _guess(duration_text(seconds), value, parse_duration)


def _size_hint(value: object) -> str:
    match = re.fullmatch(r"(\d+)\s*(?:([kmg])i?b?|b|bytes?|octets?)", _lower(value), re.ASCII)
    return _guess(match[1] + (f"{match[2].upper()}iB" if match[2] else ""), value, parse_size) if match else ""


def _rate_hint(value: object) -> str:
    pattern = r"(?:(tcp|udp)\s+)?(\d+)\s*r?\s*(?:/|per)?\s*([a-z]*)(?:[\s,]+burst\s*=?\s*(\d+))?"
    match = re.fullmatch(pattern, _lower(value), re.ASCII)
    unit = _UNITS.get(match[3]) if match else None
    if not match or unit is None:
        return ""
    transport, burst = f"{match[1]} " * bool(match[1]), f" burst {match[4]}" * bool(match[4])
    return _guess(f"{transport}{match[2]}/{unit}{burst}", value, parse_rate)


def _off_hint(value: object) -> str:
    return "did you mean 'off'?" if _lower(value) in _OFF_WORDS else ""


def number_hint(value: object) -> str:
    """The hint at a number that is written as text."""
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        return ""
    # Without quotes, YAML reads all of them as numbers but those such as 08.
    return f"did you mean {int(text)}?" if re.match("-?0[0-9]", text) else "write it without quotes"


def list_hint(value: object) -> str:
    """The hint at a list, written as one value, or as items that YAML reads as one text."""
    if not isinstance(value, str):
        return ""
    if re.match(r"-[^\s-]", value):
        return "a space is missing after '-'"
    return f"did you mean [{value}]?" if re.fullmatch(r"[^\s,\[\]{}#&!|>%@\"'`]+", value) else ""


def switch_hint(value: object) -> str:
    """The hint at true or false, written as text or as a number."""
    text = _lower(value)
    if meant := _SWITCH_WORDS.get(text):
        quoted = isinstance(value, str) and text not in ("0", "1", "y", "n") and not text.startswith(("en", "dis"))
        return "write it without quotes" if quoted else f"did you mean {meant}?"
    return ""


def bound_text(bound: object, given: object) -> str:
    """A bound in the notation of the value that exceeds it: a duration, a size, or a number."""
    if isinstance(given, str) and isinstance(bound, int | float):
        if _DURATION.fullmatch(given):
            return duration_text(bound)
        if isinstance(bound, int) and re.search("(KiB|MiB|GiB)$", given):
            return size_text(bound)
    return str(bound)


def _text_schema(pattern: str, *others: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": pattern}, *others]})


def _size_json(octets: int | None, info: SerializationInfo) -> int | str:
    if octets is None:
        return "off"
    return size_text(octets) if info.context is _WRITTEN and octets % _OCTETS["KiB"] == 0 else octets


_WRITTEN = object()
"""The context of `Model.written`."""
_OFF_SCHEMA: dict[str, Any] = {"enum": ["off", "0", 0, False]}
_TIME_TEXT = PlainSerializer(lambda seconds: "off" if seconds is None else duration_text(seconds), when_used="json")
_SIZE_JSON = PlainSerializer(_size_json, when_used="json")

Duration = Annotated[
    float, BeforeValidator(parse_duration), _TIME_TEXT, _text_schema(f"^{_DURATION.pattern}$"), notation.DURATION
]
Timeout = Annotated[
    float | None,
    BeforeValidator(parse_timeout),
    _TIME_TEXT,
    _text_schema(f"^{_DURATION.pattern}$", _OFF_SCHEMA),
    notation.DURATION_OR_OFF,
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    _SIZE_JSON,
    _text_schema(f"^{_SIZE.pattern}$", {"type": "integer", "minimum": 1}),
    notation.SIZE,
]
_OR_OFF = PlainSerializer(lambda value: "off" if value is None else value, when_used="json")
SizeOrOff = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is not None and value in _LIFTED else parse_size(value)),
    _SIZE_JSON,
    _text_schema(f"^{_SIZE.pattern}$", {"type": "integer", "minimum": 1}, _OFF_SCHEMA),
    notation.SIZE_OR_OFF,
]
Count = Annotated[
    int | None,
    BeforeValidator(parse_count),
    _OR_OFF,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, _OFF_SCHEMA]}),
    notation.COUNT_OR_OFF,
]
TimeZone = Annotated[str, AfterValidator(lambda name: parse_zone(name) and name), notation.TIME_ZONE]
RateOrOff = Annotated[
    InstanceOf[Rate] | None,
    BeforeValidator(parse_rate),
    PlainSerializer(lambda rate: "off" if rate is None else str(rate), when_used="json"),
    _text_schema(f"^{_RATE.pattern}$", _OFF_SCHEMA),
    notation.RATE_OR_OFF,
]
Path = Annotated[str, BeforeValidator(parse_path), WithJsonSchema({"type": "string", "pattern": "^/"}), notation.PATH]
ACCOUNT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string", "pattern": _ACCOUNT}, {"type": "integer", "minimum": 0}]}
Account = Annotated[str, BeforeValidator(parse_account), WithJsonSchema(ACCOUNT_SCHEMA), notation.ACCOUNT]
