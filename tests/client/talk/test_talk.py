"""What becomes of a talk whose other end has closed before anything was said."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterator

import pytest

from netd.client.talk.conversation import Schedule, talk
from netd.client.talk.template import Template
from netd.client.talk.user_io import Pipe
from netd.errors import HungUpError


class Closed:
    """A line whose other end closed before it was looked at."""

    url = where = "tcp://name:7"
    streams = True

    async def send(self, data: bytes) -> bool:
        return False

    async def receive(self) -> bytes | None:
        return None

    async def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class Closing(Closed):
    """A line whose other end closes when something is sent, and does not take it."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    async def send(self, data: bytes) -> bool:
        self._asked.set()
        return False

    async def receive(self) -> bytes | None:
        await self._asked.wait()
        return None


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


def test_what_was_read_and_could_not_be_sent_is_left_to_say_too(typed: int) -> None:
    class Full(Closing):
        """Takes nothing more."""

        async def send(self, data: bytes) -> bool:
            await super().send(data)
            await asyncio.Event().wait()
            raise AssertionError

    os.write(typed, b"hello\n")
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Full(), Pipe(), None, None, None)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ([b"bye\n"], False),
        ([b"bye"], False),
        ([b"hello\nbye\n"], True),
        ([b"bye\n", b"more\n"], True),
        ([b"bye\n", b"more\n", b"bye\n"], True),
    ],
)
def test_a_farewell_to_who_has_left_is_no_loss_and_anything_else_is(
    typed: int, said: list[bytes], *, lost: bool
) -> None:
    """As the lines come one by one to an end that closes at the first of them."""

    class Slow(Pipe):
        async def lines(self) -> AsyncGenerator[bytes, None]:
            async with contextlib.aclosing(super().lines()) as lines:
                for piece in said:
                    os.write(typed, piece)
                    for _ in range(piece.count(b"\n")):
                        yield await anext(lines)
                os.close(typed)
                async for line in lines:
                    yield line

    with pytest.raises(HungUpError) if lost else contextlib.nullcontext():
        talk(Closing(), Slow(), None, None, None)


def test_something_is_due(typed: int) -> None:
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Closed(), Pipe(), None, Schedule(Template("tick"), 60), None)
