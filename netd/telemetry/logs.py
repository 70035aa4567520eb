"""Set-up of the log: its level, its format and its destination."""

import logging
import os
from collections.abc import Callable
from typing import Any, Literal

from netd.telemetry import formats, journal, syslog, throttle
from netd.telemetry.sink import Sink
from netd.telemetry.structured import structlog

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["auto", "console", "json", "logfmt", "journal"]

_NAME_WIDTH = 17  # columns of an event's name in text: those of connection_closed, the most frequent one


def set_level(level: Level) -> None:
    """Log only events of this level and above from now on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    throttle.rebind_loggers()


def level() -> int:
    """The lowest level that is logged now, as a number of `logging`."""
    log = structlog.get_logger()
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    return next((one for one in levels if log.is_enabled_for(one)), logging.CRITICAL)


def json_writer() -> Callable[[bytes], None] | None:
    """What writes a line at info that is rendered already, at the end of the turn of the loop where there is one.

    None: the log is not in JSON, or info is off.
    """
    config: Any = structlog.get_config()
    if config["processors"][-1] is not formats.as_json:
        return None
    if not structlog.get_logger().bind().is_enabled_for(logging.INFO):
        return None
    logger = config["logger_factory"]()
    write: Callable[[bytes], None] = logger.hold if isinstance(logger, Sink) else logger.info
    return write


def set_up(level: Level, form: Format, descriptor: int = 2) -> Sink:
    """Log events of ``level`` and above to a descriptor, or to the journal. OSError: the journal cannot be reached."""
    terminal = os.isatty(descriptor)
    match resolve(form, descriptor):
        case "journal":
            try:
                return _log_to(level, [journal.render], journal.connect(), journal.connect)
            except OSError:
                if form == "journal":
                    raise
            # Such as in a chroot: the descriptor leads to the journal too.
            renderers: list[Any] = [formats.as_json]
        case "logfmt":
            renderers = [formats.logfmt_with_time]
        case "console":
            renderers = [
                formats.lines,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
                # https://no-color.org
                structlog.dev.ConsoleRenderer(
                    _NAME_WIDTH,
                    colors=terminal and not os.environ.get("NO_COLOR"),
                    sort_keys=False,
                    pad_level=False,
                ),
            ]
        case _:
            renderers = [formats.as_json]
    return _log_to(level, renderers, descriptor)


def set_up_syslog(level: Level, form: Format, facility: syslog.Facility) -> Sink:
    """Log events of ``level`` and above to the syslogd of this host, in logfmt or JSON.

    While there is none, lines are lost, and counted.
    """
    message = formats.as_json if form == "json" else formats.logfmt
    try:
        connection = syslog.connect()
    except OSError:
        connection = syslog.unconnected()
    return _log_to(level, [syslog.renderer(facility, message)], connection, syslog.connect)


def resolve(form: Format, descriptor: int) -> Format:
    """The format that ``auto`` stands for: text for a terminal, the journal if systemd has connected the descriptor to
    it, else JSON.
    """
    if form != "auto":
        return form
    if journal.is_journal(descriptor):
        return "journal"
    return "console" if os.isatty(descriptor) else "json"


def _log_to(level: Level, renderers: list[Any], descriptor: int, connect: Callable[[], int] | None = None) -> Sink:
    """Log to a descriptor, or to a new connection to a logger; ``connect`` opens another one."""
    processors = [formats.exception, *renderers]

    def lost(number: int) -> bytes:
        event: Any = {"event": "log_lines_lost", "number": number}
        for process in processors:
            event = process(None, "warning", event)
        return event if isinstance(event, bytes) else event.encode() + b"\n"

    sink = Sink(descriptor, lost, connect)
    if connect:
        os.close(descriptor)  # the sink has its own
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: sink,
        cache_logger_on_first_use=False,
    )
    return sink
