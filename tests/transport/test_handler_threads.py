"""Threads of handlers are kept for the next ones, and end when there is none."""

import contextvars
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from netd.transport import handler_threads
from netd.transport.handler_threads import HandlerThreads
from tests.support.waiting import until

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[HandlerThreads]:
    before = set(threading.enumerate())
    monkeypatch.setattr(handler_threads, "KEPT", 0.2)
    yield HandlerThreads()
    until(lambda: set(threading.enumerate()) <= before)


def result(threads: HandlerThreads, function: Callable[[], object], name: str = "one") -> object:
    found: SimpleQueue[object] = SimpleQueue()
    threads.run(lambda: found.put(function()), name)
    return found.get(timeout=20)


def test_thread_serves_one_handler_after_the_other(threads: HandlerThreads) -> None:
    first = result(threads, threading.get_ident)
    until(lambda: threads._idle)
    assert result(threads, threading.get_ident) == first


def test_handlers_at_the_same_time_have_a_thread_each(threads: HandlerThreads) -> None:
    together = threading.Barrier(4, timeout=20)
    for _ in range(3):
        threads.run(together.wait, "one")
    together.wait()  # which none would pass if two shared one
    until(lambda: len(threads._idle) == 3)


@pytest.mark.skipif(os.sched_getscheduler(0) != os.SCHED_OTHER, reason="another policy stays (chrt(1))")
def test_threads_above_a_number_do_not_preempt_those_that_run(
    threads: HandlerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter((3, 1, 2, 4))
    monkeypatch.setattr(handler_threads, "_MANY", 2)
    monkeypatch.setattr(handler_threads, "KEPT", 60)
    monkeypatch.setattr(threading, "active_count", lambda: next(numbers))
    found: list[int] = []
    ends = [threading.Event() for _ in range(4)]

    def run(end: threading.Event) -> None:
        found.append(os.sched_getscheduler(0))  # of this thread
        end.wait(20)

    for started, end in enumerate(ends, 1):
        threads.run(partial(run, end), "one")
        until(lambda started=started: len(found) == started)  # type: ignore[misc]
    assert found == [os.SCHED_BATCH, os.SCHED_OTHER, os.SCHED_OTHER, os.SCHED_BATCH]
    for ended, number in enumerate((1, 2, 0, 3), 1):
        ends[number].set()
        until(lambda ended=ended: len(threads._idle) == ended)  # type: ignore[misc]
    assert result(threads, lambda: os.sched_getscheduler(0)) == os.SCHED_OTHER, "though it has waited for longer"
    until(lambda: len(threads._idle) == 4)
    for queue in threads._idle:
        queue.put(None)  # type: ignore[arg-type]  # its thread ends


def test_context_of_a_handler_is_empty_each_time(threads: HandlerThreads) -> None:
    def set_variable() -> tuple[int, int]:
        before = VARIABLE.get()
        VARIABLE.set(1)
        return before, threading.get_ident()

    first = result(threads, set_variable)
    until(lambda: threads._idle)
    assert result(threads, set_variable) == first


def test_thread_keeps_nothing_of_a_handler_that_has_returned(threads: HandlerThreads) -> None:
    class Owner:
        def run(self) -> int:
            return threading.get_ident()

    for _ in range(2):
        owner = Owner()
        kept = weakref.ref(owner)
        result(threads, owner.run)
        del owner
        until(lambda: threads._idle)
        gc.collect()
        assert kept() is None


def test_thread_has_the_name_of_what_it_runs(threads: HandlerThreads) -> None:
    assert result(threads, lambda: threading.current_thread().name, "one") == "one"
    until(lambda: threads._idle)
    until(lambda: "one" not in [thread.name for thread in threading.enumerate()])
    assert result(threads, lambda: threading.current_thread().name, "other") == "other"


def test_function_is_released_while_its_thread_waits(threads: HandlerThreads) -> None:
    class Held:
        def __call__(self) -> None:
            begun.put(None)

        def __del__(self) -> None:
            released.put(None)

    begun, released = SimpleQueue[None](), SimpleQueue[None]()
    threads.run(Held(), "one")
    begun.get(timeout=20)
    until(lambda: threads._idle)
    assert released.get(timeout=20) is None


def test_thread_that_is_taken_as_its_time_is_over_serves(threads: HandlerThreads) -> None:
    late: SimpleQueue[Any] = SimpleQueue()

    class Taken(list[Any]):
        """Of which the loop has always taken what a thread wants to remove."""

        def remove(self, queue: Any) -> None:
            super().remove(queue)
            late.put(queue)
            super().remove(queue)

    threads._idle = Taken()
    first, seen = result(threads, threading.get_ident), SimpleQueue[int]()
    late.get(timeout=20).put((lambda: seen.put(threading.get_ident()), "one"))
    assert seen.get(timeout=20) == first
    late.get(timeout=20).put(None)  # ends it
