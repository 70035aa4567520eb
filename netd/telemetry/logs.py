"""Set-up of the log, its formats, and a sink that never blocks the daemon."""

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

_LONGEST_EXCEPTION = 8192  # characters of a traceback; a longer one is cut in its middle


class Sink:
    """Writes lines to a descriptor without blocking, each with one call, so that lines of threads do not mix.

    If a pipe is full, a terminal stopped or a disk full, lines are lost and counted, and the next line that can be
    written is preceded by their number. The descriptor itself stays blocking, since other programs may share it.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], bytes] | None = None) -> None:
        """``lost`` renders the line that reports the number of lost ones; without it, JSON."""
        self._render_lost = lost or _lost_line
        self._socket: socket.socket | None = None
        self._descriptor = descriptor
        self._reopened = False
        self._lock = threading.Lock()
        self._rest = b""  # of a line that was written in part
        self._lost = 0
        self.lost = 0
        """The number of lines lost since this process began to write here."""
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=os.dup(descriptor))
        elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            try:
                # Opened again, it has a file description, and so O_NONBLOCK, of its own (open(2)).
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
                self._reopened = True
            except OSError:
                pass  # no /proc, or a terminal of another user

    def msg(self, line: str | bytes) -> None:
        """Write one line, or octets as they are."""
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if not self._catch_up() or not self._write(data):
                self._lost += 1
                self.lost += 1

    def finish(self, seconds: float = 1.0) -> None:
        """At the end, wait up to ``seconds`` until the rest of a line and the number of lost ones are written."""
        poll = select.poll()
        poll.register(self._socket or self._descriptor, select.POLLOUT)
        until = time.monotonic() + seconds
        with self._lock:
            written = self._catch_up()
            while not written and (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):
                before = self._rest, self._lost
                written = self._catch_up()
                if before == (self._rest, self._lost):
                    return  # writable, and still nothing was written: the reader has closed, or the disk is full

    def _catch_up(self) -> bool:
        """Write the rest of the last line, and the number of lost ones. Return whether all of that was written."""
        if self._rest:
            rest, self._rest = self._rest, b""
            if not self._write(rest):
                self._rest = rest
            if self._rest:
                return False
        if self._lost:
            lost, self._lost = self._lost, 0
            if not self._write(self._render_lost(lost)):
                self._lost = lost
                return False
        return True

    def _write(self, data: bytes) -> bool:
        """Write without blocking. Return False if nothing was written; the rest of data written in part is kept."""
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
        """The descriptor that lines are written to."""
        return self._socket.fileno() if self._socket else self._descriptor

    def close(self) -> None:
        """Close the descriptors that this object opened. The one it was given stays open."""
        if self._socket:
            self._socket.close()
        elif self._reopened:
            os.close(self._descriptor)

    debug = info = warning = error = critical = msg


def _lost_line(number: int) -> bytes:
    return b'{"event":"log_lines_lost","number":%d}\n' % number


def open_file(path: str) -> int:
    """Open a log file to append, or create it with mode 0640. OSError: it cannot be opened.

    A symbolic link of root or of the user that runs netd is followed, as to /dev/stdout in a container; others are not.
    """
    return paths.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, follow=True)


def set_level(level: Level) -> None:
    """Log only events of this level and above from now on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    throttle.rebind_loggers()


def set_up(level: Level, form: Format, descriptor: int = 2) -> Sink:
    """Log events of ``level`` and above to a descriptor, or to the journal. OSError: the journal cannot be reached.

    The format ``auto`` is coloured text on a terminal, the journal if the descriptor is connected to it, else JSON.
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
    """A sink to the journal if ``form`` selects it. OSError: it is set explicitly, and cannot be reached."""
    if form != "journal" and not (form == "auto" and journal.is_journal(descriptor)):
        return None
    try:
        connection = journal.connect()
    except OSError:
        if form == "journal":
            raise
        return None  # such as in a chroot: the descriptor leads to the journal too
    sink = Sink(connection, journal.lost)
    os.close(connection)
    return sink


def _exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Render the traceback. A peer may have chosen the text of an exception: it is cut, and control characters are
    escaped.
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
    """Escape control characters, so that no value begins another line or controls a terminal."""
    for key, value in event.items():
        event[key] = printable(value if isinstance(value, str) else json.dumps(value, default=str))
    return event


def _indent_exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Indent the traceback, so that none of its lines looks like the beginning of another event."""
    if "exception" in event:
        event["exception"] = "    " + event["exception"].replace("\n", "\n    ")
    return event


class _Json:
    """Renders an event as a JSON object. Time, level and event come first, since people read the lines too.

    Most lines are about a connection, and are a part of its cost. So the faster encoder renders them, and the text of
    the time is kept within one second.
    """

    def __init__(self) -> None:
        # It escapes all but printable ASCII, since control characters could control a terminal.
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
        except ValueError:  # text with half of a surrogate pair
            return self._encode_all(entry)
        return line + b"\n" if line.isascii() and b"\x7f" not in line else self._encode_all(entry)
