"""Memory that several processes map."""

import fcntl
import mmap
import os
import weakref

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

MOST_WORKERS = 64
"""The largest number of workers. Each writes in a part of the memory by its number."""

MOST_ISOLATED = 32
"""The largest number of workers that serve one service alone."""

MOST_COUNTED = 2**62
"""The largest number that a counter can reach. A larger or negative one was written by a faulty worker."""


class SharedMemory:
    """Memory that other processes can map by its descriptor. It is zero at first, and only pages in use are allocated.

    ``descriptor`` refers to memory of another process; without it, new memory is made under ``name``. The object owns
    the descriptor, also if it raises ValueError since the descriptor does not refer to such memory. A forked process
    does not have the mapping.
    """

    def __init__(self, name: str, size: int, descriptor: int | None = None) -> None:
        made = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, size)
            # If a process truncated it, the others would get SIGBUS (mmap(2)).
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self.descriptor = descriptor
        """The memfd, with which another process can map the same memory; open until `close_descriptor`."""
        self.close_descriptor = weakref.finalize(self, os.close, descriptor)
        """Call it once the descriptor will be sent to no other process. The mapping stays."""
        if not (made or _is_sealed(descriptor, size)):
            raise ValueError(f"not a sealed memory {name} of {size} octets")
        self._map = mmap.mmap(descriptor, size)
        # A worker, which is a fork, has only the memory that it is sent.
        self._map.madvise(mmap.MADV_DONTFORK)
        self.octets = memoryview(self._map)

    def clear(self, start: int, stop: int) -> None:
        """Set these octets to zero. Whole pages are released, as in new memory (MADV_REMOVE, madvise(2))."""
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
        if first >= last:
            self.octets[start:stop] = bytes(stop - start)
            return
        self._map.madvise(mmap.MADV_REMOVE, first, last - first)
        self.octets[start:first] = bytes(first - start)
        self.octets[last:stop] = bytes(stop - last)


def _is_sealed(descriptor: int, size: int) -> bool:
    """Whether this is memory of that size, sealed against a change of it."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:  # a descriptor of another type, without seals
        return False
    return seals & _SEALS == _SEALS and os.fstat(descriptor).st_size == size
