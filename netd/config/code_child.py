"""Asks a child process what the code of a `python` service is: the only process that imports it beside the workers.

The child has the rights of a worker, and little time. What it answers may be chosen by the code, so it is data of a
bounded size, checked here.
"""

import contextlib
import gc
import inspect
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

from pydantic import Field, ValidationError
from pydantic.errors import PydanticErrorMixin

from netd.config.model_errors import describe, unknown_key
from netd.contract import Context
from netd.errors import OperatorError, faults_of
from netd.privileges import RunAs, close_all_but, drop_to
from netd.services.python import loading
from netd.services.python.options import Reference
from netd.services.service_type import Datagrams, Serving
from netd.values import Model

TIMEOUT = 10.0
"""Seconds for the import of the code, and the construction of its service. More would delay the start and a reload."""
_GRACE = 2.0  # more seconds until the child is killed, in which it says where it hangs
_LONGEST = 2**16  # octets of an answer
_MOST = 20  # problems

_Text = Annotated[str, Field(max_length=2000)]


class CodeProblem(Model):
    """Why the code cannot be served."""

    where: Annotated[tuple[str | int, ...], Field(max_length=20)] = ()
    """The path of an option below ``options``; empty: it is about the code."""
    message: _Text
    hint: _Text = ""
    line: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The line in the file; 0: it has none."""
    column: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CodeAnswer(Model):
    """What the code is, or its problems."""

    serving: Serving | None = None
    datagrams: Datagrams | None = None
    polled: bool = False
    summary: _Text = ""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Its own options: the properties of their JSON Schema, with the defaults as an operator writes them. They are told
    also where the given ones have problems."""
    problems: Annotated[tuple[CodeProblem, ...], Field(max_length=_MOST)] = ()


def ask(options: Reference, text: str, line_limit: int, run_as: RunAs) -> CodeAnswer:
    """Have a child with the rights of ``run_as`` import the code, and build its service.

    ``text`` is that of a file. Raises `OperatorError` where no child can be started, or none with these rights.
    """
    parent = os.getpid()
    try:
        reader, writer = os.pipe()
        pid = os.fork()
    except OSError as error:
        raise OperatorError([f"cannot start a process that imports the code: {error.strerror}"]) from None
    if pid == 0:
        _run_child(writer, parent, options, text, line_limit, run_as)
    os.close(writer)
    try:
        data = _read(reader, time.monotonic() + TIMEOUT + _GRACE)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # with what the code may have started
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if data is None:
        return _failed(f"its import took more than {TIMEOUT:.0f} s")
    if data.startswith(b"!"):
        raise OperatorError([data[1:].decode(errors="replace")[:500]])
    try:
        return CodeAnswer.model_validate_json(data)
    except ValidationError:
        return _failed("its import ended the process" if not data else "its import gave no valid answer")


def _failed(message: str) -> CodeAnswer:
    return CodeAnswer(problems=(CodeProblem(message=message),))


def _read(reader: int, until: float) -> bytes | None:
    """All that the child writes, cut at the bound; None: it has not ended in time."""
    data = b""
    while len(data) <= _LONGEST:
        if not select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            return None
        piece = os.read(reader, _LONGEST)
        if not piece:
            break
        data += piece
    return data


class _TimeoutError(BaseException):
    """The import takes too long. No Exception, which the code may catch."""


def _run_child(writer: int, parent: int, options: Reference, text: str, line_limit: int, run_as: RunAs) -> NoReturn:
    """The child process: become what a worker is, import the code, write the answer, and exit."""
    try:
        gc.freeze()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)  # what the code prints is lost here
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        close_all_but({0, 1, 2, writer})
        sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
        try:
            drop_to(run_as, parent)
        except (OSError, RuntimeError) as error:
            os.write(writer, f"!cannot become {run_as.name}, to import the code: {error}".encode())
            os._exit(0)
        answer = _within_time(options, text, line_limit)
        data = answer.model_dump_json().encode()
        if len(data) > _LONGEST:
            data = _failed("its options are described by more than 64 KiB").model_dump_json().encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _within_time(options: Reference, text: str, line_limit: int) -> CodeAnswer:
    """The answer for the code, which has `TIMEOUT` seconds."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise _TimeoutError

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    try:
        return _examine(options, text, line_limit)
    except _TimeoutError as error:
        hint = "does it serve outside of if __name__ == '__main__'?"
        problem = _problem(options, error, f"its import took more than {TIMEOUT:.0f} s", hint)
    except BaseException as error:
        problem = _problem(options, error, *_reason(options, error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return CodeAnswer(problems=(problem,))


def _examine(options: Reference, text: str, line_limit: int) -> CodeAnswer:
    """Load the code, check its options, and build its service."""
    try:
        kind = loading.load(options.place, options.name, text)
    except loading.UnfitError as error:
        return _failed(str(error)[:2000])
    shown = kind.options.model_json_schema().get("properties", {})
    written = kind.options.model_construct().written()
    for name, option in shown.items():
        if "default" in option:
            option["default"] = written[name]
    answer = CodeAnswer(
        serving=kind.serving,
        datagrams=kind.datagrams,
        polled=kind.polled,
        summary=kind.summary[:2000],
        options=shown,
    )
    problems: list[CodeProblem] = []
    try:
        own = kind.options.model_validate_json(json.dumps(options.own))
    except ValidationError as error:
        problems += _option_problems(options, error, list(kind.options.model_fields))
    else:
        try:
            kind.build(own, Context(line_limit=line_limit))
        except ValidationError:  # of another model of the code
            raise
        except ValueError as error:
            problems += [CodeProblem(message=one.message[:2000], hint=one.hint[:2000]) for one in faults_of(error)]
    return answer.model_copy(update={"problems": tuple(problems[:_MOST])})


def _option_problems(options: Reference, error: ValidationError, known: list[str]) -> Iterable[CodeProblem]:
    for item in error.errors(include_url=False):
        where = item["loc"]
        match item["type"]:
            case "extra_forbidden" if not known:
                yield CodeProblem(where=where, message=f"'{options.name}' has no options")
            case "extra_forbidden":
                message, hint = unknown_key(str(where[-1]), known)
                yield CodeProblem(where=where, message=message[:2000], hint=hint[:2000])
            case "missing":
                yield CodeProblem(message=f"the option '{where[-1]}' of '{options.name}' is missing")
            case _:
                for fault in describe(item):
                    yield CodeProblem(where=where, message=fault.message[:2000], hint=fault.hint[:2000])


def _reason(options: Reference, error: BaseException) -> tuple[str, str]:
    """What an exception of the code says, and a hint."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, PydanticErrorMixin):
        text = error.message  # without an address that explains it
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return message, ""
    beside = os.path.join(os.path.dirname(options.file), *error.name.split("."))
    if options.file and (os.path.isfile(f"{beside}.py") or os.path.isdir(beside)):
        return message, "a file is served alone: make a package of several, and name it package.module:CLASS"
    if error.name.partition(".")[0] in sys.stdlib_module_names:
        # As below /root. What netd has imported itself is there in workers too.
        library = os.path.dirname(os.__file__)
        closed = next((f"{one}" for one in reversed(Path(library).parents) if not os.access(one, os.X_OK)), library)
        remedy = f"make {closed} one that it can enter (chmod a+x), or run netd with a Python elsewhere, as in /usr"
        return message, f"user {os.geteuid()} cannot read Python's library in {library}; {remedy}"
    return message, f"install it for {sys.executable}, which runs netd"


def _problem(options: Reference, error: BaseException, message: str, hint: str) -> CodeProblem:
    """The problem of an exception, with the last line of the file that was executed, else that of the class."""
    line = column = 0
    if isinstance(error, SyntaxError) and error.filename == options.file:
        line, column = error.lineno or 0, error.offset or 0
    elif frames := [one for one in traceback.extract_tb(error.__traceback__) if one.filename == options.file]:
        line, column = frames[-1].lineno or 0, (frames[-1].colno or 0) + 1
    else:
        line = _line_of_class(options, of_options=isinstance(error, PydanticErrorMixin))
    return CodeProblem(message=message[:2000], hint=hint[:2000], line=max(0, line), column=max(0, column))


def _line_of_class(options: Reference, *, of_options: bool) -> int:
    """The line of the class in the file, or of that of its options; 0: it is not there."""
    try:
        found = getattr(sys.modules[options.place], options.name)
        found = found.Options if of_options else found
        return inspect.getsourcelines(found)[1] if found.__module__ == options.file else 0
    except Exception:  # there is no class, or its attributes are none of a class
        return 0
