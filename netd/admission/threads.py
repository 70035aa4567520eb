"""The threads of handlers that block: those of a service, and those of all services, in all workers."""

from netd.admission.daemon import DaemonAdmission
from netd.shared.table import CELL, Table

_THREADS = CELL["threads"]


class ThreadSlots:
    """The threads of one service: up to ``limit`` in all workers, and up to `daemon.threads` of all services.

    For the thread of the loop. A reload gives a changed service new slots, which count the threads of the old ones.
    """

    def __init__(self, limit: int, table: Table, shared: DaemonAdmission) -> None:
        self._limit = limit
        self._table = table
        self._shared = shared
        self._cells = table.column(shared.worker)
        self._all = table.all(_THREADS)

    @property
    def taken(self) -> int:
        """The number of threads that the service has, in all workers."""
        return sum(self._all[: self._table.workers])

    @property
    def _taken_of_all(self) -> int:
        return sum(self._shared.daemon_limits.threads[: self._table.workers])

    @property
    def usage(self) -> tuple[tuple[str, int, int], ...]:
        """The key of each limit, how many threads count for it, and the limit."""
        return (
            ("limits.threads", self.taken, self._limit),
            ("daemon.threads", self._taken_of_all, self._shared.threads),
        )

    def _exceeds(self, more: int) -> bool:
        return self.taken + more > self._limit or self._taken_of_all + more > self._shared.threads

    def __bool__(self) -> bool:
        """Whether a slot is free."""
        return not self._exceeds(1)

    def acquire(self) -> bool:
        """Take a slot. False: all are taken.

        It is taken before the sum is read, so that two workers never both get the last one; at worst neither does.
        """
        self._add(1)
        if self._exceeds(0):
            self._add(-1)
            return False
        return True

    def release(self) -> None:
        """Free a slot that was taken."""
        assert self._cells[_THREADS] > 0, "a slot was taken"
        self._add(-1)

    def _add(self, number: int) -> None:
        self._cells[_THREADS] += number
        self._shared.daemon_limits.threads[self._shared.worker] += number
