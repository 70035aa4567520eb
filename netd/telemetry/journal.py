"""systemd's journal in its own words: fields that journalctl(1) can select by (systemd.journal-fields(7)).

An entry is one datagram of ``KEY=value`` lines; a value of several lines has its length before it instead
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). What an event holds besides its name becomes ``NETD_KEY``, so
``journalctl NETD_SERVICE=echo NETD_EVENT=connection_refused`` finds what it says.
"""

import json
import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_LONGEST = 16384  # octets of a value; an entry has to fit into a datagram


def listens_to(descriptor: int) -> bool:
    """Whether what is written here goes to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def connect(path: str = SOCKET) -> int:
    """A descriptor to send entries to. OSError where there is no journal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(path)
        return connection.detach()


def render(logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
    """An event as an entry. Its text for people is the event's name and details in one line, then the traceback."""
    name, level = str(event.pop("event")), str(event.pop("level", method))
    fields = {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in event.items()}
    exception = fields.pop("exception", "")
    message = " ".join([name, *(f"{key}={_quoted(value)}" for key, value in fields.items())])
    if exception:
        fields["exception"] = exception
    return entry(
        {
            "MESSAGE": f"{message}\n{exception}" if exception else message,
            "PRIORITY": str(_PRIORITIES.get(level, 6)),
            "SYSLOG_IDENTIFIER": "netd",
            "NETD_EVENT": name,
            **{f"NETD_{key.upper()}": value for key, value in fields.items()},
        }
    )


def lost(number: int) -> bytes:
    """The entry that says how many were lost."""
    return render(None, "warning", {"event": "log_lines_lost", "number": number})


def entry(fields: Mapping[str, str]) -> bytes:
    """Fields as the journal takes them. No value can end its field early, or begin another."""
    parts = []
    for key, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")[:_LONGEST]
        if b"\n" in data:
            parts.append(key.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(key.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def _quoted(value: str) -> str:
    if value.isprintable() and " " not in value and '"' not in value:
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())
