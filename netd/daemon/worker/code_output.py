"""What the code of `python` services prints and logs in a worker, as events of their services.

Nothing is changed in a worker without such a service. From the first one on, `sys.stdout`, `sys.stderr` and the root
logger of `logging` lead here, and the descriptors 1 and 2 to pipes, for what does not use these, such as code in C.
"""

import io
import logging
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from types import FrameType

from netd.services.python.running import RunningCode, current
from netd.shared.running import RunningMemory
from netd.telemetry import logs
from netd.telemetry.code_events import CodeEvents
from netd.telemetry.sink import Sink
from netd.transport.loop import Loop
from netd.transport.stream.program import ErrorLines

_STREAMS = {1: "stdout", 2: "stderr"}


class CodeOutput:
    """The code of the services of a worker, and where its output goes."""

    def __init__(self, number: int, loop: Loop, sink: Sink) -> None:
        self._number = number
        self._loop = loop
        self._sink = sink
        self._services: weakref.WeakValueDictionary[str, RunningCode] = weakref.WeakValueDictionary()
        self._places: weakref.WeakValueDictionary[str, RunningCode] = weakref.WeakValueDictionary()
        self.memory: RunningMemory | None = None
        """Where code that runs is recorded."""
        self._unknown: RunningCode | None = None  # code of which it is not known which service it belongs to
        self._pipes: list[ErrorLines] = []

    def code_of(self, service: str, place: str) -> RunningCode:
        """The code of a service, from this file or module. With the first one, output is redirected."""
        if not self._unknown:
            self._unknown = RunningCode(CodeEvents(worker=self._number))
            self._redirect()
        code = self._services.get(service) or RunningCode(CodeEvents(service), memory=self.memory)
        self._services[service] = self._places[place] = code
        return code

    def _redirect(self) -> None:
        self._sink.leave_standard_streams()
        for descriptor, stream in _STREAMS.items():
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # the loop, which reads it, must not wait to write
            os.dup2(writer, descriptor)
            os.close(writer)
            pipe = ErrorLines(self._loop, _Descriptor(self, stream), "", reader)
            pipe.start(0)
            self._pipes.append(pipe)
        sys.stdout, sys.stderr = CodeStream(self, 1), CodeStream(self, 2)
        logging.getLogger().addHandler(CodeHandler(self))
        self.set_level()

    def set_level(self) -> None:
        """Have `logging` make the records that netd logs at its level, and no others."""
        if self._unknown:
            logging.getLogger().setLevel(logs.level())

    def log_pending(self, *, final: bool = False) -> None:
        """Log the sums of skipped lines that are due; if ``final``, all of them, and what is left in the pipes."""
        for pipe in self._pipes if final else ():
            pipe.read_rest()
        for code in (*self._services.values(), self._unknown):
            if code:
                code.events.log_pending(final=final)

    def running(self) -> RunningCode:
        """The code that runs now. That of a thread which code has begun is found by the functions that it is in."""
        code = current.get()
        if code is None:
            found = self._found(sys._getframe())
            if threading.current_thread() is threading.main_thread():
                return found  # in the loop, what runs next is other code
            code = found.serving("")
            current.set(code)
        return code

    def _found(self, frame: FrameType | None) -> RunningCode:
        while frame is not None:
            if code := self._places.get(frame.f_globals.get("__name__", "")):
                return code
            frame = frame.f_back
        return self.any_code()

    def any_code(self) -> RunningCode:
        """The code of the only service, or else that of no known one."""
        services = list(self._services.values())
        assert self._unknown, "output was redirected"
        return services[0] if len(services) == 1 else self._unknown


class _Descriptor:
    """Takes the lines that are written to descriptor 1 or 2."""

    def __init__(self, output: CodeOutput, stream: str) -> None:
        self._output = output
        self._stream = stream

    def error_lines(self, peer: str, pid: int, lines: Sequence[bytes]) -> None:
        found = [line.decode(errors="replace") for line in lines]
        self._output.any_code().events.lines_printed(self._stream, peer, found)


class CodeStream(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`."""

    errors = "backslashreplace"

    def __init__(self, output: CodeOutput, descriptor: int) -> None:
        self._output = output
        self._descriptor = descriptor
        self.buffer = CodeBuffer(self)
        """Takes octets, as that of `sys.stdout`."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._output.running().printed(_STREAMS[self._descriptor], text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor, which a program of the code may inherit."""
        return self._descriptor


class CodeBuffer(io.BufferedIOBase):
    """Stands for the buffer of `sys.stdout` or `sys.stderr`."""

    def __init__(self, stream: CodeStream) -> None:
        self._stream = stream

    def write(self, data: object) -> int:
        octets = bytes(memoryview(data))  # type: ignore[arg-type]
        self._stream.write(octets.decode(errors="replace"))
        return len(octets)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


class CodeHandler(logging.Handler):
    """Logs the records of `logging`."""

    def __init__(self, output: CodeOutput) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            code = self._output.running()
            error = record.exc_info[1] if record.exc_info else None
            code.events.line_logged(record.levelno, code.peer, record.name, record.getMessage(), error)
        except Exception:  # the arguments do not fit the message: `logging` prints that, and goes on
            self.handleError(record)
