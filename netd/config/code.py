"""The code of `python` services: its file is read here, and what it has is learned from a child process without rights.

A process of netd that has rights never executes such a file, which is not netd's own code.
"""

import importlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import decode_source
from typing import NamedTuple

from netd import paths
from netd.admission.limits import Limits
from netd.config import workers
from netd.config.code_child import CodeAnswer, ask
from netd.config.model import Code, DaemonSection
from netd.config.problems import Finding, Mark
from netd.errors import OpenError, OperatorError
from netd.privileges import RunAs
from netd.services.python.options import PythonOptions, Reference, parse_reference
from netd.services.service_type import ServiceType
from netd.text import printable

_LONGEST = 2**20  # octets of a file
# What handlers are made of. Workers have it already where they may not read Python's own library, as below /root.
_LIBRARY = ("socketserver", "http.server")
_WRITERS = stat.S_IWGRP | stat.S_IWOTH


class Found(NamedTuple):
    """What is known of the code of a service."""

    kind: ServiceType | None
    """How its class is served; None: it cannot be served, and there is a finding about it."""
    code: Code | None
    findings: tuple[Finding, ...]


def inspect(
    kind: ServiceType, options: Reference, line_limit: int, daemon: DaemonSection, *, enabled: bool = True
) -> Found:
    """What the code is that the options name. ``kind`` is the type `python`, ``line_limit`` is ``limits.line``.

    Where a disabled service has no file, that is a notice only.
    """
    _import_library()
    where = ("options", "class")
    findings: list[Finding] = []
    text = ""
    if options.file:
        try:
            text, exposed = read(options.file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return Found(
                None if enabled else kind, None, (Finding(where, f"{options.file}: {reason}", is_notice=not enabled),)
            )
        if exposed:
            # With the rights of root the file would let every such user into the workers.
            is_refused = os.geteuid() == 0
            findings.append(Finding(where, *exposed, is_notice=not is_refused))
            if is_refused:
                return Found(None, None, tuple(findings))
    try:
        answer = ask(options, text, line_limit, _identity(daemon))
    except OperatorError as error:
        return Found(None, None, (*findings, Finding(where, str(error))))
    for problem in answer.problems:
        mark = Mark(options.file, problem.line, max(1, problem.column)) if problem.line and options.file else None
        at = ("options", *problem.where) if problem.where else where
        findings.append(Finding(at, problem.message, problem.hint, mark=mark))
    if answer.problems:
        return Found(None, None, tuple(findings))
    if answer.serving == "asyncio":
        importlib.import_module("netd.transport.stream.coroutine")
    served = replace(
        kind,
        serving=answer.serving,
        datagrams=answer.datagrams,
        polled=answer.polled,
        build=lambda options, context: None,
    )
    code = Code(text=text, serving=answer.serving, datagrams=answer.datagrams)
    return Found(served, code, tuple(findings))


def _import_library() -> None:
    """Import what handlers are made of."""
    for name in _LIBRARY:
        importlib.import_module(name)


def describe(reference: str) -> CodeAnswer:
    """What a class or function is, with its options. Raises `OperatorError`, ValueError or OSError where that fails."""
    options = PythonOptions.model_construct(None, **{"class": parse_reference(absolute(reference))})
    text = read(options.file)[0] if options.file else ""
    _import_library()
    answer = ask(options, text, Limits().line, _identity(DaemonSection()))
    if not (answer.serving or answer.datagrams):
        raise OperatorError(
            printable(f"{options.place}:{one.line}: " * bool(one.line) + one.message + f"; {one.hint}" * bool(one.hint))
            for one in answer.problems
        )
    return answer


def absolute(reference: str) -> str:
    """A reference as the config has it: a path that a user gives may be relative."""
    place, _, name = reference.rpartition(":")
    return f"{os.path.abspath(place)}:{name}" if place.endswith(".py") or "/" in place else reference


def _identity(daemon: DaemonSection) -> RunAs:
    """What the workers of this config would be, as far as this process can become it."""
    try:
        return workers.resolve(daemon)
    except OpenError:  # it is not root, and the netd that runs with this config will be
        return RunAs("")


def read(file: str) -> tuple[str, tuple[str, str] | None]:
    """The text of a file, and why others can change it, with the remedy. Raises OSError or ValueError."""
    with paths.find(file, follow=True) as entry:
        descriptor = entry.open(os.O_RDONLY, 0)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is no regular file")
            data = opened.read(_LONGEST + 1)
        exposed = next(_exposures(file, status, is_protected=entry.protected), None)
    if len(data) > _LONGEST:
        raise ValueError("it is longer than 1 MiB")
    try:
        return decode_source(data), exposed
    except (SyntaxError, UnicodeError) as error:
        raise ValueError(f"it is no text: {error}") from None


def _exposures(file: str, status: os.stat_result, *, is_protected: bool) -> Iterator[tuple[str, str]]:
    """How another user than root and the one that starts netd can change what stands in a file, and the remedies."""
    name = os.path.basename(file)
    if not paths.is_ours(status.st_uid):
        yield f"{file} belongs to another user (uid {status.st_uid}), which can change it", f"chown root {file}"
    if status.st_mode & _WRITERS:
        which = "every user" if status.st_mode & stat.S_IWOTH else f"group {status.st_gid}"
        yield f"{which} can write {file}", f"chmod go-w {file}"
    if not is_protected:
        yield (
            f"other users can replace {file}, since they can write a directory of its path",
            f"have root own the directories, and chmod go-w them, or move {name} to /etc/netd/services.d",
        )
