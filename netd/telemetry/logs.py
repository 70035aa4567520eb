"""Setting up the log: who reads it decides its form."""

import os
from typing import Any, Literal

import structlog

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["auto", "console", "json"]


class DescriptorSink:
    """Writes each line with one write(2), so that lines of several threads stay whole.

    A log that cannot be written (a closed pipe, a full disk) never stops the service: the line is lost.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def msg(self, line: str) -> None:
        try:
            os.write(self._descriptor, line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            pass

    debug = info = warning = error = critical = msg


def _head_first(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """When, how bad and what, before the details: a line is read by people too."""
    return {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event} | event


def set_up(level: Level, form: Format, descriptor: int = 2) -> None:
    """Send events of ``level`` and above to a file descriptor: coloured text on a terminal, JSON elsewhere."""
    if form == "auto":
        form = "console" if os.isatty(descriptor) else "json"
    processors: list[Any] = [structlog.processors.add_log_level]
    if form == "console":
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=os.isatty(descriptor), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _head_first,
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: DescriptorSink(descriptor),
        cache_logger_on_first_use=False,
    )
