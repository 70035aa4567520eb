"""A client that measures while others do what they want, and the descriptors for thousands of these."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator

import pytest

from tests.daemon.clients import talking
from tests.support.waiting import until


@contextlib.contextmanager
def descriptors_for(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < number:
        pytest.fail(f"this machine allows {hard} descriptors, and the test needs {number}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Echoes:
    """The round-trip times of one client, in seconds, as long as the context lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.times: list[float] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with talking(self._port) as connection:
            while not self._enough.wait(0.002):
                start = time.monotonic()
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
                self.times.append(time.monotonic() - start)

    def __enter__(self) -> "Echoes":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        until(lambda: len(self.times) > 100 or not self._thread.is_alive(), 30)
        self._enough.set()
        self._thread.join(30)

    @property
    def seen(self) -> str:
        ordered = sorted(self.times)
        return f"echo median {ordered[len(ordered) // 2] * 1e3:.2f} ms, max {ordered[-1] * 1e3:.0f} ms"
