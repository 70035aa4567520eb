"""The place in a service at which a worker hung or crashed, from the stack that faulthandler wrote."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from netd.config.model import ServiceConfig
from netd.services import table
from netd.services.python.options import Reference

_FRAME = re.compile(r'  File "(?P<file>[^"\n]+)", line (?P<line>\d+) in (?P<function>\S+)')
# What calls services: the transport, and the worker when it makes them.
_CALLERS = tuple(f"{Path(__file__).parents[2] / name}{os.sep}" for name in ("transport", "daemon"))


def culprit(stack: str, services: Iterable[ServiceConfig]) -> dict[str, str]:
    """The fields of a log line for a stack: ``at``, such as ``x.py:105 in stream``, and the services of that code.

    A worker may write anything as its stack. A service is not named if its class is not where the worker was.
    """
    _, _, current = stack.rpartition("Current thread ")  # others are of handlers, which hold up no other connection
    frames = list(_FRAME.finditer(current.partition("\n\n")[0]))
    outside = [frame for frame in frames if frame["file"].startswith(_CALLERS)]
    inside = frames[: frames.index(outside[0])] if outside else frames
    if not frames:
        return {}
    sources = {service.name: _source_of(service) for service in services}
    # The function of the service that netd has called, also by way of socketserver; else the last before netd's.
    called = next((frame for frame in reversed(inside) if frame["file"] in sources.values()), None)
    frame = called or (inside[-1] if inside else frames[0])
    fields = {"at": f"{os.path.basename(frame['file'])}:{frame['line']} in {frame['function']}"}
    if names := [name for name, source in sources.items() if called and source == called["file"]]:
        fields["services"] = ", ".join(names)
    return fields


def _source_of(service: ServiceConfig) -> str | None:
    """The file of the class of a service."""
    if isinstance(service.options, Reference) and service.options.file:
        return service.options.file
    try:
        kind = table.find(service.type)
    except ValueError:
        return None
    return getattr(sys.modules.get(kind.module), "__file__", None) if kind else None
