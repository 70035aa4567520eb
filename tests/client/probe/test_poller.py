"""The poller: callbacks for events, and the end of a wait."""

import os
import select
import time
from collections.abc import Iterator

import pytest

from netd.client.probe.poller import Poller

HOUR = 3600 * 10**9


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_event_ends_the_wait_and_is_reported_with_its_time(poller: Poller, pipe: tuple[int, int]) -> None:
    events = []
    poller.watch(pipe[0], select.EPOLLIN, lambda mask, now: events.append((mask, now)))
    os.write(pipe[1], b"x")
    before = time.monotonic_ns()
    poller.wait(before + HOUR)
    [(mask, now)] = events
    assert mask == select.EPOLLIN
    assert before <= now <= time.monotonic_ns()


@pytest.mark.parametrize("wait", [-HOUR, 0, 50_000, 500_000, 3_000_000])
def test_wait_ends_at_its_time_without_an_event(poller: Poller, wait: int) -> None:
    until = time.monotonic_ns() + wait
    # Of 3 ms one call waits for 2, one for the most of the third, and the rest is a loop of at least 100 us.
    poller.wait(until)
    while time.monotonic_ns() < until:
        poller.wait(until)
    poller.wait(until)


def test_mask_is_changed_and_a_descriptor_is_removed(poller: Poller, pipe: tuple[int, int]) -> None:
    masks: list[int] = []
    poller.watch(pipe[1], 0, lambda mask, now: masks.append(mask))
    poller.wait(0)
    assert masks == []
    poller.change(pipe[1], select.EPOLLOUT)
    poller.wait(0)
    assert masks == [select.EPOLLOUT]
    poller.unwatch(pipe[1])
    poller.wait(0)
    assert masks == [select.EPOLLOUT]
