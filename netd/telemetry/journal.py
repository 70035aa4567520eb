"""Entries for systemd's journal, with fields that journalctl(1) can match (systemd.journal-fields(7)).

An entry is one datagram of ``KEY=value`` lines; a value of several lines is preceded by its length instead
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). Each key of an event becomes a field ``NETD_KEY``, so that
``journalctl NETD_SERVICE=echo NETD_EVENT=connection_refused`` finds the refused connections of echo.
"""

import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Any

from netd.telemetry.formats import pairs, plain

SOCKET = "/run/systemd/journal/socket"

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""The severities of syslog(3), by level."""
_LONGEST = 16384  # octets of a value: an entry has to fit into one datagram


def is_journal(descriptor: int) -> bool:
    """Whether systemd has connected this descriptor to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def connect(path: str = SOCKET) -> int:
    """A descriptor of a socket to the journal. OSError: there is no journal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(path)
        return connection.detach()


def render(logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
    """Render an event as an entry. MESSAGE is the event's name and its keys in one line, then the traceback."""
    name, level = str(event.pop("event")), str(event.pop("level", method))
    exception = event.pop("exception", "")
    message = f"{name} {pairs(event)}" if event else name
    fields = {key: plain(value) for key, value in event.items()}
    if exception:
        fields["exception"] = exception
    return entry(
        {
            "MESSAGE": f"{message}\n{exception}" if exception else message,
            "PRIORITY": str(PRIORITIES.get(level, 6)),
            "SYSLOG_IDENTIFIER": "netd",
            "NETD_EVENT": name,
            **{f"NETD_{key.upper()}": value for key, value in fields.items()},
        }
    )


def entry(fields: Mapping[str, str]) -> bytes:
    """Encode fields as an entry. No value can end its field early, or begin another one."""
    parts = []
    for key, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")[:_LONGEST]
        if b"\n" in data:
            parts.append(key.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(key.encode() + b"=" + data + b"\n")
    return b"".join(parts)
