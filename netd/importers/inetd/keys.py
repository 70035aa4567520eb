"""Services of NetBSD in keys and values, ``NAME on key = value value, … ;``, as the words of an ordinary line. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from netd.importers.source_files import Line
from netd.text import shown

_ESCAPES = {"\\": "\\", "n": "\n", "t": "\t", "r": "\r", "'": "'", '"': '"'}
_KEYS = {
    *(
        "bind",
        "socktype",
        "acceptfilter",
        "filter",
        "protocol",
        "sndbuf",
        "recvbuf",
        "recv_buf",
        "wait",
        "user",
        "group",
    ),
    *("exec", "args", "service_max", "ip_max", "ipsec"),
}
_LISTS = ("args",)


class DefinitionError(ValueError):
    """inetd stops to read the file here; the message says why."""


@dataclass(slots=True)
class Definition:
    """A service as the file has it."""

    values: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Why inetd skips it."""
    comments: list[str] = field(default_factory=list)

    def value(self, key: str) -> str:
        """The first value of a key; empty if it has none."""
        return next(iter(self.values.get(key, ())), "")


class _Reader:
    """The characters of a line and of those after it, of which each ends with a line feed."""

    def __init__(self, text: str, more: Iterator[Line]) -> None:
        self._text = f"{text}\n"
        self._at = 0
        self._more = more
        self.comments: list[str] = []

    def peek(self) -> str:
        """The next character. Raises DefinitionError at the end of the file."""
        while self._at == len(self._text):
            line = next(self._more, None)
            if line is None:
                raise DefinitionError("the file ends within it")
            self._text, self._at = f"{line.text}\n", 0
        return self._text[self._at]

    def next(self) -> str:
        """Read a character. Raises DefinitionError at the end of the file."""
        found = self.peek()
        self._at += 1
        return found

    def skip(self) -> str:
        """The next character that is neither blank nor in a comment; it is still to be read."""
        while (one := self.peek()) in " \t\n#":
            if one == "#":
                self.comments.append(self.rest().removeprefix("#").removeprefix(" "))
                self._at = len(self._text)
            else:
                self.next()
        return one

    def rest(self) -> str:
        """The rest of the line, without blanks around it; it is still to be read."""
        return self._text[self._at :].strip()


def read(text: str, more: Iterator[Line]) -> Definition:
    """A definition from behind ``on`` or ``off``, up to its semicolon; ``more`` are the lines after it.

    Raises DefinitionError.
    """
    found = Definition()
    reader = _Reader(text, more)
    end = ","
    while end == ",":
        key, values, end = _assignment(reader)
        if key not in _KEYS:
            found.faults.append(f"no key {shown(key)} is known")
        elif key in found.values:
            found.faults.append(f"{key} stands twice")
        elif not values or (len(values) > 1 and key not in _LISTS):
            found.faults.append(f"{key} has {len(values)} values")
        found.values.setdefault(key, values)
    found.comments = reader.comments
    if reader.rest() and not reader.rest().startswith("#"):
        found.faults.append("another one begins on its last line, which is not read here")
    return found


def _assignment(reader: _Reader) -> tuple[str, list[str], str]:
    """A key, its values, and the comma or semicolon behind them."""
    reader.skip()
    key = ""
    while re.fullmatch("[A-Za-z_]", reader.peek()):
        key += reader.next()
    if reader.skip() != "=":
        raise DefinitionError(f"expected '=', got {shown(reader.peek())}")
    reader.next()
    values: list[str] = []
    while (one := reader.skip()) not in ",;":
        values.append(_value(reader))
    return key, values, reader.next() and one


def _value(reader: _Reader) -> str:
    value: list[str] = []
    quote = ""
    while (one := reader.peek()) != "\n" and (quote or one not in " \t#,;"):
        reader.next()
        if one == quote:
            quote = ""
        elif one in "'\"" and not quote:
            quote = one
        elif one == "\\" and quote:
            value.append(_escaped(reader))
        else:
            value.append(one)
    if quote:
        raise DefinitionError("a quote is not closed")
    return "".join(value)


def _escaped(reader: _Reader) -> str:
    letter = reader.next()
    if letter == "x":
        digits = reader.next() + (reader.next() if reader.peek() != "\n" else "")
        if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
            raise DefinitionError(f"\\x{digits} is no character")
        return chr(int(digits, 16))
    if letter not in _ESCAPES:
        raise DefinitionError(f"\\{letter} is no character")
    return _ESCAPES[letter]


def words(name: str, found: Definition) -> tuple[str, ...]:
    """The definition as the words of an ordinary line. Raises ValueError for one that inetd skips."""
    if found.faults:
        raise ValueError(found.faults[0])
    one = {key: values[0] for key, values in found.values.items()}
    protocol = _protocol(one)
    socket_type = one.get("socktype") or ("dgram" if protocol.startswith("udp") else "stream")
    is_internal = "exec" not in one
    if not is_internal and "wait" not in one:
        raise ValueError("it has no wait")
    if "user" not in one:
        raise ValueError("it has no user")
    waits = one.get("wait", "yes" if socket_type == "dgram" else "no")
    if waits not in ("yes", "no"):
        raise ValueError(f"wait is {shown(waits)}")
    wait = "wait" if waits == "yes" else "nowait"
    for key, option in (("sndbuf", "sndbuf"), ("recvbuf", "rcvbuf"), ("recv_buf", "rcvbuf")):
        protocol += f",{option}={one[key]}" if key in one else ""
    accept_filter = one.get("acceptfilter") or one.get("filter")
    return (
        f"{one['bind']}:{name.rpartition(':')[2]}" if "bind" in one else name,
        f"{socket_type}:{accept_filter}" if accept_filter else socket_type,
        protocol,
        f"{wait}:{one['service_max']}" if "service_max" in one else wait,
        f"{one['user']}:{one['group']}" if "group" in one else one["user"],
        *(("internal",) if is_internal else (one["exec"], *found.values.get("args", ()))),
    )


def _protocol(one: dict[str, str]) -> str:
    """The protocol, with the family of the address where it names none."""
    protocol = one.get("protocol", "")
    if not protocol:
        raise ValueError("it has no protocol")
    if protocol not in ("tcp", "udp"):
        return protocol
    try:
        return f"{protocol}{ip_address(one.get('bind', '')).version}"
    except ValueError:
        raise ValueError(f"{protocol} takes an address in bind, or write {protocol}4 or {protocol}6") from None
