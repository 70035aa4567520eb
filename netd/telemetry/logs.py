"""Setting up the log: who reads it decides its form, and nobody who reads it can stop the daemon."""

import json
import os
import select
import socket
import stat
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

from pydantic_core import to_json

from netd import paths
from netd.telemetry import journal, throttle
from netd.telemetry.structured import structlog
from netd.text import printable

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["auto", "console", "json", "logfmt", "journal"]

_LONGEST_EXCEPTION = 8192  # characters of a traceback: what is left out is in its middle


class Sink:
    """Writes lines to a descriptor without ever waiting for it, each with one call, so that threads mix no lines.

    A pipe that nobody reads, a terminal that is held, a full disk: lines are lost, counted, and told of by the next
    line that gets through. The descriptor itself is not made non-blocking, since other programs may share it.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], bytes] | None = None) -> None:
        """``lost`` makes the line that tells of so many lost ones; without it, it is JSON."""
        self._tell_lost = lost or _lost_line
        self._socket: socket.socket | None = None
        self._descriptor = descriptor
        self._reopened = False
        self._lock = threading.Lock()
        self._rest = b""  # of a line that went in part
        self._lost = 0
        self.lost = 0
        """How many lines nobody will read, since this process began to write here."""
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=os.dup(descriptor))
        elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            try:
                # Opened anew, it has flags of its own.
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
                self._reopened = True
            except OSError:
                pass  # no /proc, or somebody else's terminal

    def msg(self, line: str | bytes) -> None:
        """Write one line, or octets as they are."""
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if not self._catch_up() or not self._write(data):
                self._lost += 1
                self.lost += 1

    def finish(self, seconds: float = 1.0) -> None:
        """At the end, give whoever reads this some time to hear of what is still to be told."""
        poll = select.poll()
        poll.register(self._socket or self._descriptor, select.POLLOUT)
        until = time.monotonic() + seconds
        with self._lock:
            told = self._catch_up()
            while not told and (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):
                before = self._rest, self._lost
                told = self._catch_up()
                if before == (self._rest, self._lost):
                    return  # there is room, and still nothing goes: a reader that is gone, a full disk

    def _catch_up(self) -> bool:
        """Write what is left of the last line, and how many were lost since; whether all of that went."""
        if self._rest:
            rest, self._rest = self._rest, b""
            if not self._write(rest):
                self._rest = rest
            if self._rest:
                return False
        if self._lost:
            lost, self._lost = self._lost, 0
            if not self._write(self._tell_lost(lost)):
                self._lost = lost
                return False
        return True

    def _write(self, data: bytes) -> bool:
        """Write without waiting; False if nothing went. What is left of data that went in part is kept."""
        try:
            if self._socket:
                sent = self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                sent = os.write(self._descriptor, data)
        except OSError:
            return False
        self._rest = data[sent:]
        return True

    def replace(self, descriptor: int) -> None:
        """Write to another file from now on; ``descriptor`` is closed."""
        with self._lock:
            os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)

    @property
    def descriptor(self) -> int:
        """What it writes to."""
        return self._socket.fileno() if self._socket else self._descriptor

    def close(self) -> None:
        """Release what was opened; the descriptor it was given stays."""
        if self._socket:
            self._socket.close()
        elif self._reopened:
            os.close(self._descriptor)

    debug = info = warning = error = critical = msg


def _lost_line(number: int) -> bytes:
    return b'{"event":"log_lines_lost","number":%d}\n' % number


def open_file(path: str) -> int:
    """Open a log file, and make it if need be, for its owner to write and its group to read. OSError says why not.

    A link of the operator's may lead elsewhere, as to /dev/stdout in a container; one of another user's may not.
    """
    return paths.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, follow=True)


def set_level(level: Level) -> None:
    """Log events of this level and above from now on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    throttle.rebind()


def set_up(level: Level, form: Format, descriptor: int = 2) -> Sink:
    """Send events of ``level`` and above to a file descriptor, or to the journal. OSError where that is not there.

    ``auto`` is coloured text on a terminal, the journal where the descriptor leads there, and JSON elsewhere.
    """
    terminal = os.isatty(descriptor)
    sink = _journal_sink(form, descriptor)
    if sink:
        form = "journal"
    else:
        sink = Sink(descriptor)
    processors: list[Any] = [structlog.processors.add_log_level]
    if form == "journal":
        processors += [_exception, journal.render]
    elif form == "logfmt":
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception,
            _escape,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True),
        ]
    elif form == "console" or (form == "auto" and terminal):
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _exception,
            _indent_exception,
            structlog.dev.ConsoleRenderer(colors=terminal, sort_keys=False),
        ]
    else:
        processors = [_exception, _Json()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: sink,
        cache_logger_on_first_use=False,
    )
    return sink


def _journal_sink(form: Format, descriptor: int) -> Sink | None:
    """A sink to the journal where that is wanted, or where it is the best. OSError where it is wanted and not there."""
    if form != "journal" and not (form == "auto" and journal.listens_to(descriptor)):
        return None
    try:
        connection = journal.connect()
    except OSError:
        if form == "journal":
            raise
        return None  # in a root directory of one's own, say: what goes to the descriptor gets there too
    sink = Sink(connection, journal.lost)
    os.close(connection)
    return sink


def _exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The traceback as text. A peer may have chosen what an exception says: it is cut, and what could steer a terminal
    is escaped.
    """
    if error := event.pop("exc_info", None):
        text = "".join(traceback.format_exception(error)).rstrip("\n")
        if len(text) > _LONGEST_EXCEPTION:
            half = _LONGEST_EXCEPTION // 2
            text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
        lines = text.split("\n")
        event["exception"] = "\n".join(map(printable, lines))
    return event


def _escape(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No value may begin another line, or steer a terminal."""
    for key, value in event.items():
        event[key] = printable(value if isinstance(value, str) else json.dumps(value, default=str))
    return event


def _indent_exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No line of a traceback may look like the beginning of another event."""
    if "exception" in event:
        event["exception"] = "    " + event["exception"].replace("\n", "\n    ")
    return event


class _Json:
    """An event as a JSON object: when, how bad and what, before the details, for a line is read by people too.

    Most lines tell of a connection, so this is a part of what one costs: the faster encoder gets to write them, and of
    a time only the fraction is put into words where the second is as before.
    """

    def __init__(self) -> None:
        # What is not printable ASCII could steer a terminal, and this one escapes it.
        self._encode_all = json.JSONEncoder(default=repr, separators=(",", ":")).encode
        self._second = -1
        self._text = ""

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> str | bytes:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        entry = {
            "timestamp": f"{self._text}.{int((now - second) * 1e6):06d}Z",
            "level": method,
            "event": event.pop("event", ""),
            **event,
        }
        try:
            line = to_json(entry, fallback=repr)
        except ValueError:  # text that is no Unicode
            return self._encode_all(entry)
        return line + b"\n" if line.isascii() and b"\x7f" not in line else self._encode_all(entry)
