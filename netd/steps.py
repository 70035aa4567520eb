"""Long work in steps: a generator that yields after each piece, and returns a value.

A loop turns between the steps (`netd.daemon.tasks.Tasks.in_slices`); where nothing waits, all are done at once.
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def finish(work: Generator[None, None, T]) -> T:
    """Run a generator to its end, and return its value."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: T = end.value
            return value
