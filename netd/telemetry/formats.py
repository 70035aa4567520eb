"""The formats of a log line: JSON, logfmt, and coloured text for people. All are processors of structlog.

In logfmt and text no value is JSON: a list is ``a,b``, a mapping ``a:1,b:2``. No value begins another line, ends its
field early, or controls a terminal.
"""

import json
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from netd.contract import End
from netd.peer import Tls
from netd.text import printable

Event = MutableMapping[str, Any]

LONGEST_EXCEPTION = 8192
"""Characters of a traceback; a longer one is cut in its middle."""


def exception(logger: object, method: str, event: Event) -> Event:
    """Render the traceback. A peer may have chosen the text of an exception: it is cut, and control characters are
    escaped.
    """
    if error := event.pop("exc_info", None):
        text = "".join(traceback.format_exception(error)).rstrip("\n")
        if len(text) > LONGEST_EXCEPTION:
            half = LONGEST_EXCEPTION // 2
            text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
        lines = text.split("\n")
        event["exception"] = "\n".join(map(printable, lines))
    return event


def plain(value: object) -> str:
    """A value as text."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Mapping():
            return ",".join(f"{plain(key)}:{plain(one)}" for key, one in value.items())
        case list() | tuple():
            return ",".join(map(plain, value))
    return str(value)


def pairs(fields: Mapping[str, object]) -> str:
    """Fields as ``key=value``, a value in quotes where it has to be. A field without a value is left out."""
    return " ".join(f"{key}={_quoted(plain(value))}" for key, value in fields.items() if not _is_nothing(value))


def _is_nothing(value: object) -> bool:
    """Whether a value is None, or a list or mapping without an entry."""
    return value is None or (not value and isinstance(value, Mapping | list | tuple))


def _quoted(text: str) -> str:
    """The text in quotes if it has to be, escaped there as in JSON, which is how parsers of logfmt read it."""
    if text and text.isprintable() and not any(one in text for one in ' ="'):
        return text
    escapes = (one if one.isprintable() and one not in '"\\' else json.dumps(one)[1:-1] for one in text)
    return f'"{"".join(escapes)}"'


def logfmt(logger: object, method: str, event: Event) -> str:
    """Render an event as logfmt (https://brandur.org/logfmt), without the time."""
    name, level = event.pop("event"), event.pop("level", method)
    return pairs({"level": level, "event": name, **event})


def logfmt_with_time(logger: object, method: str, event: Event) -> str:
    """Render an event as logfmt. The time is UTC (RFC 3339)."""
    return f"time={_now()} {logfmt(logger, method, event)}"


def lines(logger: object, method: str, event: Event) -> Event:
    """Prepare an event for text: escape its values. A traceback or stack is indented, so that none of its lines looks
    like the beginning of another event. A field without a value is left out.
    """
    return {
        key: "\n".join(f"    {printable(line)}" for line in value.split("\n"))
        if key in ("exception", "stack")
        else printable(plain(value))
        for key, value in event.items()
        if not _is_nothing(value)
    }


class _Clock:
    """The time as text (RFC 3339, UTC). The text of a second is kept, since rendering it is a large part of a line."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        """To the microsecond: ``2026-11-22T12:00:00.000000Z``."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{rest // 1000:06d}Z"


_now = _Clock().now


# It escapes all but printable ASCII, since control characters could control a terminal.
_ENCODER = json.JSONEncoder(default=repr, separators=(",", ":"))


def as_json(logger: object, method: str, event: Event) -> str | bytes:
    """Render an event as a JSON object. Time, level and event come first, since people read the lines too.

    Most lines are about a connection, and are a part of its cost. So the faster encoder renders them.
    """
    entry = {"timestamp": _now(), "level": method, "event": event.pop("event", ""), **event}
    try:
        line = to_json(entry, fallback=repr)
    except ValueError:  # text with half of a surrogate pair
        return _ENCODER.encode(entry)
    return line + b"\n" if line.isascii() and b"\x7f" not in line else _ENCODER.encode(entry)


def connection_line(service: str) -> Callable[[str, int, int, float, str, str, Tls | None], bytes]:
    """Return what renders ``connection_closed`` of this service as `as_json` does, where it has its usual fields alone.

    The peer is an address with its port, so that nothing in it has to be escaped. The last fields are the target, if
    there is one, and what is known of TLS without a certificate and ALPN. This takes a third of the time.
    """
    constant = _constant("connection_closed", service)

    def render(
        peer: str, bytes_in: int, bytes_out: int, duration: float, outcome: str, target: str, tls: Tls | None
    ) -> bytes:
        return (
            f'{{"timestamp":"{_now()}{constant}{peer}","bytes_in":{bytes_in},"bytes_out":{bytes_out},'
            f'"duration":{duration:.6f},"outcome":"{outcome}"{_target_field(target) if target else ""}'
            f"{_tls_fields(tls) if tls else ''}}}\n"
        ).encode()

    return render


def _tls_fields(tls: Tls) -> str:
    """The words of OpenSSL, and a name of `netd.tls.client_hello`: nothing in them has to be escaped."""
    name = f',"server_name":"{tls.server_name}"' if tls.server_name else ""
    return f',"tls":"{tls.protocol}","cipher":"{tls.cipher}"{name}'


def program_started_line(service: str) -> Callable[[str, int], bytes]:
    """The same for ``program_started``."""
    constant = _constant("program_started", service)

    def render(peer: str, pid: int) -> bytes:
        return f'{{"timestamp":"{_now()}{constant}{peer}","pid":{pid}}}\n'.encode()

    return render


def program_ended_line(service: str) -> Callable[[str, int, End], bytes]:
    """The same for ``program_ended``, with an exit code."""
    constant = _constant("program_ended", service)

    def render(peer: str, pid: int, end: End) -> bytes:
        memory = f',"memory":{end.memory}' if end.memory else ""
        return (
            f'{{"timestamp":"{_now()}{constant}{peer}","pid":{pid},"code":{end.code},"duration":{end.seconds:.6f},'
            f'"user_time":{end.user:.6f},"system_time":{end.system:.6f}{memory}}}\n'
        ).encode()

    return render


def _constant(event: str, service: str) -> str:
    """What stands between the time and the peer in each such line."""
    return f'","level":"info","event":"{event}","service":{json.dumps(service)},"peer":"'


@lru_cache(64)
def _target_field(target: str) -> str:
    return f',"target":{json.dumps(target)}'
