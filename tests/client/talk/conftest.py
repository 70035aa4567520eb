"""Fixtures of the tests of `netd talk` in this process."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def typed() -> Iterator[int]:
    """A descriptor: data written to it is standard input of this process."""
    kept = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    yield writer
    os.dup2(kept, 0)
    os.close(kept)
