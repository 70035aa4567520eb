"""Shared memory of the limits of all services: the connections of each worker, and the buckets of the rates."""

from netd.shared.memory import MOST_WORKERS, SharedMemory
from netd.shared.rates import CELLS, Rates


class DaemonLimits(SharedMemory):
    """The memory. ``descriptor`` refers to that of another process; without it, new memory is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__("netd-admission", (MOST_WORKERS + CELLS) * 8, descriptor)
        numbers = self.octets.cast("q")
        self.active = numbers[:MOST_WORKERS]
        """The number of open connections of each worker, over all services."""
        self.rates = Rates(numbers[MOST_WORKERS:])

    def clear(self, worker: int) -> None:
        """Set the connections of a worker that has exited to 0."""
        self.active[worker] = 0
