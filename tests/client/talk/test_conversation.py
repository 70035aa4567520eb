"""Conversations after the other end has closed."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from netd.client.talk.conversation import Schedule, talk
from netd.client.talk.link import connect
from netd.client.talk.template import Template
from netd.client.talk.user_io import Pipe
from netd.client.urls import client_endpoint
from netd.errors import HungUpError, NoAnswerError
from tests.support.daemon import daemon


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

    async def delivered(self) -> bool:
        return True

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


class Answering(Closed):
    """A link to a peer that answers each message with this, and closes after the end of input."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[bytes] = []

    async def send(self, data: bytes) -> bool:
        self.sent.append(data)
        if self._answer is not None:
            self._answers.put_nowait(self._answer)
        return True

    async def receive(self) -> bytes | None:
        return await self._answers.get()

    async def finish(self) -> None:
        self._answers.put_nowait(None)


@pytest.mark.parametrize("end", [None, b"\n", b""])
def test_silent_peer_is_an_error(typed: int, end: bytes | None) -> None:
    os.write(typed, b"ping\n")
    os.close(typed)
    with pytest.raises(NoAnswerError) as caught:
        talk(Answering(None), Pipe(), end=end)
    hint = "" if end == b"" else "; if a message has no line end there, try --end none"
    assert caught.value.problems == (f"tcp://name:7: nothing was received{hint}",)


@pytest.mark.parametrize(
    ("answer", "said", "wait"),
    [
        (b"", b"hello\n", None),
        (b"pong", b"ping\n", None),
        (None, b"", None),
        (None, b"\nbye\n", None),
        (None, b"log\n", 0.0),
    ],
)
def test_silence_is_no_error_where_no_answer_is_missing(
    typed: int, answer: bytes | None, said: bytes, wait: float | None
) -> None:
    os.write(typed, said)
    os.close(typed)
    talk(Answering(answer), Pipe(), wait=wait)


def test_lines_without_an_end_are_sent_one_after_an_answer_to_the_other(typed: int) -> None:
    class Slow(Answering):
        """Answers each line when the loop has turned, and would notice two lines before that."""

        async def send(self, data: bytes) -> bool:
            assert not self._busy, "the line before has no answer yet"
            self._busy = True
            self.sent.append(data)
            asyncio.get_running_loop().call_later(0.01, self._reply)
            return True

        _busy = False

        def _reply(self) -> None:
            self._busy = False
            self._answers.put_nowait(b"ok")

    link = Slow(None)
    os.write(typed, b"hello\nhow are you\nfine")
    os.close(typed)
    talk(link, Pipe(), end=b"")
    assert link.sent == [b"hello", b"how are you", b"fine"]


def test_input_that_the_other_end_did_not_take_is_an_error(typed: int) -> None:
    class Untaken(Answering):
        async def delivered(self) -> bool:
            return False

    os.write(typed, b"hello\n")
    os.close(typed)
    with pytest.raises(HungUpError):
        talk(Untaken(b"421 no\n"), Pipe())


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_refusal_with_a_line_has_the_same_outcome_each_time(
    typed: int, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], scheme: str
) -> None:
    """Whether the refusal, its end, or the reset that answers the input comes first."""
    listen = f"[tcp://127.0.0.1:0, 'unix://{tmp_path}/s']"
    config = f"services: {{echo: {{listen: {listen}, access: {{deny: [any]}}, refuse: {{line: 421 no}}}}}}"
    os.close(typed)
    with daemon(config, tmp_path) as running:
        for _ in range(20):
            reader, writer = os.pipe()
            os.write(writer, b"x\n")
            os.close(writer)
            os.dup2(reader, 0)
            os.close(reader)
            link = connect(client_endpoint(running.url("echo", scheme)))
            with contextlib.closing(link), pytest.raises(HungUpError):
                talk(link, Pipe())
            assert b"421 no" in capfdbinary.readouterr().out
