"""A program that a test starts and ends by hand, and a service of type `check` that runs it."""

from collections.abc import Callable
from typing import Any

from netd.contract import Context, Finished
from netd.services.check import Check
from netd.testing import NOW, build


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
