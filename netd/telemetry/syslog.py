"""The log of a host without systemd: datagrams to its syslogd, as syslog(3) sends them (RFC 3164).

A datagram is ``<PRIORITY>Nov 26 09:14:07 netd[1217]: MESSAGE``, where the priority has the facility and the severity. A
local syslogd adds the name of the host.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

from netd.telemetry.journal import PRIORITIES

SOCKET = "/dev/log"

Facility = Literal[
    "user",
    "daemon",
    "auth",
    "authpriv",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
]
"""The kind of program that a message is from, by which a syslogd sorts messages into files (syslog(3))."""

_CODES = {"user": 1, "daemon": 3, "auth": 4, "authpriv": 10} | {f"local{number}": 16 + number for number in range(8)}
_LONGEST = 8192  # octets of a datagram: what rsyslogd accepts by default (its $MaxMessageSize)

_LEFT_OUT = b" ... "

Event = MutableMapping[str, Any]


def connect(path: str = SOCKET) -> int:
    """A descriptor of a socket to the syslogd. OSError: there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(path)
        return connection.detach()


def unconnected() -> int:
    """A descriptor of a socket that is to be connected once a syslogd runs (`Sink`)."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()


def renderer(facility: Facility, message: Callable[[object, str, Event], str | bytes]) -> Callable[..., bytes]:
    """A processor that renders an event as a datagram with the text of ``message``. What is too long is cut."""
    code = _CODES[facility] * 8

    def render(logger: object, method: str, event: Event) -> bytes:
        priority = code + PRIORITIES.get(str(event.get("level", method)), 6)
        # The names of months are English: netd sets no locale.
        head = f"<{priority}>{time.strftime('%b %e %H:%M:%S')} netd[{os.getpid()}]: "
        text = message(logger, method, event)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        return _cut(head.encode() + data.rstrip(b"\n"))

    return render


def _cut(data: bytes) -> bytes:
    """What is too long is cut in its middle: a traceback ends with the error."""
    if len(data) <= _LONGEST:
        return data
    half = (_LONGEST - len(_LEFT_OUT)) // 2
    # Half of a character is left out too.
    first, last = (part.decode("utf-8", "ignore").encode() for part in (data[:half], data[-half:]))
    return first + _LEFT_OUT + last
