"""Memory that is given back to the kernel, as the kernel counts it."""

from pathlib import Path

from netd.daemon.worker import heap
from netd.daemon.worker.heap import Heap

MANY = heap._MANY
BLOCK, NUMBER = 9000, 4000


def resident() -> int:
    """Octets of this process that are in memory."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def is_given_back(one: Heap, connections: int) -> bool:
    """Whether the memory of objects that have ended is given back after this number of connections."""
    blocks = [b"x" * BLOCK for _ in range(NUMBER)]
    last = b"y" * BLOCK  # behind them: so that malloc keeps what is before it
    before = resident()
    del blocks
    one.settle(connections)
    assert last
    return before - resident() > BLOCK * NUMBER / 2


def test_memory_of_many_connections_is_given_back_once_a_minute() -> None:
    now = 1000.0
    one = Heap(lambda: now)
    one.settle(3 * MANY)
    assert not is_given_back(one, 2 * MANY), "most are open"
    assert is_given_back(one, MANY)
    assert not is_given_back(one, MANY)
    one.settle(3 * MANY)
    assert not is_given_back(one, 0), "the minute is not over"
    now += 60
    assert is_given_back(one, 0)


def test_memory_of_few_connections_stays() -> None:
    one = Heap()
    one.settle(MANY - 1)
    assert not is_given_back(one, 0)
