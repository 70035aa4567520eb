"""The loop: calls from other threads, stale events, bugs."""

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from itertools import pairwise

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


def test_functions_for_the_end_of_the_turn_are_called_before_the_loop_waits_and_before_calls(loop: Loop) -> None:
    seen: list[str] = []

    def ready(mask: int) -> None:
        loop.unwatch(descriptor)
        loop.at_turn_end(lambda: seen.append("end"))
        loop.at_turn_end(lambda: seen.append("end"))
        seen.append("event")
        loop.later(0.2, loop.stop)  # so the loop waits after this turn

    def call() -> None:
        seen.append("call")
        loop.stop()

    descriptor = os.eventfd(1)
    loop.watch(descriptor, select.EPOLLIN, ready)
    loop.run()
    assert seen == ["event", "end", "end"]
    loop.at_turn_end(lambda: seen.append("early"))
    loop.call(call)
    loop._running = True
    loop.run()
    assert seen[3:] == ["early", "call"]
    os.close(descriptor)


def test_event_of_a_descriptor_that_a_callback_just_closed_is_ignored(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def ready(mine: int, other: int) -> None:
        seen.append(mine)
        loop.unwatch_closing(other)
        os.close(other)
        loop.stop()

    for (reader, writer), (other, _) in zip(pipes, reversed(pipes), strict=True):
        os.write(writer, b"x")
        loop.watch(reader, select.EPOLLIN, lambda mask, reader=reader, other=other: ready(reader, other))  # type: ignore[misc]
    loop.run()
    assert len(seen) == 1
    for reader, writer in pipes:
        os.close(writer)
        if reader in seen:
            os.close(reader)


def test_event_of_an_earlier_file_of_the_same_number_is_ignored(loop: Loop) -> None:
    """Both pipes have input. The first callback closes the other one, and watches a quiet pipe by its number."""
    pipes = [os.pipe() for _ in range(2)]
    quiet, writer = os.pipe()
    seen: list[str] = []

    def first(other: int) -> None:
        loop.unwatch_closing(other)
        os.dup2(quiet, other)
        seen.append("first")
        loop.watch(other, select.EPOLLIN, lambda mask: second())
        loop.later(0.05, lambda: os.write(writer, b"x") and None)

    def second() -> None:
        seen.append(os.read(quiet, 9).decode())
        loop.stop()

    os.set_blocking(quiet, False)
    for (reader, its_writer), (other, _) in zip(pipes, reversed(pipes), strict=True):
        os.write(its_writer, b"y")
        loop.watch(reader, select.EPOLLIN | select.EPOLLET, lambda mask, other=other: first(other))  # type: ignore[misc]
    loop.run()
    assert seen == ["first", "x"]
    for descriptor in {quiet, writer, *(one for pipe in pipes for one in pipe)}:
        os.close(descriptor)


def test_bug_in_a_callback_ends_the_loop_and_is_raised(loop: Loop) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oops")

    loop.call(fail)
    with pytest.raises(ZeroDivisionError):
        loop.run()


@pytest.mark.parametrize("ended", [True, False])
def test_memory_error_in_the_callback_of_a_descriptor_ends_the_loop_unless_it_is_handled(
    loop: Loop, ended: bool
) -> None:
    reader, writer = os.pipe()
    errors: list[tuple[int, str]] = []

    def fail(mask: int) -> None:
        raise MemoryError("no memory")

    def on_memory_error(descriptor: int, error: MemoryError) -> bool:
        errors.append((descriptor, str(error)))
        loop.stop()
        return ended

    loop.on_memory_error = on_memory_error
    loop.watch(reader, select.EPOLLIN, fail)
    os.write(writer, b"x")
    with contextlib.nullcontext() if ended else pytest.raises(MemoryError):
        loop.run()
    assert errors == [(reader, "no memory")]
    os.close(reader)
    os.close(writer)


def test_call_that_adds_another_one_lets_events_be_handled_in_between(loop: Loop) -> None:
    reader, writer = os.pipe()
    seen: list[str] = []

    def work(left: int) -> None:
        seen.append("work")
        if left:
            loop.call(lambda: work(left - 1))
        else:
            loop.stop()

    loop.watch(reader, select.EPOLLIN, lambda events: seen.append("event"))
    os.write(writer, b"x")
    loop.call(lambda: work(3))
    loop.run()
    assert seen.count("work") == 4
    assert seen.index("event") < 2, seen
    assert seen.count("event") >= 3, seen
    os.close(reader)
    os.close(writer)


@pytest.mark.slow  # waits for time-outs
def test_loop_with_a_batch_of_one_checks_time_outs_after_each_event() -> None:
    loop = Loop(batch=1)
    pipes = [os.pipe() for _ in range(8)]
    seen: list[str] = []

    def ready(number: int) -> None:
        seen.append("event")
        loop.unwatch(pipes[number][0])
        if number == 0:
            loop.later(0.0, lambda: seen.append("time-out"))
        # The wheel has slots of a tenth of a second: let one pass while others wait.
        select.select([], [], [], 0.11)

    for number, (reader, writer) in enumerate(pipes):
        loop.watch(reader, select.EPOLLIN, lambda mask, number=number: ready(number))  # type: ignore[misc]
        os.write(writer, b"x")
    loop.later(1.5, loop.stop)
    loop.run()
    assert seen.count("event") == 8
    assert "time-out" in seen[:4], seen
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    loop.close()


def test_time_out_beyond_the_longest_of_epoll_does_not_end_the_loop(loop: Loop) -> None:
    """epoll_wait(2) takes up to 2^31 milliseconds, 24 days; `limits.lifetime` may be 366."""
    loop.later(366 * 86400.0, lambda: None)
    loop.call(loop.stop)
    loop.run()


def test_descriptor_that_is_watched_first_waits_for_one_batch_however_many_others_are_ready() -> None:
    loop = Loop(batch=4)
    pipes = [os.pipe() for _ in range(101)]
    (first, writer), others = pipes[0], pipes[1:]
    seen: list[int] = []

    def ready(mine: int) -> None:
        seen.append(mine)
        if len(seen) == 1:
            os.write(writer, b"x")  # every other one is ready before it
        if len(seen) >= 300:
            loop.stop()

    def first_ready(mask: int) -> None:
        os.read(first, 1)
        os.write(writer, b"x")
        seen.append(first)

    loop.watch_first(first, first_ready)
    for reader, other in others:
        loop.watch(reader, select.EPOLLIN, lambda mask, reader=reader: ready(reader))  # type: ignore[misc]
        os.write(other, b"x")
    loop.run()
    served = [place for place, descriptor in enumerate(seen) if descriptor == first]
    assert served[0] <= 4, seen
    assert all(after - before <= 5 for before, after in pairwise(served)), seen
    assert {reader for reader, _ in others} <= set(seen), "the others are served too"
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    loop.close()


def test_many_calls_let_events_be_handled_in_between(loop: Loop) -> None:
    reader, writer = os.pipe()
    seen: list[str] = []
    loop.watch(reader, select.EPOLLIN, lambda mask: seen.append("event"))
    os.write(writer, b"x")
    for _ in range(1000):
        loop.call(lambda: seen.append("call"))
    loop.call(loop.stop)
    loop.run()
    assert seen.count("call") == 1000
    assert "call" * 100 not in "".join(seen), "at most 64 before the next event"
    os.close(reader)
    os.close(writer)


def test_descriptor_that_was_never_watched_may_be_closed(loop: Loop) -> None:
    """As where a connection fails before it is watched: descriptors so high may not have been seen before."""
    loop.unwatch_closing(5000)
    loop.unwatch(5000)
