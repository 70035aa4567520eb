"""Loads the class or function of a `python` service, from the text of a file or from a module, as a `ServiceType`.

Code of others runs here: only a worker, or a process with a worker's rights, may call this.
"""

import importlib
import importlib.util
import inspect
import io
import json
import linecache
import sys
from dataclasses import replace
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from netd.contract import Context
from netd.services.python.handlers import service_of
from netd.services.python.options import PythonOptions
from netd.services.python.running import AttributedCoroutine, AttributedService, RunningCode
from netd.services.service_type import DeclarationError, ServiceType
from netd.shared.table import COMMON
from netd.text import suggestion


class UnfitError(ValueError):
    """The code has no such class or function, or netd cannot serve it. Says what would fit."""


_MOST_KEPT = 256  # texts that are not executed again where a reload has changed other services


def load(place: str, name: str, text: str) -> ServiceType:
    """The type of a class or function, with the options of that class.

    ``place`` is a module, or the path of a file with this ``text``. Raises `UnfitError`, and whatever the code
    raises.
    """
    module = _execute(place, text) if "/" in place else importlib.import_module(place)
    try:
        found = getattr(module, name)
    except AttributeError:
        known = [one for one, value in vars(module).items() if _is_own(module, value)]
        raise UnfitError(f"{place} has no '{name}'{suggestion(name, known)}") from None
    return _type_of(found)


def as_python(kind: ServiceType, code: RunningCode) -> ServiceType:
    """The same type with the options of `python`, which hold those of the class. It runs as ``code``."""
    return replace(kind, options=PythonOptions, build=partial(_build, kind, code))


def _build(kind: ServiceType, code: RunningCode, options: Any, context: Context) -> AttributedService:
    call_soon = context.call_soon
    context = replace(context, call_soon=lambda function: call_soon(lambda: code.run(function)))
    make = AttributedCoroutine if kind.serving == "asyncio" else AttributedService
    return make(code.run(_build_own, kind, options, context), code)


def _build_own(kind: ServiceType, options: Any, context: Context) -> object:
    return kind.build(kind.options.model_validate_json(json.dumps(options.own)), context)


@lru_cache(_MOST_KEPT)
def _execute(path: str, text: str) -> ModuleType:
    """Execute the text of a file as a module of its own."""
    # Under this name the code is found in errors, and by what looks a module up, such as dataclasses. It is no name of
    # another module.
    module = ModuleType(path)
    module.__file__ = path
    lines = io.StringIO(text, newline=None).readlines()  # as the compiler counts them: str.splitlines ends more
    linecache.cache[path] = (len(text), None, lines, path)  # for tracebacks: the file may have changed since
    before = sys.modules.get(path)
    sys.modules[path] = module
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # what the config asks for
    except BaseException:
        if before is None:
            del sys.modules[path]
        else:
            sys.modules[path] = before
        raise
    return module


@lru_cache(_MOST_KEPT)
def _type_of(found: object) -> ServiceType:
    """The type of a class or function that was found. Cached, so that it is the same after a reload."""
    try:
        service = service_of(found)
    except ValueError as error:
        raise UnfitError(str(error)) from None
    try:
        kind = ServiceType.of(service, "python")
    except DeclarationError as error:
        raise UnfitError(error.faults) from None
    if kind.serving in ("program", "forward") or kind.starts_programs or kind.layout != COMMON:
        raise UnfitError(
            "'program', 'forwards', 'runs_program', 'listens' and 'counters' are for a class of a package, "
            "which names it as a service type"
        )
    return kind


def _is_own(module: ModuleType, value: object) -> bool:
    """Whether a module defines this class or function, and does not import it."""
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
