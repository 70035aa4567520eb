"""Coroutines in the supervisor's loop: a command that waits for a worker keeps nothing else waiting.

A coroutine waits with ``await`` for a `Result`. The loop resumes it, so everything runs in one thread, and nothing
happens between two waits of a coroutine but what it does itself.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import monotonic
from typing import Any, Generic, TypeVar

from netd.transport.loop import Loop

T = TypeVar("T")

SLICE = 0.02
"""Seconds that long work may take before it lets the loop turn."""


class Result(Generic[T]):
    """What a coroutine or a request gives in the end: a value or an exception."""

    def __init__(self) -> None:
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiting: list[Callable[[], object]] = []

    def get(self) -> T:
        """The value, once it is `done`. Raises what it failed with."""
        assert self.done, "only what is done has a value"
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def set(self, value: T) -> None:
        """This is the value."""
        self._finish(value, None)

    def fail(self, error: BaseException) -> None:
        """There is no value, for this reason."""
        self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        if not self.done:
            self.done, self._value, self._error = True, value, error
            waiting, self._waiting = self._waiting, []
            for function in waiting:
                function()

    def then(self, function: Callable[[], object]) -> None:
        """Call this once it is `done`, or now if it is."""
        if self.done:
            function()
        else:
            self._waiting.append(function)

    def __await__(self) -> Generator["Result[T]", None, T]:
        if not self.done:
            yield self
        return self.get()


class Tasks:
    """Runs coroutines in a loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running: set[Coroutine[Any, None, Any]] = set()

    def close(self) -> None:
        """End the coroutines that still wait. What they hold they release."""
        for coroutine in list(self._running):
            coroutine.close()

    def start(self, coroutine: Coroutine[Result[Any], None, T]) -> Result[T]:
        """Run a coroutine until it waits, and from then on as the loop turns. Whatever it raises is in the result."""
        result: Result[T] = Result()

        def step() -> None:
            try:
                awaited = coroutine.send(None)
            except StopIteration as end:
                self._running.discard(coroutine)
                result.set(end.value)
            except BaseException as error:
                self._running.discard(coroutine)
                # Without this frame, which has the result, which has the error: a circle that would keep what the
                # coroutine had alive.
                result.fail(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
            else:
                awaited.then(lambda: self._loop.call(step))

        self._running.add(coroutine)
        step()
        return result

    async def in_slices(self, work: Generator[None, None, T]) -> T:
        """Do long work, which yields after each piece of it, and let the loop turn in between: what it returns."""
        until = monotonic() + SLICE
        try:
            while True:
                next(work)
                if monotonic() >= until:
                    await self.turn()
                    until = monotonic() + SLICE
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            work.close()

    def turn(self) -> Result[None]:
        """Await it to let everything else that waits for the loop come first."""
        result: Result[None] = Result()
        self._loop.call(lambda: result.set(None))
        return result


class Queue:
    """Lets coroutines do something one after the other, in the order in which they came: ``async with queue:``."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: deque[Result[None]] = deque()

    async def __aenter__(self) -> None:
        if self._busy:
            turn: Result[None] = Result()
            self._waiting.append(turn)
            await turn
        self._busy = True

    async def __aexit__(self, *exception: object) -> None:
        if self._waiting:
            self._waiting.popleft().set(None)  # it stays busy: no other one may come in between
        else:
            self._busy = False
