"""What becomes of a talk whose other end has closed before anything was said."""

import os
from collections.abc import Iterator

import pytest

from netd.client.talk.conversation import Schedule, talk
from netd.client.talk.person import Pipe
from netd.client.talk.phrases import Template
from netd.errors import HungUpError


class Closed:
    """A line whose other end closed before it was looked at."""

    url = where = "tcp://name:7"
    streams = True

    async def send(self, data: bytes) -> None:
        pass

    async def receive(self) -> bytes | None:
        return None

    async def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def typed() -> Iterator[int]:
    """What is written here is this process's standard input."""
    kept = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    yield writer
    os.dup2(kept, 0)
    os.close(kept)


def test_nothing_is_left_to_say(typed: int) -> None:
    os.close(typed)
    talk(Closed(), Pipe(), None, None, None)


def test_something_is_left_to_say(typed: int) -> None:
    os.write(typed, b"hello\n")
    with pytest.raises(HungUpError, match="^tcp://name:7: closed by the other end$"):
        talk(Closed(), Pipe(), None, None, None)
    with pytest.raises(HungUpError):
        talk(Closed(), Pipe(), None, None, None)
    os.close(typed)


def test_something_is_due(typed: int) -> None:
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Closed(), Pipe(), None, Schedule(Template("tick"), 60), None)
