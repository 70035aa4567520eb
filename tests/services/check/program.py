"""A program that a test starts and ends by hand, and a service of type `check` that runs it."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from netd.contract import Context, Finished
from netd.services.check import Check
from netd.testing import NOW, build
from tests.support.server import Server


class Program:
    """In the place of `Context.run`: notes each start, and ends when the test says so."""

    def __init__(self) -> None:
        self.now = NOW
        self.starts: list[tuple[float, int]] = []
        """The timeout and the most octets of each run."""
        self._running: list[Callable[[Finished], object]] = []

    def run(self, timeout: float, most: int, ended: Callable[[Finished], object]) -> None:
        self.starts.append((timeout, most))
        self._running.append(ended)

    def end(self, code: int | None = 0, output: bytes = b"", error: str = "") -> None:
        """The run under way ends."""
        self._running.pop(0)(Finished(code, output, error))

    def check(self, **options: Any) -> Any:
        """A service that runs it, with options as in a config, on the clock of this program."""
        return build(Check, Context(clock=lambda: self.now, run=self.run), **{"command": ["/bin/check"], **options})


class Command:
    """In the place of `Context.run`: a real program, which a thread starts and waits for."""

    def __init__(self, server: Server, *command: str) -> None:
        self._server = server
        self._command = command
        self._threads = ThreadPoolExecutor(1)

    def run(self, timeout: float, most: int, ended: Callable[[Finished], object]) -> None:
        def wait() -> None:
            done = subprocess.run(self._command, stdout=subprocess.PIPE, timeout=timeout, check=False)
            self._server.loop.call(lambda: ended(Finished(done.returncode, done.stdout[:most])))

        self._threads.submit(wait)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown()  # before the loop is closed, which the last run calls

    def check(self, **options: Any) -> Any:
        """A service that runs it, with options as in a config."""
        return build(Check, Context(run=self.run), **{"command": self._command, "cache": "100ms", **options})
