"""Coroutines in the supervisor's loop: a command that waits for a worker does not block the loop.

A coroutine waits with ``await`` for a `Result`. The loop resumes it. Everything runs in one thread, so no other code
runs between two waits of a coroutine.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import monotonic
from typing import Any, Generic, TypeVar

from netd.transport.loop import Loop

T = TypeVar("T")

SLICE = 0.02
"""Seconds of long work before the loop turns."""


class Result(Generic[T]):
    """The future result of a coroutine or a request: a value or an exception."""

    def __init__(self) -> None:
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiting: list[Callable[[], object]] = []

    def get(self) -> T:
        """The value, or raises the exception. Only when it is `done`."""
        assert self.done, "the result is not done"
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # the exception has a traceback, and that has this frame: another reference cycle
        value: T = self._value
        return value

    def set(self, value: T) -> None:
        """Finish with a value. Has no effect if it is `done`."""
        self._finish(value, None)

    def fail(self, error: BaseException) -> None:
        """Finish with an exception. Has no effect if it is `done`."""
        self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        if not self.done:
            self.done, self._value, self._error = True, value, error
            waiting, self._waiting = self._waiting, []
            for function in waiting:
                function()

    def then(self, function: Callable[[], object]) -> None:
        """Call a function when it is `done`, at once if it is `done` already."""
        if self.done:
            function()
        else:
            self._waiting.append(function)

    def __await__(self) -> Generator["Result[T]", None, T]:
        if not self.done:
            yield self
        try:
            return self.get()
        finally:
            del self  # as in `get`


class Tasks:
    """Runs coroutines in a loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running: set[Coroutine[Any, None, Any]] = set()

    def close(self) -> None:
        """Close the coroutines that still wait. Their ``finally`` blocks run."""
        for coroutine in list(self._running):
            coroutine.close()

    def start(self, coroutine: Coroutine[Result[Any], None, T]) -> Result[T]:
        """Run a coroutine until it waits. The loop resumes it. The result has its value, or its exception."""
        result: Result[T] = Result()
        self._running.add(coroutine)
        self._step(coroutine, result)
        return result

    def _step(self, coroutine: Coroutine[Result[Any], None, T], result: Result[T]) -> None:
        """Run a coroutine until it waits again."""
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            self._running.discard(coroutine)
            result.set(end.value)
        except BaseException as error:
            self._running.discard(coroutine)
            # Without this frame in the traceback: frame, result and error would be a reference cycle, which would
            # keep the objects of the coroutine alive.
            result.fail(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        else:
            awaited.then(lambda: self._loop.call(lambda: self._step(coroutine, result)))

    async def in_slices(self, work: Generator[None, None, T]) -> T:
        """Do long work, which yields after each piece. The loop turns after every `SLICE`. Returns its value."""
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

    def sleep(self, seconds: float) -> Result[None]:
        """Await it to continue after so many seconds."""
        result: Result[None] = Result()
        self._loop.later(seconds, lambda: result.set(None))
        return result

    def turn(self) -> Result[None]:
        """Await it to let the loop make the calls that wait already."""
        result: Result[None] = Result()
        self._loop.call(lambda: result.set(None))
        return result


class Queue:
    """A lock for coroutines, first come, first served: ``async with queue:``."""

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
            self._waiting.popleft().set(None)  # still busy: a coroutine that comes now has to wait
        else:
            self._busy = False
