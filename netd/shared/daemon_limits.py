"""Shared memory of the limits of all services: connections and threads of each worker, and the buckets of the rates."""

from collections.abc import Container

from netd.shared.memory import MOST_COUNTED, MOST_WORKERS, SharedMemory
from netd.shared.rates import CELLS, Rates


class DaemonLimits(SharedMemory):
    """The memory. ``descriptor`` refers to that of another process; without it, new memory is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__("netd-admission", (2 * MOST_WORKERS + CELLS) * 8, descriptor)
        numbers = self.octets.cast("q")
        self.active = numbers[:MOST_WORKERS]
        """The number of open connections of each worker, over all services."""
        self.threads = numbers[MOST_WORKERS : 2 * MOST_WORKERS]
        """The number of threads of handlers of each worker, over all services."""
        self.rates = Rates(numbers[2 * MOST_WORKERS :])

    @property
    def connections(self) -> int:
        """The number of open connections. Any worker can write any number."""
        return min(max(sum(self.active), 0), MOST_COUNTED)

    def settle(self, running: Container[int]) -> None:
        """Remove what workers that have ended wrote. Only these numbers belong to ``running`` workers.

        An attacker in control of a worker can write all of this memory. So every bucket is full afterwards, and an
        impossible number of connections or threads is 0.
        """
        for numbers in (self.active, self.threads):
            for worker, number in enumerate(numbers):
                if worker not in running or not 0 <= number <= MOST_COUNTED:
                    numbers[worker] = 0
        self.clear(2 * MOST_WORKERS * 8, len(self.octets))
