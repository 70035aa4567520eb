"""Waiting for a condition."""

import threading
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until a condition that sends no notification is true, by polling."""
    done = threading.Event()
    for _ in range(int(seconds * 200)):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("the condition did not become true")
