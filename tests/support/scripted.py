"""Services for tests of scripts, and the message with which a script fails."""

from collections.abc import Callable
from typing import Any

import pytest

from netd.contract import Context, Conversation, Post, Receive, Wait, WaitingConversation
from netd.errors import PeerError
from netd.lines import Lines
from netd.peer import Peer
from netd.values import Model


class Reverse:
    class Options(Model):
        """Options of ``reverse``."""

        greeting: str = ""
        """What is sent at the beginning."""

    def __init__(self, options: Options, context: Context) -> None:
        self._greeting = options.greeting.encode()
        self._context = context

    def stream(self, peer: Peer) -> Conversation:
        if self._greeting:
            yield self._greeting
        lines = Lines(self._context.line_limit)
        while (line := (yield from lines.read())) != b"q":
            if line is None:
                return
            yield line[::-1]
            yield lines.terminator

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        if len(data) > self._context.line_limit:
            raise PeerError("too long")
        return data[::-1] or None


class Room:
    """Posts each segment to all other members."""

    server_initiated = True

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.lost = 0

    def stream(self, peer: Peer, post: Post) -> Conversation:
        self.posts.append(post)
        try:
            while data := (yield None):
                yield b"ok "
                self.lost += [other(data) for other in self.posts if other is not post].count(False)
                yield b"done"
        finally:
            self.posts.remove(post)

    def datagram(self, data: bytes, peer: Peer, post: Post | None) -> bytes | None:
        return b"member" if post else b"guest"


class Slow:
    """Answers once the wait for it is finished."""

    def __init__(self, *, early: bool = False) -> None:
        self.wait = Wait()
        self._early = early

    def stream(self, peer: Peer) -> WaitingConversation:
        while data := (yield None):
            yield b"wait"
            while not self.wait.done:
                yield self.wait
                if self._early:
                    break
            yield data


class Says:
    """Yields this, and asks for input for ever."""

    def __init__(self, *words: Any) -> None:
        self._words = words

    def stream(self, peer: Peer) -> Conversation:
        yield from self._words
        while True:
            yield None


def failure(run: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        run()
    return str(caught.value)


class Patient:
    """Asks again where no answer comes in time."""

    def stream(self, peer: Peer) -> WaitingConversation:
        yield b"name? "
        while (data := (yield Receive(30.0))) is None:
            yield b"well? "
        yield b"hello " + data
        yield Receive(None, "a name")
