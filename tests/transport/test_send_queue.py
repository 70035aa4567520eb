"""The queue of the messages that services post."""

import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.transport.send_queue import OVERHEAD, SendQueue


@given(st.lists(st.one_of(st.none(), st.integers(0, 300)), max_size=60))
def test_messages_are_taken_in_order_and_bounded(script: list[int | None]) -> None:
    woken: list[None] = []
    queue = SendQueue[bytes](1000, lambda: woken.append(None))
    waiting: list[bytes] = []
    times = 0
    for step in script:
        if step is None:
            assert list(queue.take()) == waiting
            waiting = []
        else:
            data = bytes(step)
            fits = sum(len(one) + OVERHEAD for one in (*waiting, data)) <= 1000
            times += fits and not waiting
            assert queue.put(data, data) is fits
            waiting += [data] if fits else []
        assert bool(queue) is bool(waiting)
        assert len(woken) == times, "the loop is told of the first piece, and not again until it has taken that"


def test_closed_queue_accepts_nothing() -> None:
    queue = SendQueue[bytes](1000, lambda: None)
    assert queue.put(b"x", b"x")
    queue.close()
    assert not queue
    assert not queue.put(b"y", b"y")
    assert queue.take() == deque()
    assert not queue.put(b"z", b"z")


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), None, 7])
def test_post_of_anything_but_bytes_raises_type_error(data: object) -> None:
    queue = SendQueue[object](1000, lambda: None)
    with pytest.raises(TypeError, match="what is posted is bytes, not <class"):
        queue.put(data, data)  # type: ignore[arg-type]
    assert not queue


def test_posts_of_many_threads_are_all_taken() -> None:
    ready = threading.Semaphore(0)
    queue = SendQueue[tuple[int, int]](10**9, ready.release)
    threads = [
        threading.Thread(target=lambda one=one: [queue.put(b"x", (one, number)) for number in range(500)])
        for one in range(4)
    ]
    for thread in threads:
        thread.start()
    taken: list[tuple[int, int]] = []
    while len(taken) < 2000:
        assert ready.acquire(timeout=10), "the loop is told whenever there is something to take"
        taken += queue.take()
    for thread in threads:
        thread.join()
    assert [[number for who, number in taken if who == one] for one in range(4)] == [list(range(500))] * 4
