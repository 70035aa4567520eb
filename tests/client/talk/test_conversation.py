"""Conversations after the other end has closed."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator

import pytest

from netd.client.talk.conversation import Schedule, talk
from netd.client.talk.template import Template
from netd.client.talk.user_io import Pipe
from netd.errors import HungUpError


class Closed:
    """A link that the other end has closed."""

    url = address = "tcp://name:7"
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
    """A link that the other end closes at the first send, without receiving it."""

    def __init__(self) -> None:
        self._sent = asyncio.Event()

    async def send(self, data: bytes) -> bool:
        self._sent.set()
        return False

    async def receive(self) -> bytes | None:
        await self._sent.wait()
        return None


def test_close_without_unsent_input_is_no_error(typed: int) -> None:
    os.close(typed)
    talk(Closed(), Pipe(), None, None, None)


def test_close_with_unread_input_is_an_error(typed: int) -> None:
    os.write(typed, b"hello\n")
    with pytest.raises(HungUpError, match="^tcp://name:7: closed by the other end$"):
        talk(Closed(), Pipe(), None, None, None)
    with pytest.raises(HungUpError):
        talk(Closed(), Pipe(), None, None, None)
    os.close(typed)


def test_close_with_input_read_but_not_sent_is_an_error(typed: int) -> None:
    class Full(Closing):
        """Blocks in send, as with a full buffer."""

        async def send(self, data: bytes) -> bool:
            await super().send(data)
            await asyncio.Event().wait()
            raise AssertionError

    os.write(typed, b"hello\n")
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Full(), Pipe(), None, None, None)


@pytest.mark.parametrize(
    ("pieces", "lost"),
    [
        ([b"bye\n"], False),
        ([b"bye"], False),
        ([b"hello\nbye\n"], True),
        ([b"bye\n", b"more\n"], True),
        ([b"bye\n", b"more\n", b"bye\n"], True),
    ],
)
def test_unsent_farewell_is_no_error_and_other_unsent_input_is(typed: int, pieces: list[bytes], *, lost: bool) -> None:
    """Lines are sent one by one to a peer that closes at the first of them."""

    class Slow(Pipe):
        async def lines(self) -> AsyncGenerator[bytes, None]:
            async with contextlib.aclosing(super().lines()) as lines:
                for piece in pieces:
                    os.write(typed, piece)
                    for _ in range(piece.count(b"\n")):
                        yield await anext(lines)
                os.close(typed)
                async for line in lines:
                    yield line

    with pytest.raises(HungUpError) if lost else contextlib.nullcontext():
        talk(Closing(), Slow(), None, None, None)


def test_close_before_a_schedule_has_ended_is_an_error(typed: int) -> None:
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Closed(), Pipe(), None, Schedule(Template("tick"), 60), None)
