"""The loop: calls from other threads, stale events, bugs."""

import os
import select
import threading
from collections.abc import Iterator

import pytest

from netd.transport.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_calls_from_many_threads_all_arrive(loop: Loop) -> None:
    seen: list[int] = []

    def push(start: int) -> None:
        for number in range(start, start + 1000):
            loop.call(lambda number=number: seen.append(number))  # type: ignore[misc]

    threads = [threading.Thread(target=push, args=(start * 1000,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.call(loop.stop)
    loop.run()
    assert sorted(seen) == list(range(4000))


def test_an_event_of_a_descriptor_that_a_callback_just_closed_is_forgotten(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def ready(mine: int, other: int) -> None:
        seen.append(mine)
        loop.forget(other)
        os.close(other)
        loop.stop()

    for (reader, writer), (other, _) in zip(pipes, reversed(pipes), strict=True):
        os.write(writer, b"x")
        loop.watch(reader, select.EPOLLIN, lambda events, reader=reader, other=other: ready(reader, other))  # type: ignore[misc]
    loop.run()
    assert len(seen) == 1
    for reader, writer in pipes:
        os.close(writer)
        if reader in seen:
            os.close(reader)


def test_a_bug_in_a_callback_ends_the_loop_and_is_raised(loop: Loop) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oops")

    loop.call(fail)
    with pytest.raises(ZeroDivisionError):
        loop.run()
