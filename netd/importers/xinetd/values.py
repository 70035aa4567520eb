"""The values of xinetd's attributes, as its parsers take them. A function returns None for what they reject."""

import re

_UNLIMITED = "unlimited"
_MOST = 2**31 - 1

UNLIMITED = -1


def number(text: str, base: int = 10) -> int | None:
    """A number without a sign; in base 8 at most 0777."""
    if not re.fullmatch("[0-7]{1,12}" if base == 8 else "[0-9]{1,12}", text):
        return None
    value = int(text, base)
    return value if value <= (0o777 if base == 8 else _MOST) else None


def count(text: str) -> int | None:
    """A number or UNLIMITED."""
    return UNLIMITED if text.lower() == _UNLIMITED else number(text)


def integer(text: str) -> int | None:
    """A number with or without a sign."""
    return int(text) if re.fullmatch("[-+]?[0-9]{1,9}", text) else None


def load(text: str) -> float | None:
    """A number above 0, which may have a fraction."""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text) and float(text) > 0 else None


def size(text: str) -> int | None:
    """Octets: n, nk, nm or UNLIMITED."""
    if text.lower() == _UNLIMITED:
        return UNLIMITED
    match = re.fullmatch("([0-9]{1,12})([kKmM]?)", text)
    return int(match[1]) * {"": 1, "k": 2**10, "m": 2**20}[match[2].lower()] if match else None


def yes_or_no(text: str) -> bool | None:
    """Whether it is yes, in any case of letters."""
    return {"yes": True, "no": False}.get(text.lower())


def hours(text: str) -> tuple[int, int] | None:
    """``H:MM-H:MM`` as minutes since midnight: the first, and the last one, which is within it."""
    match = re.fullmatch(r"(\d{1,2}):(\d{1,2})-(\d{1,2}):(\d{1,2})", text, re.ASCII)
    if match is None:
        return None
    first, minute, last, end = map(int, match.groups())
    return (first * 60 + minute, last * 60 + end) if max(minute, end) < 60 and max(first, last) <= 24 else None
