"""The destination of the log, as the config has it: standard error, a file, a syslogd or the journal."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from netd.config.model import SYSLOG, LogSection
from netd.errors import OpenError
from netd.telemetry import journal, logs, sink, syslog
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.sink import Sink


@dataclass(frozen=True)
class LogOutput:
    """The log of a process that starts netd.

    A problem of the start is an event in the log, and a line on standard error. If the log is on standard error, it
    appears there once: as a line in a log for people, as an event in one for programs.
    """

    sink: Sink
    logs_problems: bool
    prints_problems: bool


def open_log(section: LogSection, *, detached: bool) -> LogOutput:
    """Open the log of the config. Without `log.file`, a netd without a terminal (``detached``) logs to the syslogd.

    Raises `OpenError` if the file cannot be opened, or `log.format` is `journal` and there is none. Without a syslogd,
    the log of a netd that is not detached goes to standard error.
    """
    form = section.format
    if form == "journal":
        return _to_journal(section)
    if section.file == SYSLOG or (section.file is None and detached):
        missing = missing_syslog()
        if detached or not missing:
            return _with_reopen(logs.set_up_syslog(section.level, form, section.facility), _connect_syslog)
        output = _to_standard_error(section)
        DaemonEvents().log_failed(f"{missing}; the log goes to standard error")
        return output
    if section.file is None:
        return _to_standard_error(section)
    return _with_reopen(logs.set_up(section.level, form, open_file(section.file)), partial(open_file, section.file))


def _with_reopen(opened: Sink, reopen: Callable[[], int]) -> LogOutput:
    opened.reopen = reopen
    return LogOutput(opened, logs_problems=True, prints_problems=True)


def _to_journal(section: LogSection) -> LogOutput:
    os.close(connect_journal())
    opened = logs.set_up(section.level, "journal")
    return LogOutput(opened, logs_problems=True, prints_problems=not journal.is_journal(2))


def connect_journal() -> int:
    """A descriptor of a socket to the journal. Raises `OpenError` if there is none."""
    try:
        return journal.connect()
    except OSError as error:
        raise OpenError([f"log.format: there is no journal at {journal.SOCKET}: {error.strerror}"]) from None


def _to_standard_error(section: LogSection) -> LogOutput:
    for_people = logs.resolve(section.format, 2) == "console"
    opened = logs.set_up(section.level, section.format, 2)
    return LogOutput(opened, logs_problems=not for_people, prints_problems=for_people)


def missing_syslog() -> str:
    """The reason why there is no syslogd to log to, or an empty string."""
    try:
        os.close(_connect_syslog())
    except OpenError as error:
        return str(error)
    return ""


def _connect_syslog() -> int:
    try:
        return syslog.connect()
    except OSError as error:
        raise OpenError([f"there is no syslogd at {syslog.SOCKET}: {error.strerror}"]) from None


def open_file(path: str) -> int:
    """Open a log file. Raises `OpenError`, with the remedy, if that fails."""
    try:
        return sink.open_file(path)
    except OSError as error:
        raise OpenError([f"log.file: cannot open {path}: {error.strerror}{_advice(path, error)}"]) from None


def _advice(path: str, error: OSError) -> str:
    """The remedy for a log file that cannot be opened, to append to the error; empty where there is none."""
    if "NOTIFY_SOCKET" in os.environ:  # ProtectSystem=strict makes all other directories read-only
        return "; under systemd netd may write to its LogsDirectory= only: see log-file.conf, then restart netd"
    if error.errno == errno.ENOENT:
        return f"; make the directory {os.path.dirname(path)} first"
    return ""
