"""The events that netd logs, as values: they are read from the code of `netd.telemetry` that writes them."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from netd.telemetry.fields import FIELDS
from tools.reference.source import ROOT, parsed

FILES = (
    "daemon_events",
    "listener_events",
    "service_events",
    "program_events",
    "forward_events",
    "sensor_events",
    "code_events",
)
"""The files of `netd.telemetry` with a method for each event."""
_THROTTLED = "self._log_throttled"


@dataclass(frozen=True)
class Event:
    """An event of the log."""

    name: str
    level: str
    fields: tuple[str, ...]
    """The names of all fields that it may have, sorted."""
    throttled: bool
    """Whether it is logged at once, and then once a minute with a number."""
    meaning: str
    """When it is written, and what it means."""
    file: str
    """One of `FILES`."""


def events() -> list[Event]:
    """All events, in the order of the files and of the code."""
    return [event for file in FILES for event in _of(file)] + [_lines_lost()]


def _lines_lost() -> Event:
    """The one event that is no call of a logger: the sink writes it."""
    module = parsed(ROOT / "netd" / "telemetry" / "sink.py")
    [function] = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "_lost_line"]
    return Event("log_lines_lost", "warning", ("number",), throttled=False, meaning=_meaning(function), file=FILES[0])


def _of(file: str) -> Iterator[Event]:
    module = parsed(ROOT / "netd" / "telemetry" / f"{file}.py")
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for logger in [node for node in module.body if isinstance(node, ast.ClassDef)]:
        methods = [node for node in logger.body if isinstance(node, ast.FunctionDef)]
        bound: set[str | None] = set().union(*map(_bound, methods))
        for method in methods:
            calls = [call for call in ast.walk(method) if isinstance(call, ast.Call)]
            for call in calls:
                if found := _logged(call, ast.unparse(method)):
                    name, level = found
                    fields = _fields(method, call, [functions.get(ast.unparse(one.func)) for one in calls]) | bound
                    is_throttled = ast.unparse(call.func) == _THROTTLED
                    names = tuple(sorted({"exception" if one == "exc_info" else str(one) for one in fields}))
                    yield Event(name, level, names, is_throttled, _meaning(method), file)


def _bound(method: ast.FunctionDef) -> set[str]:
    """The fields that a class binds to its logger: what `ThrottledLog` gets by name."""
    if method.name != "__init__":
        return set()
    calls = [node for node in ast.walk(method) if isinstance(node, ast.Call)]
    binding = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
    return {key.arg for call in binding for key in call.keywords if key.arg}.union(*map(_keys, binding))


def _logged(call: ast.Call, method: str) -> tuple[str, str] | None:
    """The name and the level of the event that a call logs, in a method with this code; None: it logs none."""
    called = ast.unparse(call.func)
    words = [word.value for word in call.args if isinstance(word, ast.Constant)]
    if called == _THROTTLED:
        return str(words[-1]), str(words[-2])
    if called == "log":
        return str(words[0]), "debug to critical" if "getattr(self._log, " in method else "info or debug"
    if called.startswith("self._log.") and words:
        return str(words[0]), called.removeprefix("self._log.")
    return None


def _fields(method: ast.FunctionDef, call: ast.Call, called: list[ast.FunctionDef | None]) -> set[str | None]:
    """The fields: those of the call, of the mappings that the method and the functions that it calls put together, and
    those that its docstring names.
    """
    fields: set[str | None] = {key.arg for key in call.keywords if key.arg}
    fields |= {"number"} if ast.unparse(call.func) == _THROTTLED else set()
    fields |= _keys(method).union(*(_keys(function) for function in called if function))
    for node in ast.walk(method):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("fields", "details"):
            fields |= {str(node.slice.value)} if isinstance(node.slice, ast.Constant) else set()
    named = set(re.findall(r"``(\w+)``", ast.get_docstring(method) or ""))
    return fields | (named & FIELDS.keys())


def _keys(function: ast.AST) -> set[str]:
    """The constant keys of the mappings that a function makes."""
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
    return {str(key.value) for node in nodes for key in node.keys if isinstance(key, ast.Constant)}


def _meaning(method: ast.FunctionDef) -> str:
    """The first paragraph of a docstring; what follows is about the method."""
    return " ".join(inspect.cleandoc(ast.get_docstring(method) or "").partition("\n\n")[0].split())
