"""The words of a command in a unit file: quotes, escapes, specifiers, variables (systemd.service(5)). Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_PREFIXES = "-@:+!|"
_BLANKS = " \t\n\r"
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "s": " ",
}
_SPECIFIERS = frozenset("aAbBCdDEfgGhHiIjJlLmMnNopPqsStTuUvVwWyY")
_CODED = re.compile(r"x([0-9A-Fa-f]{2})|([0-7]{3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class UnknownSpecifierError(ValueError):
    """A specifier that only systemd has a value for; the message names it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as ExecStart= has it, before specifiers and variables."""

    prefixes: str
    words: tuple[str, ...]


def commands(text: str) -> list[Command]:
    """The commands of one assignment, which a word of a semicolon separates. Raises ValueError."""
    found: list[Command] = []
    for group in _groups(split(text)):
        first = group[0]
        program = first.lstrip(_PREFIXES)
        if not program:
            raise ValueError("it names no program")
        found.append(Command(first[: len(first) - len(program)], (program, *group[1:])))
    return found


def _groups(words: list[tuple[str, bool]]) -> Iterator[list[str]]:
    group: list[str] = []
    for word, is_bare in words:
        if word == ";" and is_bare:
            if group:
                yield group
            group = []
        else:
            group.append(word)
    if group:
        yield group


def split(text: str) -> list[tuple[str, bool]]:
    """The words, and whether each has neither quotes nor escapes. Raises ValueError for a quote that is not closed."""
    found: list[tuple[str, bool]] = []
    word: list[str] | None = None
    quote = ""
    is_bare = True
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character in _BLANKS and not quote:
            if word is not None:
                found.append(("".join(word), is_bare))
            word, is_bare = None, True
            continue
        word = [] if word is None else word
        if character == quote:
            quote = ""
        elif character in "'\"" and not quote:
            quote, is_bare = character, False
        elif character == "\\":
            value, position = _escape(text, position)
            word.append(value)
            is_bare = False
        else:
            word.append(character)
    if quote:
        raise ValueError("a quote is not closed")
    if word is not None:
        found.append(("".join(word), is_bare))
    return found


def _escape(text: str, position: int) -> tuple[str, int]:
    """What a backslash before ``position`` means, and where it ends; systemd keeps one that means nothing."""
    if text.startswith(";", position):
        return ";", position + 1
    if text[position : position + 1] in _ESCAPES and position < len(text):
        return _ESCAPES[text[position]], position + 1
    if match := _CODED.match(text, position):
        number = int(match[2], 8) if match[2] else int(next(one for one in match.groups() if one), 16)
        if 0 < number <= 0x10FFFF and not 0xD800 <= number < 0xE000:
            return chr(number), match.end()
        raise ValueError("an escape is no character")
    return "\\", position


def with_specifiers(text: str, values: Mapping[str, str]) -> str:
    """The text with each ``%X`` replaced; what is no specifier stays.

    Raises UnknownSpecifierError for one that has no value here.
    """

    def replaced(match: re.Match[str]) -> str:
        letter = match[1]
        if letter == "%":
            return "%"
        if letter in values:
            return values[letter]
        if letter in _SPECIFIERS:
            raise UnknownSpecifierError(f"%{letter}")
        return match[0]

    return re.sub(r"%(.)", replaced, text, flags=re.DOTALL)


def with_variables(words: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """The arguments as the program gets them: ``$VAR`` alone is split at blanks, ``${VAR}`` is not.

    Raises ValueError with the name of a variable that has no value here: systemd would have it from elsewhere.
    """

    def value(name: str) -> str:
        if name not in values:
            raise ValueError(f"${name}")
        return values[name]

    found: list[str] = []
    for word in words:
        if match := re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word):
            found += (one for one, _ in split(value(match[1])))
        else:
            found.append(_VARIABLE.sub(lambda match: value(match[1]) if match[1] else "$", word))
    return found


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """The variables of one Environment=, in their order. Raises ValueError for a word that is no assignment."""
    for word, _ in split(text):
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("it is no assignment of a variable")
        yield name, value
