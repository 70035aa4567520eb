"""The process of a load: started, ready when every connection was answered, then told to measure."""

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench import processes
from bench.errors import FailedError
from bench.peers import BUILD, HERE

_TIMEOUT = 90.0  # seconds for opening all connections, and for answers to those that are outstanding at the end


class Load:
    """A load that runs until the end of its ``with`` block; its connections stay open until then."""

    def __init__(
        self, arguments: Sequence[str], port: int, seconds: float, warm_up: float, cores: Sequence[int]
    ) -> None:
        times = ["-t", f"{seconds:.3f}", "-w", f"{warm_up:.3f}"]
        self._seconds = seconds
        over_tls = arguments[0].startswith("tls-")
        program = [sys.executable, str(HERE / "tls_load.py")] if over_tls else [str(BUILD / "load")]
        self._process = processes.start(
            [*program, *arguments, "-p", str(port), *times],
            cores,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe
            pipe.close()

    def wait_until_ready(self) -> None:
        """Wait until it has run for its time to warm up. Raises `FailedError` if it ends, as do the other methods."""
        self._line(_TIMEOUT)

    def begin(self) -> None:
        """Let it measure."""
        assert self._process.stdin
        try:
            self._process.stdin.write(b"\n")
        except BrokenPipeError as error:
            raise FailedError(self._complaint() or str(error)) from None

    def result(self) -> dict[str, float]:
        """What it has measured: the fields of a `Figure` that it knows."""
        found: dict[str, float] = json.loads(self._line(self._seconds + _TIMEOUT))
        return found

    def _line(self, seconds: float) -> bytes:
        try:
            return processes.read_line(self._process, seconds)
        except FailedError as error:
            raise FailedError(self._complaint() or str(error)) from None

    def _complaint(self) -> str:
        self._process.kill()
        assert self._process.stderr
        return self._process.stderr.read().decode(errors="replace").strip()
