"""Coroutines in the loop: the order in which they run, and their errors."""

import contextlib
import gc
import weakref
from collections.abc import Generator, Iterator
from time import monotonic

import pytest

from netd.daemon.tasks import SLICE, Queue, Result, Tasks
from netd.transport.loop import Loop
from tests.daemon.fakes import ManualLoop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def run(loop: Loop) -> None:
    """Let the loop turn 20 times."""

    def turn(left: int) -> None:
        loop.call(lambda: turn(left - 1) if left else loop.stop())

    turn(20)
    loop._running = True
    loop.run()


def test_coroutine_waits_for_a_result_and_has_one(loop: Loop) -> None:
    tasks = Tasks(loop)
    asked: Result[int] = Result()

    async def twice() -> int:
        return 2 * await asked

    answer = tasks.start(twice())
    run(loop)
    assert not answer.done
    asked.set(21)
    assert not answer.done, "the loop resumes it, not the call of `set`"
    run(loop)
    assert answer.get() == 42


def test_result_keeps_its_first_value() -> None:
    result: Result[int] = Result()
    values: list[int] = []
    result.then(lambda: values.append(result.get()))
    result.set(1)
    result.set(2)
    result.fail(ValueError())
    result.then(lambda: values.append(result.get()))
    assert values == [1, 1]


def test_exception_of_a_coroutine_is_in_its_result_and_is_raised_in_coroutines_that_wait(loop: Loop) -> None:
    tasks = Tasks(loop)

    async def fails() -> None:
        await tasks.turn()
        raise KeyError("no")

    async def waits(other: Result[None]) -> str:
        try:
            await other
        except KeyError:
            return "caught"
        return "nothing"

    failing = tasks.start(fails())
    waiting = tasks.start(waits(failing))
    run(loop)
    assert waiting.get() == "caught"
    with pytest.raises(KeyError):
        failing.get()


def test_exception_that_was_raised_keeps_its_result_alive_no_longer_than_its_users(loop: Loop) -> None:
    tasks = Tasks(loop)

    async def fail() -> None:
        await tasks.turn()
        raise ValueError

    async def wait(awaited: list[Result[None]]) -> None:
        with contextlib.suppress(ValueError):
            await awaited.pop()

    failed = tasks.start(fail())
    kept = weakref.ref(failed)
    waiting = tasks.start(wait([failed]))
    gc.disable()  # it would release a circle too, some time
    try:
        run(loop)
        waiting.get()
        with contextlib.suppress(ValueError):
            failed.get()
        del failed
        assert kept() is None
    finally:
        gc.enable()


def test_coroutine_that_sleeps_continues_after_that_time() -> None:
    loop = ManualLoop()
    tasks = Tasks(loop)

    async def sleeps() -> str:
        await tasks.sleep(3.0)
        return "awake"

    result = tasks.start(sleeps())
    loop.wait(2.0)
    assert not result.done
    loop.wait(2.0)
    assert result.get() == "awake"


def test_coroutines_in_a_queue_run_in_the_order_in_which_they_came(loop: Loop) -> None:
    tasks, queue = Tasks(loop), Queue()
    seen: list[str] = []

    async def one(name: str, *, fails: bool = False) -> None:
        async with queue:
            seen.append(f"{name} begins")
            await tasks.turn()
            if fails:
                raise ValueError(name)
            await tasks.turn()
            seen.append(f"{name} ends")

    results = [tasks.start(one("a")), tasks.start(one("b", fails=True)), tasks.start(one("c"))]
    run(loop)
    assert all(result.done for result in results)
    assert seen == ["a begins", "a ends", "b begins", "c begins", "c ends"]
    tasks.start(one("d"))
    run(loop)
    assert seen[-1] == "d ends"


def test_coroutines_that_wait_at_the_end_run_their_finally_blocks(loop: Loop) -> None:
    tasks = Tasks(loop)
    seen: list[str] = []

    async def holds() -> None:
        try:
            await Result[None]()
        finally:
            seen.append("released")

    tasks.start(holds())
    tasks.close()
    assert seen == ["released"]


def test_loop_turns_between_slices_of_long_work(loop: Loop) -> None:
    tasks = Tasks(loop)
    turns = [0]

    def count() -> None:
        turns[0] += 1
        if not done.done:
            loop.call(count)

    def work() -> Generator[None, None, str]:
        until = monotonic() + 5 * SLICE
        while monotonic() < until:
            yield
        return "done"

    done = tasks.start(tasks.in_slices(work()))
    loop.call(count)
    done.then(loop.stop)
    loop.run()
    assert done.get() == "done"
    assert turns[0] >= 4


def test_work_of_a_closed_coroutine_is_closed(loop: Loop) -> None:
    tasks = Tasks(loop)
    seen: list[str] = []

    def work() -> Generator[None, None, None]:
        try:
            while True:
                yield
        finally:
            seen.append("closed")

    tasks.start(tasks.in_slices(work()))
    tasks.close()
    assert seen == ["closed"]
