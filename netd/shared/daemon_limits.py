"""What the services of a netd share: how many connections there are of all of them, and the buckets of their rates."""

from netd.shared.memory import MOST_WORKERS, SharedMemory
from netd.shared.rates import CELLS, Rates


class DaemonLimits(SharedMemory):
    """The memory. ``descriptor`` is that of one made by another process; else one is made."""

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__("netd-admission", (MOST_WORKERS + CELLS) * 8, descriptor)
        numbers = self.octets.cast("q")
        self.active = numbers[:MOST_WORKERS]
        """How many connections each worker has, of all services."""
        self.rates = Rates(numbers[MOST_WORKERS:])

    def clear(self, worker: int) -> None:
        """A worker is over, with all its connections."""
        self.active[worker] = 0
